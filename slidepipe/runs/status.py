"""What is done, running and failed in a run, how fast, and until when: read from its journal while others write it."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slidepipe.runs.array_progress import ArrayProgress, read_array_progress
from slidepipe.runs.folder import RunFolder, open_run
from slidepipe.runs.journal import COHORT, Entry, Journal
from slidepipe.runs.ownership import RunOwner, living_owner, living_sharers
from slidepipe.slides.cohort_table import read_cohort

STATUS_STAGES = ("tile", "train", "heatmap", "lesions", "predict", "evaluate", "export", "qupath", "report")
"""Stages of the journal, in order. ``lesions`` and ``predict`` are the two halves of the command predict, ``export``
and ``qupath`` those of export."""

_SLIDE_STAGES = ("tile", "heatmap", "lesions", "export")
_ARRAY_STAGES = ("tile", "heatmap")
_COMMANDS = {"lesions": "predict", "qupath": "export"}
"""Commands of stages that have another name."""
_SLOWEST = 3


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How far a stage is; counts are slides, or 0 and 1 for stages that work on the whole cohort."""

    stage: str
    total: int | None
    """Slides to do, those done among them: of the cohort, less those that failed in an earlier stage. None if the run
    has no cohort yet."""
    done: int
    running: int
    failed: int
    waiting: int
    """Begun by a job array whose tasks have yet to start, or are through and wait for the finish."""
    interrupted: int
    """Begun, but whoever did it is gone; the next run goes on with them."""
    busy_s: float
    """Sum over the tasks."""
    parts_s: dict[str, float]
    """What the workers were busy with, where blocks tell: reading, computing, writing, waiting."""
    blocks: int
    """Blocks of the slides that are running."""
    blocks_done: int
    slides_per_hour: float | None
    """By the command that is at work now, slides that are partly done included; None if none is, or before the first
    block is done."""
    left_s: float | None
    """Time left at that rate."""
    slowest: tuple[tuple[str, float], ...]
    """Names and seconds of the slides that took longest, or have taken so far."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is."""

    owner: RunOwner | None
    """The process that works on it; None if there is none."""
    beside: tuple[RunOwner, ...]
    """Processes that work on single slides, or on tasks of job arrays."""
    stages: tuple[StageStatus, ...]
    failures: tuple[Entry, ...]
    """What failed, with its reason, in the order of stages and slides."""


def read_status(root: Path) -> RunStatus:
    """Read how far a run is.

    Parameters
    ----------
    root
        Run directory.

    Returns
    -------
    RunStatus
        As the journal says at this moment.

    Raises
    ------
    RunError
        If the directory is not a run.
    """
    folder = open_run(root)
    # Before the journal: a command that ends in between has all its slides ended.
    owner, beside = living_owner(root), living_sharers(root)
    workers = beside if owner is None else (owner, *beside)
    journal, total = Journal(folder.journal), _count_slides(folder)
    stages, failures = [], []
    for stage in STATUS_STAGES:
        entries = list(journal.entries(stage))
        arrays = {}
        if stage in _ARRAY_STAGES and any(entry.state == "running" for entry in entries):
            arrays = read_array_progress(folder, stage)
            entries = [_told_of_array(entry, arrays) for entry in entries]
        status = _stage_status(
            entries, _Around(stage, total if stage in _SLIDE_STAGES else 1, workers, arrays)
        )
        stages.append(status)
        failures += [entry for entry in entries if entry.failure is not None]
        if total is not None and stage in _SLIDE_STAGES:
            total -= status.failed
    return RunStatus(owner, beside, tuple(stages), tuple(failures))


def _count_slides(folder: RunFolder) -> int | None:
    if not folder.cohort.is_file():
        return None
    return sum("all" not in slide.excluded for slide in read_cohort(folder.cohort).slides)


