"""The one call that opens a slide with the right reader, and the fingerprint of what lies in its files."""

from __future__ import annotations

import logging
from pathlib import Path

import openslide

from slidepipe.errors import SlideFormatError
from slidepipe.provenance import fingerprint, fingerprint_file, fingerprint_pieces, fingerprinted_ranges
from slidepipe.slides.companions import series_uid, slide_files
from slidepipe.slides.openslide_reader import OpenSlideReader
from slidepipe.slides.reader import SlideReader, SlideSource
from slidepipe.slides.tiff_directories import check_directories
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.slides.tiffslide_reader import TiffSlideReader
from slidepipe.storage.locations import as_remote, is_url

_log = logging.getLogger(__name__)

_GIT_LFS_POINTER = b"version https://git-lfs"


def open_slide(source: SlideSource) -> SlideReader:
    """Open a slide and check that it can be used.

    Only the header is read. The file stays open until the reader is closed, so use ``with``. A reader belongs to one
    thread; open one per worker, or use `slidepipe.slides.handles.borrow_slide`.

    Parameters
    ----------
    source
        Where the slide lies and how to open it. The reader ``auto`` is OpenSlide for every file it knows, else the
        TIFF reader, and wsidicom for DICOM that OpenSlide refuses; which one it was stands in ``info.reader``. A URL is
        read by the TIFF reader, or by tiffslide if asked for. Of a DICOM slide, any file of the series will do.

    Returns
    -------
    SlideReader
        Regions come back as uint8 RGB of shape (height, width, 3), white (255) beyond the slide's edge.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    SlideFormatError
        If it is not a slide that the reader reads.
    PixelSizeError
        If neither the file nor ``source.mpp`` gives a pixel size, or the file gives one that no slide has.
    ObjectStoreError
        If the object store that a URL names cannot be reached, or refuses.
    """
    if is_url(source.path):
        return _open_url(source)
    _check_file(source)
    match source.reader:
        case "openslide":
            return OpenSlideReader(source)
        case "tiffslide":
            return TiffSlideReader(source)
        case "tiff":
            return TiffReader(source)
        case "wsidicom":
            return _open_dicom(source)
        case "auto":
            return _open_by_content(source)


def _open_by_content(source: SlideSource) -> SlideReader:
    if series_uid(Path(source.path)) is not None:
        try:
            return OpenSlideReader(source)
        except SlideFormatError as refusal:
            _log.info("%s; it is read by wsidicom", refusal)
            return _open_dicom(source)
    if openslide.OpenSlide.detect_format(source.path) is not None:
        return OpenSlideReader(source)
    try:
        return TiffReader(source)
    except SlideFormatError as error:
        raise SlideFormatError(f"{error}; OpenSlide does not know the file either") from error


def _open_url(source: SlideSource) -> SlideReader:
    if source.reader not in {"auto", "tiff", "tiffslide"}:
        raise SlideFormatError(
            f"slide {source.slide_id} is a URL, which {source.reader} does not read: set its reader to auto, tiff or "
            "tiffslide, or fetch the file"
        )
    with source.place.open("rb") as file:
        check_directories(file, source.slide_id)
    if source.reader == "tiffslide":
        return TiffSlideReader(source)
    try:
        return TiffReader(source)
    except SlideFormatError as error:
        raise SlideFormatError(
            f"{error}. It is a URL: fetch the file, since OpenSlide reads files only; or set its reader to tiffslide, "
            "which garbles some slides in JPEG 2000"
        ) from error


def _open_dicom(source: SlideSource) -> SlideReader:
    try:
        # Here, because wsidicom is an extra, and few slides need it.
        from slidepipe.slides.wsidicom_reader import WsiDicomReader
    except ModuleNotFoundError as error:
        raise SlideFormatError(
            f"slide {source.slide_id}: OpenSlide does not read this DICOM file, and {error.name} is not installed: "
            "pip install 'slidepipe[dicom]'"
        ) from error
    return WsiDicomReader(source)


def _check_file(source: SlideSource) -> None:
    path = Path(source.path)
    if path.is_dir():
        raise SlideFormatError(
            f"slide {source.slide_id}: {path.name} is a folder; name the slide file inside it"
        )
    try:
        with path.open("rb") as file:
            head = file.read(len(_GIT_LFS_POINTER))
            check_directories(file, source.slide_id)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"slide {source.slide_id}: there is no file {path}") from error
    if not head:
        raise SlideFormatError(f"slide {source.slide_id}: the file is empty: fetch it again")
    if head == _GIT_LFS_POINTER:
        raise SlideFormatError(
            f"slide {source.slide_id}: the file is a Git LFS pointer, not the slide itself: fetch it with "
            "`git lfs pull`"
        )


def fingerprint_slide(source: SlideSource) -> str:
    """Fingerprint a slide by the content of its files, whatever their names and dates.

    Parameters
    ----------
    source
        The slide; how it is opened and its ``mpp`` do not count. Companion files do: the folder of an MRXS slide,
        the images of a VMS slide, the whole DICOM series whichever of its files is named.

    Returns
    -------
    str
        32 hexadecimal digits, the same wherever the slide lies. Of files over 64 MiB, samples count instead of all
        bytes; see `slidepipe.provenance.fingerprint_file`.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    OSError
        If a file cannot be read.
    ObjectStoreError
        If the object store cannot be reached, or refuses.
    """
    if (remote := as_remote(source.place)) is not None:
        size = remote.stat().st_size
        return fingerprint_pieces(size, remote.read_ranges(fingerprinted_ranges(size)))
    files = slide_files(Path(source.path))
    if len(files) == 1:
        return fingerprint_file(files[0])
    return fingerprint(sorted(fingerprint_file(path) for path in files))
