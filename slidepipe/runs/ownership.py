"""One command at a time works on a run: who does, and how a dead one is told from a living one.

``owner/<number>.json`` says who works on the run. It is made only where there is none of that number, kept fresh every
few seconds, and removed at the end. Nothing has to be cleared up after a kill: an owner on the same machine is looked
up among its processes; one elsewhere counts as dead when its file was not touched for minutes, by the clock of the file
server or object store alone, whatever the clocks of the machines say. The next number takes over from a dead owner, so
of two that try only one succeeds; and an owner that was wrongly taken for dead, because its machine slept, finds its
file gone and stops.

Commands about single slides and tasks of arrays work beside each other, each with a file ``owner/beside-*.json`` of
its own. They and an owner stand in each other's way if the owner works on their stage or on one before it, which would
change what they read. What they leave when they are killed, a later owner removes.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from slidepipe.errors import ObjectStoreError, RunError
from slidepipe.runs.owner_file import FileAges, OwnerFile, can_be_owned, wait_for_touch
from slidepipe.runs.processes import birth_of, this_machine
from slidepipe.storage.locations import as_remote
from slidepipe.storage.together import map_places

logger = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""Time between two touches of the owner's file."""
DEAD_AFTER_S = 300.0
"""Time without a touch after which an owner on another machine counts as dead."""

ORDER = ("tile", "train", "heatmap", "mine", "predict", "evaluate", "export", "report")
"""Commands in the order in which each reads what those before it wrote."""

