"""Files and folders that are either there and whole, or not there.

A process can be killed between any two system calls. Nothing is therefore written under its final name: it is
written under a temporary name beside it, flushed to the disk, and renamed, which POSIX and Windows do in one
step. Temporary names begin with a dot and end in ``.tmp``; folders on their way out end in ``.deleting``.
Both may be deleted at any time when nothing is running.

Object stores have no renaming, and need none: an object is put whole by one request, or not at all. A file is
written to the local temporary folder first and put from there; small ones are put from memory. There are no folders
either, so what lies in one appears bit by bit, and what lies at its root comes last and says that the rest is there.
"""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from slidepipe.storage.locations import as_remote

_FLUSHING_THREADS = 8
"""Flushes that wait for the disk at the same time: it serves several in hardly more time than one."""
_OLD_S = 3600.0
"""Age from which a temporary file is nobody's: one lives for as long as it takes to write, and clocks differ."""
_STRAY = re.compile(r"\..+\.[0-9a-f]{8}\.(tmp|deleting)")


@contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Lend a temporary name for a file that appears under its own name once it is whole.

    Parameters
    ----------
    path
        The final name. Missing parent folders are made; an existing file is replaced.
    durable
        Whether the file has to survive a power cut from the moment on that it appears. If not, `flush_tree` sees to
        that later, or nobody does; the end of the process, however sudden, harms neither.

    Yields
    ------
    Path
        A name in the same folder, to be written by the caller. When the block ends, the file is flushed to
        the disk and renamed to `path`; when it raises, the temporary file is removed and `path` is as it was.
        For an object store, a name in a local temporary folder, and the file is put under `path`.

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full.
    ObjectStoreError
        If the object store cannot be reached, or refuses.
    """
    if (remote := as_remote(path)) is not None:
        with tempfile.TemporaryDirectory(prefix="slidepipe-") as folder:
            local = Path(folder, remote.name)
            yield local
            remote.put(local)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _flush_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Lend a temporary folder that appears under its own name once it is whole.

    Parameters
    ----------
    path
        The final name. Missing parent folders are made.

    Yields
    ------
    Path
        An empty folder beside `path`. When the block ends it is renamed to `path`; when it raises, it is
        removed. For an object store, a local temporary folder whose content is put below `path`, what lies
        directly in it last: metadata that say what the rest is.

    Raises
    ------
    OSError
        If the folder cannot be written, or `path` exists and is not empty: see `remove_tree`.
    FileExistsError
        If there is something in `path`, in an object store.
    """
    if (remote := as_remote(path)) is not None:
        with tempfile.TemporaryDirectory(prefix="slidepipe-") as folder:
            yield Path(folder)
            if remote.is_dir():
                raise FileExistsError(f"{path} exists and is not empty")
            remote.put_tree(Path(folder))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    """Write a file in one step.

    Parameters
    ----------
    path
        Where; parent folders are made, an existing file is replaced.
    data
        All of the content.
    durable
        See `atomic_path`.
    """
    if (remote := as_remote(path)) is not None:
        remote.write_bytes(data)
        return
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step, in UTF-8 with the line ends of `text`.

    Parameters
    ----------
    path
        Where; parent folders are made, an existing file is replaced.
    text
        All of the content.
    """
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write a JSON file in one step, indented by two spaces, keys in the order given.

    Parameters
    ----------
    path
        Where; parent folders are made, an existing file is replaced.
    value
        What `json.dumps` accepts, except NaN and infinity, which are not JSON.

    Raises
    ------
    TypeError, ValueError
        If `value` cannot be written as JSON; the file is as it was.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def start_flush(file: int) -> None:
    """Have the system begin to write a file to the disk, where it can be asked to, and do not wait.

    Parameters
    ----------
    file
        Descriptor of a file that has just been written.
    """
    if hasattr(os, "posix_fadvise"):
        # Linux writes out what is said to be no longer needed; what is on its way to the disk stays in the cache. A
        # file system that takes no such advice loses nothing by it.
        with suppress(OSError):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def flush_tree(path: Path) -> None:
    """Make all files in a folder and below it survive a power cut, content and names.

    Parameters
    ----------
    path
        Folder; a missing one is no error. In an object store there is nothing to do: what was put is there to stay.

    Raises
    ------
    OSError
        If something cannot be flushed.
    """
    if as_remote(path) is not None:
        return
    folders = list(os.walk(path))
    with ThreadPoolExecutor(_FLUSHING_THREADS) as threads:
        list(threads.map(_flush, (Path(folder, name) for folder, _, names in folders for name in names)))
        list(threads.map(_flush_folder, (Path(folder) for folder, _, _ in folders)))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path
        An existing file in UTF-8.

    Returns
    -------
    Any
        Its content.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not JSON; the message names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def remove_tree(path: Path) -> None:
    """Delete a folder so that a half-deleted one is never taken for a good one.

    Parameters
    ----------
    path
        Folder. It is renamed to a name ending in ``.deleting`` first; a missing folder is no error. Of a link,
        the link is removed and not what it leads to. In an object store, what lies directly in it is deleted first,
        the metadata of a Zarr store for example.

    Raises
    ------
    OSError
        If it cannot be renamed or deleted.
    """
    if (remote := as_remote(path)) is not None:
        remote.remove_tree()
        return
    leaving = path.with_name(f".{path.name}.{secrets.token_hex(4)}.deleting")
    try:
        path.replace(leaving)
    except FileNotFoundError:
        return
    if leaving.is_symlink():
        leaving.unlink()
    else:
        shutil.rmtree(leaving)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of a folder: temporary files in it, and temporary names of itself.

    Parameters
    ----------
    path
        Folder, which may be missing. Nothing may be writing to it. In an object store there is nothing to remove.

    Raises
    ------
    OSError
        If something cannot be deleted.
    """
    if as_remote(path) is not None:
        return
    for file in path.rglob(".*.tmp"):
        file.unlink(missing_ok=True)
    for ending in ("tmp", "deleting"):
        for folder in path.parent.glob(f".{glob.escape(path.name)}.????????.{ending}"):
            shutil.rmtree(folder)


def remove_strays(folder: Path, endings: Collection[str] = ()) -> None:
    """Remove what killed processes left in a folder and those below it: temporary files, and folders on their way.

    Parameters
    ----------
    folder
        Folder, which may be missing. Others may be writing to it: what is younger than an hour may be theirs. In an
        object store there is nothing to remove.
    endings
        Folders with these endings are not looked into: stores of many files, which `remove_leftovers` cleans.

    Raises
    ------
    OSError
        If something cannot be deleted.
    """
    if as_remote(folder) is not None:
        return
    now = folder_time(folder)
    for root, folders, files in os.walk(folder):
        for name in filter(_STRAY.fullmatch, (*files, *folders)):
            path = Path(root, name)
            with suppress(FileNotFoundError):
                if now - path.lstat().st_mtime < _OLD_S:
                    continue
                if name in files:
                    path.unlink()
                else:
                    shutil.rmtree(path)
        folders[:] = [name for name in folders if not name.endswith((*endings, ".tmp", ".deleting"))]


def folder_time(folder: Path) -> float:
    """Tell what time it is by the clock that a folder's files are stamped with: of a network drive, its server's.

    Parameters
    ----------
    folder
        Folder on a disk.

    Returns
    -------
    float
        Seconds since 1970; this machine's own where nothing can be written.
    """
    probe = _temporary_name(folder / "time")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut. Windows cannot open folders and needs no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