@dataclass(frozen=True, slots=True)
class _Around:
    """What there is to know of a stage beside its entries."""

    stage: str
    total: int | None
    workers: tuple[RunOwner, ...]
    """Processes that work on the run."""
    arrays: dict[str, ArrayProgress]

    def at(self, slide_id: str) -> list[RunOwner]:
        """Find the processes that may be at work on a slide in this stage."""
        command = _COMMANDS.get(self.stage, self.stage)
        return [worker for worker in self.workers if worker.works_on(command, slide_id)]


def _told_of_array(entry: Entry, arrays: dict[str, ArrayProgress]) -> Entry:
    progress = arrays.get(entry.slide_id)
    if entry.state != "running" or progress is None or progress.token != entry.token:
        return entry
    return progress.told_of(entry)


def _stage_status(entries: list[Entry], around: _Around) -> StageStatus:
    total = around.total
    running = [entry for entry in entries if _is_alive(entry, around)]
    waiting = sum(_is_waiting(entry, around) for entry in entries)
    done = sum(entry.state == "done" for entry in entries)
    failed = sum(entry.state == "failed" for entry in entries)
    rate = _slides_per_s(entries, running, around)
    left = None
    if rate and total is not None:
        left = max(0.0, total - done - failed - sum(map(_part, running))) / rate
    return StageStatus(
        stage=around.stage,
        total=total,
        done=done,
        running=len(running),
        failed=failed,
        waiting=waiting,
        interrupted=len(entries) - done - failed - len(running) - waiting,
        busy_s=sum(entry.busy_s for entry in entries),
        parts_s=_parts_s(entries),
        blocks=sum(entry.blocks for entry in running),
        blocks_done=sum(entry.blocks_done for entry in running),
        slides_per_hour=None if rate is None else 3600 * rate,
        left_s=left,
        slowest=_slowest(entries, running),
    )


def _parts_s(entries: Iterable[Entry]) -> dict[str, float]:
    parts: defaultdict[str, float] = defaultdict(float)
    for entry in entries:
        for part, seconds in entry.parts_s.items():
            parts[part] += seconds
    return dict(parts)


def _is_alive(entry: Entry, around: _Around) -> bool:
    # Begun by an owner itself, and so by its clock; a task goes on with what the begin of its array has begun.
    return entry.state == "running" and any(
        worker.is_beside or entry.started >= worker.since for worker in around.at(entry.slide_id)
    )


def _is_waiting(entry: Entry, around: _Around) -> bool:
    progress = around.arrays.get(entry.slide_id)
    return (
        entry.state == "running"
        and progress is not None
        and progress.token == entry.token
        and not progress.is_cut_off
        and not _is_alive(entry, around)
    )


def _part(entry: Entry) -> float:
    return entry.blocks_done / entry.blocks if entry.blocks else 0.0


def _slides_per_s(entries: list[Entry], running: list[Entry], around: _Around) -> float | None:
    """Measure the rate of the commands at work, as long as they work on this stage."""
    if not running or running[0].slide_id == COHORT:
        return None
    workers = {worker.nonce: worker for entry in running for worker in around.at(entry.slide_id)}
    since = min(worker.since for worker in workers.values())
    ended = [entry for entry in entries if entry.state != "running" and entry.started >= since]
    began = min(entry.started for entry in [*ended, *running])
    # An owner notes every few seconds how far it is, so its journal knows its time; this machine may have another.
    now = max(entry.started + entry.wall_s for entry in [*ended, *running])
    if any(worker.is_here or worker.is_beside for worker in workers.values()):
        now = max(now, time.time())
    slides = len(ended) + sum(map(_part, running))
    return slides / (now - began) if slides and now > began else None


def _slowest(entries: Iterable[Entry], running: list[Entry]) -> tuple[tuple[str, float], ...]:
    now, alive = time.time(), {entry.slide_id for entry in running}
    times = (
        (entry.slide_id, max(entry.wall_s, now - entry.started if entry.slide_id in alive else 0.0))
        for entry in entries
        if entry.slide_id != COHORT
    )
    return tuple(heapq.nlargest(_SLOWEST, times, key=lambda item: item[1]))
