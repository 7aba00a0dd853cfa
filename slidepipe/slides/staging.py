"""Slides copied to a local scratch folder for as long as they are cut, where the storage is slow or far away.

Each machine has one copy of a slide, whichever of its processes asked first; the others wait for it. A copy appears
under its name once it is whole, and its content is compared with the slide's fingerprint before a process uses it.
Whoever reads from a copy holds a shared lock on the file beside it, which the operating system releases even if the
process is killed: a copy without a lock is nobody's. It is used again by whoever needs the same slide, and removed as
soon as its slide is done, when a process has gone on to other slides, when there is not enough room for another slide,
and at the end of the stage. What a killed run left behind is therefore used or removed by the next run with the same
folder.

Copies are found by what the slide contains and how its file is called, so a slide that was changed is another slide.
Nothing here changes a result.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from slidepipe.errors import ConfigError, SlideChangedError, SlideFormatError
from slidepipe.provenance import fingerprint
from slidepipe.slides.companions import slide_files
from slidepipe.slides.handles import close_slides_in
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.storage.locations import is_url
from slidepipe.storage.publish import atomic_folder, remove_leftovers, remove_tree

try:
    import fcntl
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

_log = logging.getLogger(__name__)

KEPT_SLIDES = 2
"""Copies that a process keeps for its next task: the slide that it works on, and the one before, whose last tasks may
still come."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """Where the copy of a slide lies, or would lie."""

    folder: Path

    @property
    def lock(self) -> Path:
        """The file that its users have locked."""
        return self.folder.with_name(f"{self.folder.name}.lock")


class _Process:
    """What this process remembers: the copies that it has used, the one used longest ago first."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.used: OrderedDict[_Copy, None] = OrderedDict()


_process = _Process()


@contextmanager
def staged_slide(source: SlideSource, folder: Path, slide_fingerprint: str) -> Iterator[SlideSource]:
    """Lend a slide as a local copy of it.

    Parameters
    ----------
    source
        The slide. A URL is lent as it is.
    folder
        Scratch folder of this machine, made if it is missing; any number of processes and runs may share it.
    slide_fingerprint
        Fingerprint of the slide's content.

    Yields
    ------
    SlideSource
        The copy, with all companion files, under the slide's file name. It stays for later borrowers: see
        `remove_staged` and `leave_stage`.

    Raises
    ------
    ConfigError
        If the folder has not enough room, names a variable that is not set, or this system cannot lock files.
    SlideChangedError
        If the copy has another content than the slide had.
    SlideFormatError
        If a file of the slide does not lie beside or below it.
    OSError
        If the slide cannot be read, or the folder cannot be written.
    """
    if is_url(source.path):
        yield source
        return
    copy = _copy_of(source, folder, slide_fingerprint)
    lock = _share(copy, source)
    try:
        staged = replace(source, path=str(copy.folder / Path(source.path).name))
        _remember(copy, staged, slide_fingerprint)
        yield staged
    finally:
        os.close(lock)


def remove_staged(source: SlideSource, folder: Path, slide_fingerprint: str) -> None:
    """Remove the copy of a slide that is done, unless it is in use.

    Parameters
    ----------
    source
        The slide.
    folder
        The scratch folder.
    slide_fingerprint
        Fingerprint of the slide's content.
    """
    if not is_url(source.path):
        copy = _copy_of(source, folder, slide_fingerprint)
        with _process.guard:
            _process.used.pop(copy, None)
        _remove(copy)


def leave_stage(folder: Path) -> None:
    """Close and remove all copies that nobody uses. Called in every process when there are no more slides to do.

    Parameters
    ----------
    folder
        The scratch folder; it may be missing.
    """
    folder = _expanded(folder)
    with _process.guard:
        for copy in [known for known in _process.used if known.folder.parent == folder]:
            del _process.used[copy]
    close_slides_in(folder)
    _remove_unused(folder)


def _copy_of(source: SlideSource, folder: Path, slide_fingerprint: str) -> _Copy:
    if not _CAN_LOCK:
        raise ConfigError("tiles.stage_dir needs file locks, which this system does not have: leave it out")
    return _Copy(_expanded(folder) / fingerprint([slide_fingerprint, Path(source.path).name]))


