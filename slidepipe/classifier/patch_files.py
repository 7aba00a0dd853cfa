"""Labelled patches in a folder or a zip file, one image each: a source of training beside tile stores.

The folder a patch lies in tells its class: ``0`` or ``normal``, ``1``, ``tumor`` or ``tumour``. Folders may be nested
in any way, such as ``split/class/name.jpg``; the innermost one that names a class counts, and a patch outside of such
folders has no label. Zip files are read in place, never unpacked. Nothing says how large a pixel is: the user does.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from slidepipe.errors import PatchFileError
from slidepipe.provenance import fingerprint, fingerprint_file

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
_CLASSES = {"0": False, "normal": False, "1": True, "tumor": True, "tumour": True}
_MOST_BYTES = 16 * 2**20
"""Largest file that is taken for a patch; 96 px uncompressed are 28 kB."""


@dataclass(frozen=True, slots=True)
class PatchFiles:
    """What patches there are, without their pixels."""

    path: str
    """Folder or zip file."""
    names: tuple[str, ...]
    """Path of each patch below `path`, with forward slashes, in alphabetical order."""
    is_tumour: tuple[bool | None, ...]
    """Label of each patch; None if its folders name no class."""

    def __len__(self) -> int:
        return len(self.names)


def find_patch_files(path: Path) -> PatchFiles:
    """List the patches in a folder or zip file.

    Parameters
    ----------
    path
        Folder, searched with all folders in it, or zip file. Files that are no images, and hidden ones, are left out.

    Returns
    -------
    PatchFiles
        One or more patches.

    Raises
    ------
    PatchFileError
        If the path does not exist, is neither folder nor zip file, is damaged, holds a name that leads out of it, or
        holds no image.
    """
    if path.is_dir():
        found = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    else:
        with _open_zip(path) as archive:
            found = [member.filename for member in archive.infolist() if not member.is_dir()]
    for name in found:
        if "\\" in name or ":" in name or name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise PatchFileError(
                f"{path}: the name {name!r} leads out of it: make the file anew with plain names"
            )
    names = tuple(sorted(name for name in found if _is_patch(PurePosixPath(name))))
    if not names:
        raise PatchFileError(
            f"{path} holds no patch: none of {len(found)} files is called {', '.join(_SUFFIXES)}"
        )
    twice = len(names) - len(set(names))
    if twice:
        raise PatchFileError(f"{path}: {twice} names are there more than once: make the file anew")
    return PatchFiles(str(path), names, tuple(_class_of(PurePosixPath(name)) for name in names))


def read_patch_files(files: PatchFiles, chosen: Sequence[int], patch_px: int) -> NDArray[np.uint8]:
    """Read patches into memory.

    Parameters
    ----------
    files
        Where they are.
    chosen
        Positions in ``files.names``.
    patch_px
        Side that each must have.

    Returns
    -------
    ndarray
        RGB, shape (n, patch_px, patch_px, 3), in the order of `chosen`.

    Raises
    ------
    PatchFileError
        If a patch is missing, damaged, of another size, or not RGB with 8 bits. An alpha channel is accepted if it is
        opaque.
    """
    pixels = np.empty((len(chosen), patch_px, patch_px, 3), dtype=np.uint8)
    with _reading(files) as read:
        for row, position in enumerate(chosen):
            name = files.names[position]
            pixels[row] = _decode(read(name), patch_px, f"{files.path}, {name}")
    return pixels


def read_in_batches(files: PatchFiles, patch_px: int, batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """Read all patches in their order, a batch at a time.

    Parameters
    ----------
    files
        Where they are.
    patch_px
        Side that each must have.
    batch_size
        Patches of a batch; the last one may have fewer.

    Yields
    ------
    ndarray
        RGB, shape (n, patch_px, patch_px, 3).

    Raises
    ------
    PatchFileError
        As `read_patch_files`.
    """
    with _reading(files) as read:
        for start in range(0, len(files), batch_size):
            names = files.names[start : start + batch_size]
            yield np.stack([_decode(read(name), patch_px, f"{files.path}, {name}") for name in names])


def fingerprint_patches(files: PatchFiles) -> str:
    """Identify the content of all patches.

    Parameters
    ----------
    files
        Folder or zip file.

    Returns
    -------
    str
        Of a zip file the SHA-256 of the file; of a folder that of its names and contents.
    """
    path = Path(files.path)
    if path.is_file():
        return fingerprint_file(path)
    return fingerprint([[name, fingerprint_file(path / name)] for name in files.names])


@contextmanager
def _reading(files: PatchFiles) -> Iterator[Callable[[str], bytes]]:
    path = Path(files.path)
    if not path.is_dir():
        with _open_zip(path) as archive:
            yield lambda name: _read_member(archive, name, path)
        return

    def read(name: str) -> bytes:
        try:
            _check_length((path / name).stat().st_size, path, name)
            return (path / name).read_bytes()
        except OSError as error:
            raise PatchFileError(f"{path}: {name} cannot be read: {error}") from error

    yield read


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        _check_length(archive.getinfo(name).file_size, path, name)
        return archive.read(name)
    except (KeyError, OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, EOFError) as error:
        raise PatchFileError(f"{path}: {name} cannot be read: {error}") from error


def _check_length(length: int, path: Path, name: str) -> None:
    if length > _MOST_BYTES:
        raise PatchFileError(f"{path}: {name} has {length / 2**20:.0f} MB, too many for a patch")


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise PatchFileError(f"there are no patches at {path}: no such folder or zip file") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise PatchFileError(
            f"{path} is neither a folder nor a zip file that can be read: {error}"
        ) from error
    with archive:
        yield archive


def _decode(content: bytes, patch_px: int, where: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            # The header is enough to refuse a picture that would fill the memory.
            if image.size != (patch_px, patch_px):
                raise PatchFileError(
                    f"{where}: {image.size[0]} × {image.size[1]} px, but patches of {patch_px} × {patch_px} px are "
                    "wanted"
                )
            if image.mode not in {"RGB", "RGBA"}:
                raise PatchFileError(f"{where}: mode {image.mode}, but RGB with 8 bits per channel is wanted")
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise PatchFileError(f"{where}: not a picture that can be read: {error}") from error
    if pixels.shape[2] == 4 and (pixels[:, :, 3] != 255).any():
        raise PatchFileError(f"{where}: transparent in places: save it without alpha channel")
    return pixels[:, :, :3]


def _is_patch(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return name.suffix.lower() in _SUFFIXES and not hidden


def _class_of(name: PurePosixPath) -> bool | None:
    return next(
        (_CLASSES[part.lower()] for part in reversed(name.parts[:-1]) if part.lower() in _CLASSES), None
    )