_LAST_BEAT_S = 60.0
"""Longest time that a disk or an object store may take to answer the last touch of a file."""
_TRIES = 5
_WATCHED_BEATS = 2.5
_LONG_S = 86400.0
"""Nobody's clock is a day off."""
_SLOW_S = 60.0
"""A file that is from so far in the future was touched by a machine with another clock."""


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
    stages: tuple[str, ...] = ()
    """Commands whose work it does; none while only the configuration is saved."""
    slides: tuple[str, ...] | None = None
    """Slides that it works on; None for all that there are."""

    is_beside: bool = False
    """Whether it works beside others, on single slides or a task of an array."""

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, and has its clock."""
        return self.machine == this_machine()

    def works_on(self, stage: str, slide_id: str) -> bool:
        """Tell whether it may be at work on a slide.

        Parameters
        ----------
        stage
            Name of the command.
        slide_id
            Name of the slide.

        Returns
        -------
        bool
            False for other stages and slides than its own.
        """
        return (not self.stages or stage in self.stages) and (self.slides is None or slide_id in self.slides)


class Ownership:
    """Work on a run by this process, as long as the context that made it is open.

    Parameters
    ----------
    root
        Run directory.
    owner
        This process.
    """

    def __init__(self, root: Path, owner: RunOwner) -> None:
        self.owner = owner
        self._root = root
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
                f"{self._root} was taken over by another process, since this one did not move for more "
                f"than {DEAD_AFTER_S:.0f} s: let that one go on, or end it and start again"
            )

    def _beat(self, file: OwnerFile, over: threading.Event) -> None:
        while not over.wait(HEARTBEAT_S):
            try:
                if not file.refresh():
                    self._lost = True
                    return
            except (OSError, ObjectStoreError) as error:
                logger.debug("%s cannot be touched: %s", file.path, error)


@contextmanager
def own_run(root: Path, stages: Sequence[str] = ()) -> Iterator[Ownership]:
    """Keep everybody else from working on a run.

    Parameters
    ----------
    root
        Run directory.
    stages
        Commands whose work is done; none to save a configuration.

    Yields
    ------
    Ownership
        To be asked now and then whether it still holds.

    Raises
    ------
    RunError
        If another process works on the run, or the directory cannot be written.
    """
    owner = _this_process(stages)
    if not can_be_owned(root):
        logger.warning("%s: nothing keeps two commands at once from working on a run here: start one", root)
        yield Ownership(root, owner)
        return
    try:
        file = _take(root / "owner", owner)
    except OSError as error:
        raise RunError(f"{root} cannot be written: {error}") from error
    with _kept_fresh(file, Ownership(root, owner)) as ownership:
        dead: set[str] = set()
        for path, other in _living(root / "owner", _BESIDE, dead, stages):
            raise RunError(_taken(root, path, other))
        for path, other in _files(root / "owner", _BESIDE):
            if other.nonce in dead:
                path.unlink(missing_ok=True)
        yield ownership


@contextmanager
def share_run(root: Path, stage: str, slides: Iterable[str] | None) -> Iterator[Ownership]:
    """Work on a run beside others that do so too, each on slides or blocks of its own, but not beside an owner.

    Whoever starts such commands, a workflow manager, keeps them from working on the same thing.

    Parameters
    ----------
    root
        Run directory.
    stage
        Command whose work is done.
    slides
        Slides that are worked on; None for all.

    Yields
    ------
    Ownership
        To be asked now and then whether it still holds.

    Raises
    ------
    RunError
        If a process owns the run and works on this stage or one before it, or the directory cannot be written.
    """
    owner = replace(
        _this_process((stage,)), slides=None if slides is None else tuple(sorted(slides)), is_beside=True
    )
    if not can_be_owned(root):
        yield Ownership(root, owner)
        return
    file = OwnerFile(root / "owner" / f"beside-{owner.nonce}.json", _content(owner))
    try:
        while not file.create():
            time.sleep(random.uniform(0.01, 0.1))
    except OSError as error:
        raise RunError(f"{root} cannot be written: {error}") from error
    with _kept_fresh(file, Ownership(root, owner)) as ownership:
        for path, other in _living(root / "owner", _OWNERS, set()):
            if _is_in_the_way(other.stages, owner.stages):
                raise RunError(_taken(root, path, other))
        yield ownership


@contextmanager
def _kept_fresh(file: OwnerFile, ownership: Ownership) -> Iterator[Ownership]:
    over = threading.Event()
    beats = threading.Thread(target=ownership._beat, args=(file, over), daemon=True, name="run owner")
    beats.start()
    try:
        yield ownership
    finally:
        over.set()
        # A touch that is under way would put back what is removed below.
        beats.join(_LAST_BEAT_S)
        file.remove()


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
    return next((owner for _, owner in _living(root / "owner", _OWNERS)), None)


def living_sharers(root: Path) -> tuple[RunOwner, ...]:
    """Find the processes that work on single slides of a run, or on tasks of its arrays.

    Parameters
    ----------
    root
        Run directory.

    Returns
    -------
    tuple of RunOwner
        Those that live.
    """
    return tuple(owner for _, owner in _living(root / "owner", _BESIDE))


_OWNERS, _BESIDE = "[0-9]*.json", "beside-*.json"


def _is_in_the_way(owned: Iterable[str], shared: Iterable[str]) -> bool:
    """Tell whether an owner would change what a command beside it reads or writes."""
    last = max((ORDER.index(stage) for stage in shared if stage in ORDER), default=len(ORDER))
    return any(ORDER.index(stage) <= last for stage in owned if stage in ORDER)


def _take(folder: Path, owner: RunOwner) -> OwnerFile:
    dead: set[str] = set()
    for _ in range(_TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        before = list(_files(folder, _OWNERS))
        for path, other in _living(folder, _OWNERS, dead):
            raise RunError(_taken(folder.parent, path, other))
        number = 1 + max((int(path.stem) for path, _ in before), default=0)
        mine = OwnerFile(folder / f"{number}.json", _content(owner))
        # Whoever comes with the same number loses here; whoever comes with another one is seen right below.
        if mine.create():
            known = {other.nonce for _, other in before} | {owner.nonce}
            if all(other.nonce in known for _, other in _files(folder, _OWNERS)):
                for path, _ in before:
                    path.unlink(missing_ok=True)
                return mine
            mine.remove()
        time.sleep(random.uniform(0.05, 0.5))
    raise RunError(f"{folder.parent} is being worked on by several processes that start right now: try again")


def _content(owner: RunOwner) -> bytes:
    return json.dumps(asdict(owner)).encode()


def _files(folder: Path, names: str) -> list[tuple[Path, RunOwner]]:
    found = map_places(lambda path: (path, _read(path)), sorted(folder.glob(names)), folder)
    return [(path, owner) for path, owner in found if owner is not None]


def _read(path: Path) -> RunOwner | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["stages"] = tuple(fields.get("stages", ()))
        fields["slides"] = None if fields.get("slides") is None else tuple(fields["slides"])
        return RunOwner(**fields)
    except FileNotFoundError:
        return None
    except (AttributeError, TypeError, ValueError):
        # Just being written, or cut off by a full disk: nobody's, until it grows old.
        with suppress(FileNotFoundError):
            return RunOwner("unknown", "", 0, "", 0.0, f"{path.name} {path.stat().st_size}")
        return None


def _living(
    folder: Path, names: str, known_dead: set[str] | None = None, owned: Sequence[str] | None = None
) -> list[tuple[Path, RunOwner]]:
    """Find the files of living processes; with `owned`, of those in whose way an owner of these stages is.

    A file that is old, or from the future, may be that of a machine with another clock, where the file system goes by
    the clocks of its machines. With `known_dead`, where it matters, such files are watched for a few beats; it takes in
    who is dead for sure.
    """
    ages, by_one_clock = FileAges(folder), as_remote(folder) is not None
    alive, doubtful = [], []
    dead = set() if known_dead is None else known_dead
    for path, owner in _files(folder, names):
        age = None if owner.is_here else ages.of(path)
        if owner.is_here:
            is_alive, is_certain = birth_of(owner.pid) == owner.born, True
        else:
            is_alive = age is not None and age < DEAD_AFTER_S
            is_certain = by_one_clock or age is None or -_SLOW_S < age < DEAD_AFTER_S or age > _LONG_S
        if is_certain and not is_alive:
            dead.add(owner.nonce)
        elif owned is not None and not _is_in_the_way(owned, owner.stages):
            continue
        elif is_certain or known_dead is None:
            alive += [(path, owner)] if is_alive else []
        elif owner.nonce not in dead:
            doubtful.append((path, owner))
    if alive or not doubtful:
        return alive
    watch_s = _WATCHED_BEATS * HEARTBEAT_S
    logger.warning(
        "%s: process %d on %s seems to be dead; its file is watched for %.0f s, in case clocks differ",
        folder.parent,
        doubtful[0][1].pid,
        doubtful[0][1].host,
        watch_s,
    )
    moved = wait_for_touch([path for path, _ in doubtful], watch_s)
    dead |= {owner.nonce for path, owner in doubtful if path not in moved}
    return [(path, owner) for path, owner in doubtful if path in moved]


def _taken(root: Path, path: Path, owner: RunOwner) -> str:
    if not owner.pid:
        return f"{root} was just begun by another process, see {path}: wait until it ends"
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(owner.since))
    return (
        f"{root} is being worked on by process {owner.pid} on {owner.host} since {since}: wait until it ends, or end "
        f"it; `slidepipe status --run {root} --watch` shows how it gets on"
    )


def _this_process(stages: Sequence[str]) -> RunOwner:
    pid = os.getpid()
    return RunOwner(
        host=socket.gethostname(),
        machine=this_machine(),
        pid=pid,
        born=birth_of(pid) or "",
        since=time.time(),
        nonce=secrets.token_hex(8),
        stages=tuple(stages),
    )