def _expanded(folder: Path) -> Path:
    expanded = os.path.expandvars(folder)
    if "$" in expanded:
        raise ConfigError(f"tiles.stage_dir {expanded} names a variable that is not set on this machine")
    return Path(expanded).absolute()


def _share(copy: _Copy, source: SlideSource) -> int:
    """Lock a copy for reading, after making it if there is none; returns what has to be closed."""
    copy.folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        lock = _locked(copy, fcntl.LOCK_SH)
        if copy.folder.is_dir():
            return lock
        os.close(lock)
        # Waits here while another process makes the copy.
        lock = _locked(copy, fcntl.LOCK_EX)
        try:
            if not copy.folder.is_dir():
                _make(copy, source)
        finally:
            os.close(lock)


def _locked(copy: _Copy, operation: int) -> int:
    while True:
        lock = os.open(copy.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, operation)
        except BaseException:
            os.close(lock)
            raise
        if _is_current(lock, copy):
            return lock
        os.close(lock)


def _is_current(lock: int, copy: _Copy) -> bool:
    """Whoever removed the copy meanwhile has removed the lock file with it, and the name is another file by now."""
    try:
        return os.path.samestat(os.fstat(lock), copy.lock.stat())
    except FileNotFoundError:
        return False


def _make(copy: _Copy, source: SlideSource) -> None:
    remove_leftovers(copy.folder)
    base = Path(source.path).parent
    files = slide_files(Path(source.path))
    for file in files:
        if not file.is_relative_to(base) or ".." in file.relative_to(base).parts:
            raise SlideFormatError(
                f"slide {source.slide_id} cannot be copied to tiles.stage_dir: its file {file} does not lie below "
                f"{base}"
            )
    n_bytes = sum(file.stat().st_size for file in files)
    _make_room(copy.folder.parent, n_bytes, source)
    _log.info("slide %s: %d bytes are copied to %s", source.slide_id, n_bytes, copy.folder.parent)
    try:
        with atomic_folder(copy.folder) as temporary:
            temporary.chmod(0o700)
            for file in files:
                target = temporary / file.relative_to(base)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _no_room(copy.folder.parent, n_bytes, source) from error
        raise


def _make_room(folder: Path, n_bytes: int, source: SlideSource) -> None:
    if n_bytes > shutil.disk_usage(folder).free:
        _remove_unused(folder)
    if n_bytes > shutil.disk_usage(folder).free:
        raise _no_room(folder, n_bytes, source)


def _no_room(folder: Path, n_bytes: int, source: SlideSource) -> ConfigError:
    free = shutil.disk_usage(folder).free
    return ConfigError(
        f"slide {source.slide_id} has {n_bytes / 1e9:.2f} GB, and tiles.stage_dir {folder} has room for "
        f"{free / 1e9:.2f} GB besides what is in use: make room, choose another folder, or use fewer workers"
    )


def _remember(copy: _Copy, staged: SlideSource, slide_fingerprint: str) -> None:
    """Check a copy that is new to this process, and give up those that it used before.

    Raises
    ------
    SlideChangedError
        If it has another content than the slide.
    """
    with _process.guard:
        is_known = copy in _process.used
    if not is_known and fingerprint_slide(staged) != slide_fingerprint:
        remove_tree(copy.folder)
        raise SlideChangedError(
            f"slide {staged.slide_id}: its copy in {copy.folder.parent} has another content than the slide had when "
            "the stage began, and was removed: run again"
        )
    with _process.guard:
        _process.used[copy] = None
        _process.used.move_to_end(copy)
        given_up = list(_process.used)[:-KEPT_SLIDES]
        for old in given_up:
            del _process.used[old]
    for old in given_up:
        _remove(old)


def _remove_unused(folder: Path) -> None:
    for lock in sorted(folder.glob("*.lock")):
        _remove(_Copy(lock.with_suffix("")))


def _remove(copy: _Copy) -> None:
    """Remove a copy unless somebody uses it."""
    close_slides_in(copy.folder)
    if not copy.lock.exists():
        return
    try:
        lock = _locked(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        remove_tree(copy.folder)
        remove_leftovers(copy.folder)
        copy.lock.unlink()
    except OSError as error:
        _log.warning("%s cannot be removed: %s", copy.folder, error)
    finally:
        os.close(lock)
