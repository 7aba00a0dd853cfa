"""Slides that are more than one file: MRXS folders, VMS images and DICOM series."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path

_DICOM_HEAD_BYTES = 2**20
_DICOM_PREAMBLE = 128
_SERIES_INSTANCE_UID = b"\x20\x00\x0e\x00"
"""Tag (0020,000E), little endian, as every transfer syntax for slides has it."""


def slide_files(path: Path) -> tuple[Path, ...]:
    """List every file that a slide consists of.

    Parameters
    ----------
    path
        The file that is opened.

    Returns
    -------
    tuple of Path
        `path` itself and its companions, sorted: of ``a.mrxs``, the files in the folder ``a`` beside it; of a
        ``.vms`` or ``.vmu``, the files that it names; of a DICOM file, those in the same folder with the same
        SeriesInstanceUID. Companions that do not exist are left out.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    """
    suffix = path.suffix.lower()
    companions: Iterable[Path] = ()
    if suffix == ".mrxs":
        folder = path.with_suffix("")
        companions = folder.iterdir() if folder.is_dir() else ()
    elif suffix in {".vms", ".vmu"}:
        names = re.findall(r"^\w+=(.+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        companions = (path.parent / name.strip() for name in names)
    elif (uid := series_uid(path)) is not None:
        companions = (other for other in path.parent.iterdir() if series_uid(other) == uid)
    return tuple(sorted({path, *(other for other in companions if other.is_file())}))


def series_uid(path: Path) -> str | None:
    """Read the SeriesInstanceUID of a DICOM file.

    Parameters
    ----------
    path
        Any file or folder.

    Returns
    -------
    str or None
        The UID that all files of one slide share; None if `path` is not a DICOM file.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(_DICOM_PREAMBLE + 4)
        if head[_DICOM_PREAMBLE:] != b"DICM":
            return None
        head += file.read(_DICOM_HEAD_BYTES)
    at = head.find(_SERIES_INSTANCE_UID)
    if at < 0:
        return None
    at += len(_SERIES_INSTANCE_UID)
    if head[at : at + 2] == b"UI":
        length, start = struct.unpack_from("<H", head, at + 2)[0], at + 4
    else:
        length, start = struct.unpack_from("<I", head, at)[0], at + 4
    return head[start : start + length].rstrip(b"\0 ").decode("ascii", errors="replace")
