"""One command at a time works on a run directory: who does, and how a dead one is told from a living one.

``owner/<number>.json`` says who works on the run. It is made by exclusive creation, which network file systems keep
too, touched every few seconds, and removed at the end. Nothing has to be cleared up after a kill: an owner on the same
machine is looked up among its processes; one elsewhere counts as dead when its file was not touched for minutes, by the
clock of the file server alone, whatever the clocks of the machines say. The next number takes over from a dead owner,
so of two that try only one succeeds; and an owner that was wrongly taken for dead, because its machine slept, finds
its file gone and stops.

Object stores have neither exclusive creation that all of them keep nor processes to look up: a run there has no owner,
and whoever starts two commands on it at once has to know why.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from slidepipe.errors import RunError
from slidepipe.storage.locations import as_remote

logger = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""Time between two touches of the owner's file."""
DEAD_AFTER_S = 300.0
"""Time without a touch after which an owner on another machine counts as dead."""

_TRIES = 5


@dataclass(frozen=True, slots=True)
class RunOwner:
    """The process that works on a run."""

    host: str
    machine: str
    """This start of this machine, and the name space of its processes: where `pid` means something."""
    pid: int
    born: str
    """When the process was started, in the machine's own count: a number given to another process later differs."""
    since: float
    """Seconds since 1970, by the clock of its machine."""
    nonce: str
    """Tells this ownership from all others."""


class Ownership:
    """Work on a run by this process, as long as the context that made it is open.

    Parameters
    ----------
    path
        The owner's file.
    owner
        This process.
    """

    def __init__(self, path: Path, owner: RunOwner) -> None:
        self.owner = owner
        self._path = path
        self._lost = False

    def check(self) -> None:
        """Make sure that the run still is this process's.

        Raises
        ------
        RunError
            If another process took it over.
        """
        if self._lost:
            raise RunError(
                f"{self._path.parent.parent} was taken over by another process, since this one did not move for more "
                f"than {DEAD_AFTER_S:.0f} s: let that one go on, or end it and start again"
            )

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(HEARTBEAT_S):
            try:
                os.utime(self._path)
            except FileNotFoundError:
                self._lost = True
                return
            except OSError as error:
                logger.debug("%s cannot be touched: %s", self._path, error)


@contextmanager
def own_run(root: Path) -> Iterator[Ownership]:
    """Keep everybody else from working on a run.

    Parameters
    ----------
    root
        Run directory.

    Yields
    ------
    Ownership
        To be asked now and then whether it still holds.

    Raises
    ------
    RunError
        If another process works on the run, or the directory cannot be written.
    """
    if as_remote(root) is not None:
        yield Ownership(root / "owner", _this_process())
        return
    try:
        path, owner = _take(root / "owner")
    except OSError as error:
        raise RunError(f"{root} cannot be written: {error}") from error
    ownership, over = Ownership(path, owner), threading.Event()
    threading.Thread(target=ownership._beat, args=(over,), daemon=True, name="run owner").start()
    try:
        yield ownership
    finally:
        over.set()
        path.unlink(missing_ok=True)
        _remove_if_empty(path.parent)


@contextmanager
def share_run(root: Path) -> Iterator[None]:
    """Work on a run beside others that do so too, each on slides of its own, but not beside an owner.

    Parameters
    ----------
    root
        Run directory.

    Yields
    ------
    None
        Whoever starts such commands, a workflow manager, keeps them from working on the same slide.

    Raises
    ------
    RunError
        If a process owns the run.
    """
    if as_remote(root) is None:
        for path, owner in _owners(root / "owner"):
            if _lives(path, owner):
                raise RunError(_taken(root, path, owner))
    yield


def living_owner(root: Path) -> RunOwner | None:
    """Find the process that works on a run.

    Parameters
    ----------
    root
        Run directory.

    Returns
    -------
    RunOwner or None
        None if there is none, or only files of dead ones.
    """
    if as_remote(root) is not None:
        return None
    return next((owner for path, owner in _owners(root / "owner") if _lives(path, owner)), None)


def _take(folder: Path) -> tuple[Path, RunOwner]:
    owner = _this_process()
    for _ in range(_TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        before = list(_owners(folder))
        for path, other in before:
            if _lives(path, other):
                raise RunError(_taken(folder.parent, path, other))
        number = 1 + max((int(path.stem) for path, _ in before), default=0)
        mine = folder / f"{number}.json"
        # Whoever comes with the same number loses here; whoever comes with another one is seen right below.
        with suppress(FileExistsError, FileNotFoundError), mine.open("x", encoding="utf-8") as file:
            _fill(file, mine, owner)
            known = {other.nonce for _, other in before} | {owner.nonce}
            if all(other.nonce in known for _, other in _owners(folder)):
                for path, _ in before:
                    path.unlink(missing_ok=True)
                return mine, owner
            mine.unlink(missing_ok=True)
        time.sleep(random.uniform(0.05, 0.5))
    raise RunError(f"{folder.parent} is being worked on by several processes that start right now: try again")


def _fill(file: IO[str], path: Path, owner: RunOwner) -> None:
    try:
        json.dump(asdict(owner), file)
        file.flush()
        os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _owners(folder: Path) -> Iterator[tuple[Path, RunOwner]]:
    for path in sorted(folder.glob("*.json")):
        if not path.stem.isdecimal():
            continue
        try:
            yield path, RunOwner(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (TypeError, ValueError):
            # Just being written, or cut off by a full disk: nobody's, until it grows old.
            yield path, RunOwner("unknown", "", 0, "", 0.0, f"{path.name} {path.stat().st_ino}")


def _lives(path: Path, owner: RunOwner) -> bool:
    if owner.machine == _machine():
        return _birth(owner.pid) == owner.born
    age = _age_s(path)
    return age is not None and age < DEAD_AFTER_S


def _age_s(path: Path) -> float | None:
    """Measure how long ago a file was touched, by the clock of the machine that keeps it; None if it is gone."""
    probe = path.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError:
        # Read-only: whoever only looks has no other clock than this machine's.
        return time.time() - path.stat().st_mtime
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _taken(root: Path, path: Path, owner: RunOwner) -> str:
    if not owner.pid:
        return f"{root} was just begun by another process, see {path}: wait until it ends"
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(owner.since))
    return (
        f"{root} is being worked on by process {owner.pid} on {owner.host} since {since}: wait until it ends, or end "
        f"it; `slidepipe status --run {root} --watch` shows how it gets on"
    )


def _this_process() -> RunOwner:
    pid = os.getpid()
    return RunOwner(
        socket.gethostname(), _machine(), pid, _birth(pid) or "", time.time(), secrets.token_hex(8)
    )


def _machine() -> str:
    if sys.platform == "linux":
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _birth(pid: int) -> str | None:
    """Tell a process from a later one of the same number; None if it is dead."""
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except OSError as error:
            return "" if isinstance(error, PermissionError) else None
        return ""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    except OSError:
        return None
    # Ticks since the machine was started, which setting its clock does not change.
    return None if state == "Z" else rest[18]


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
