"""The small file by which a process says that it is at work: made once, kept fresh, and how old it is.

On a disk it is made by exclusive creation, which network file systems keep too, and touched; in S3 by a write under
the condition that it is not there, and written again under the condition that it still is the same.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from slidepipe.storage.conditional import create_object, object_age_s, renew_object, takes_conditions
from slidepipe.storage.locations import as_remote
from slidepipe.storage.publish import folder_time


def can_be_owned(folder: Path) -> bool:
    """Tell whether a place can keep two processes from making the same file.

    Parameters
    ----------
    folder
        On a disk or in an object store.

    Returns
    -------
    bool
        True for disks and for S3.
    """
    remote = as_remote(folder)
    return remote is None or takes_conditions(remote)


class OwnerFile:
    """A file of this process.

    Parameters
    ----------
    path
        Where, in a place that can be owned.
    data
        What it holds, and no other file does.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self._data = data

    def create(self) -> bool:
        """Make the file.

        Returns
        -------
        bool
            False if there is one already, or the folder went in between.

        Raises
        ------
        OSError
            If it cannot be written to the disk.
        ObjectStoreError
            If the store cannot be reached, or refuses.
        """
        if (remote := as_remote(self.path)) is not None:
            return create_object(remote, self._data)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The folder goes with the last file in it, so it may be gone again.
        with suppress(FileExistsError, FileNotFoundError), self.path.open("xb") as file:
            self._fill(file)
            return True
        return False

    def _fill(self, file: IO[bytes]) -> None:
        try:
            file.write(self._data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise

    def refresh(self) -> bool:
        """Make the file young again.

        Returns
        -------
        bool
            False if it is gone, or is another's by now.

        Raises
        ------
        OSError
            If the disk does not answer.
        ObjectStoreError
            If the store does not answer.
        """
        if (remote := as_remote(self.path)) is not None:
            return renew_object(remote, self._data)
        try:
            if self.path.read_bytes() != self._data:
                return False
            os.utime(self.path)
        except FileNotFoundError:
            return False
        return True

    def remove(self) -> None:
        """Remove the file, if it is this process's, and its folder, if it is the last one in it.

        Raises
        ------
        OSError
            If the disk does not answer.
        ObjectStoreError
            If the store does not answer.
        """
        with suppress(FileNotFoundError):
            if self.path.read_bytes() == self._data:
                self.path.unlink(missing_ok=True)
        if as_remote(self.path) is None:
            with suppress(OSError):
                self.path.parent.rmdir()


class FileAges:
    """How long ago files of one folder were touched, by the clock of whoever keeps them.

    Parameters
    ----------
    folder
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now: float | None = None

    def of(self, path: Path) -> float | None:
        """Tell the age of a file.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        float or None
            Seconds; negative if the file system takes the times of its machines, whose clocks differ. None if there
            is no such file.
        """
        if (remote := as_remote(path)) is not None:
            return object_age_s(remote)
        if self._now is None:
            self._now = folder_time(self._folder)
        touched = touched_ns(path)
        return None if touched is None else self._now - touched / 1e9


def touched_ns(path: Path) -> int | None:
    """Tell when a file on a disk was touched.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    int or None
        Nanoseconds since 1970, by the clock that the file system goes by; None if there is no such file.
    """
    # Opening has a network file system ask its server, where looking may be answered from memory.
    with suppress(FileNotFoundError), path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return None


def wait_for_touch(paths: list[Path], longest_s: float) -> set[Path]:
    """Watch files on a disk, and see which of them are touched; no two clocks have to agree for that.

    Parameters
    ----------
    paths
        The files.
    longest_s
        How long to watch in seconds.

    Returns
    -------
    set of Path
        Those that were touched, as soon as there is one.
    """
    before = {path: touched_ns(path) for path in paths}
    until = time.monotonic() + longest_s
    while before and time.monotonic() < until:
        time.sleep(longest_s / 40)
        now = {path: touched_ns(path) for path in before}
        if moved := {path for path, at in now.items() if at is not None and at != before[path]}:
            return moved
        before = {path: at for path, at in before.items() if now[path] is not None}
    return set()
