"""What became of every slide in every stage, one small file each.

``journal/<stage>/<slide>.json`` is written whole and renamed, so any number of processes may read it at any time and
nothing has to be locked. A failed slide keeps its traceback there; the other slides go on.

This module holds the only broad ``except`` of the package: whatever a slide does to its task ends as a `Failure`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from slidepipe.errors import SlidepipeError
from slidepipe.storage.locations import as_remote
from slidepipe.storage.publish import read_json, write_json
from slidepipe.storage.together import map_places

_PEAK_KIB = re.compile(rb"^VmHWM:\s*(\d+) kB", re.MULTILINE)

COHORT = "_cohort"
"""Stands for the slide in stages that work on the whole cohort at once."""

_READERS = 8
_PIECE = 64
"""Entries that a thread reads in one go."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed, in a form that can be sent and stored."""

    kind: str
    """Name of the error's class."""
    message: str
    traceback: str
    expected: bool
    """True for an error that slidepipe raised on purpose, whose message is enough."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task returned, or why it failed, and how long it took."""

    value: Any
    failure: Failure | None
    seconds: float
    peak_bytes: int = 0
    """Most memory that the process has ever held."""


@dataclass(frozen=True, slots=True)
class Entry:
    """State of one slide in one stage."""

    stage: str
    slide_id: str
    state: Literal["running", "done", "failed"]
    token: str
    """Fingerprint of everything the output depends on."""
    started: float
    """Seconds since 1970."""
    wall_s: float = 0.0
    """From the first task's start to the last one's end."""
    busy_s: float = 0.0
    """Sum over the tasks, so busy / wall tells how many workers were kept busy."""
    peak_bytes: int = 0
    """Most memory that any process has held that worked on it."""
    parts_s: dict[str, float] = field(default_factory=dict)
    """How long each part of the work was busy, where the stage tells: reading, waiting for pixels, computing, writing.
    Reading goes on beside the others."""
    attempts: int = 1
    source: str = ""
    """Fingerprint of the slide's file, in stages that read it."""
    blocks: int = 0
    """Blocks to do, as far as they are known."""
    blocks_done: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    """What the stage reports: counts, sizes, rates."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Files written (relative to the run) and their fingerprints."""
    failure: Failure | None = None


def attempt(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function and catch whatever it raises.

    Runs on the worker, so that a failure travels as text: an exception of a library may not survive pickling.

    Parameters
    ----------
    function
        What to call.
    *arguments
        With what.

    Returns
    -------
    Outcome
        The value or the failure. KeyboardInterrupt and the like pass through.
    """
    start = time.perf_counter()
    try:
        value = function(*arguments)
    except Exception as error:  # noqa: BLE001  one bad slide must not stop the batch
        return Outcome(None, describe_failure(error), time.perf_counter() - start, _peak_bytes())
    return Outcome(value, None, time.perf_counter() - start, _peak_bytes())


def _peak_bytes() -> int:
    # Where there is /proc, from there: what getrusage tells begins with what the process held that started this one.
    status = Path("/proc/self/status")
    if status.is_file():
        found = _PEAK_KIB.search(status.read_bytes())
        if found is not None:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_failure(error: BaseException) -> Failure:
    """Turn an exception into a `Failure`.

    Parameters
    ----------
    error
        The exception.

    Returns
    -------
    Failure
        Its class, message and traceback.
    """
    return Failure(
        kind=type(error).__name__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
        expected=isinstance(error, (SlidepipeError, FileNotFoundError)),
    )


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of a run."""

    folder: Path

    def write(self, entry: Entry) -> None:
        """Write an entry in place of the slide's earlier one.

        Parameters
        ----------
        entry
            State of one slide in one stage.
        """
        write_json(self._path(entry.stage, entry.slide_id), asdict(entry))

    def read(self, stage: str, slide_id: str = COHORT) -> Entry | None:
        """Read the entry of a slide.

        Parameters
        ----------
        stage
            Name of the stage.
        slide_id
            Name of the slide; left out for stages that work on the whole cohort.

        Returns
        -------
        Entry or None
            None if the stage has not come to this slide.
        """
        try:
            return _entry(read_json(self._path(stage, slide_id)))
        except FileNotFoundError:
            return None

    def entries(self, stage: str) -> Iterator[Entry]:
        """Read all entries of a stage, by slide name.

        Parameters
        ----------
        stage
            Name of the stage.

        Yields
        ------
        Entry
            State of one slide.
        """
        folder = self.folder / stage
        if as_remote(folder) is not None:
            yield from map_places(lambda path: _entry(read_json(path)), sorted(folder.glob("*.json")), folder)
            return
        if not folder.is_dir():
            return
        with os.scandir(folder) as items:
            names = sorted(item.name for item in items if item.name.endswith(".json"))
        with ThreadPoolExecutor(_READERS, thread_name_prefix="journal") as readers:
            # Several at a time, for journals on a network: each file is asked of a server, which answers many at once.
            pieces = [names[start : start + _PIECE] for start in range(0, len(names), _PIECE)]
            for entries in readers.map(lambda piece: [_read(folder, name) for name in piece], pieces):
                yield from entries

    def _path(self, stage: str, slide_id: str) -> Path:
        return self.folder / stage / f"{slide_id}.json"


def _read(folder: Path, name: str) -> Entry:
    with Path(f"{folder}/{name}").open("rb") as file:
        return _entry(json.loads(file.read()))


def _entry(record: dict[str, Any]) -> Entry:
    failure = record.pop("failure")
    return Entry(**record, failure=Failure(**failure) if failure else None)
