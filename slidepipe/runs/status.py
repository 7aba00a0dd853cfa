"""What is done, running and failed in a run, how fast, and until when: read from its journal while others write it."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slidepipe.runs.folder import RunFolder, open_run
from slidepipe.runs.journal import COHORT, Entry, Journal
from slidepipe.runs.ownership import RunOwner, living_owner
from slidepipe.slides.cohort_table import read_cohort

STATUS_STAGES = ("tile", "train", "heatmap", "lesions", "predict", "evaluate", "export", "qupath", "report")
"""Stages of the journal, in order. ``lesions`` and ``predict`` are the two halves of the command predict, ``export``
and ``qupath`` those of export."""

_SLIDE_STAGES = ("tile", "heatmap", "lesions", "export")
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
    owner = living_owner(root)
    journal, total = Journal(folder.journal), _count_slides(folder)
    stages, failures = [], []
    for stage in STATUS_STAGES:
        entries = list(journal.entries(stage))
        status = _stage_status(stage, entries, total if stage in _SLIDE_STAGES else 1, owner)
        stages.append(status)
        failures += [entry for entry in entries if entry.failure is not None]
        if total is not None and stage in _SLIDE_STAGES:
            total -= status.failed
    return RunStatus(owner, tuple(stages), tuple(failures))


def _count_slides(folder: RunFolder) -> int | None:
    if not folder.cohort.is_file():
        return None
    return sum("all" not in slide.excluded for slide in read_cohort(folder.cohort).slides)


def _stage_status(stage: str, entries: list[Entry], total: int | None, owner: RunOwner | None) -> StageStatus:
    running = [entry for entry in entries if _is_alive(entry, owner)]
    done = sum(entry.state == "done" for entry in entries)
    failed = sum(entry.state == "failed" for entry in entries)
    rate = _slides_per_s(entries, running, owner)
    left = None
    if rate and total is not None:
        left = max(0.0, total - done - failed - sum(map(_part, running))) / rate
    return StageStatus(
        stage=stage,
        total=total,
        done=done,
        running=len(running),
        failed=failed,
        interrupted=len(entries) - done - failed - len(running),
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


def _is_alive(entry: Entry, owner: RunOwner | None) -> bool:
    return entry.state == "running" and owner is not None and entry.started >= owner.since


def _part(entry: Entry) -> float:
    return entry.blocks_done / entry.blocks if entry.blocks else 0.0


def _slides_per_s(entries: list[Entry], running: list[Entry], owner: RunOwner | None) -> float | None:
    """Measure the rate of the command at work, as long as it works on this stage."""
    if owner is None or not running or running[0].slide_id == COHORT:
        return None
    ended = [entry for entry in entries if entry.state != "running" and entry.started >= owner.since]
    began = min(entry.started for entry in [*ended, *running])
    # Its clock, as far as the journal tells: this machine may have another time.
    now = max([time.time(), *(entry.started + entry.wall_s for entry in ended)])
    slides = len(ended) + sum(map(_part, running))
    return slides / (now - began) if slides and now > began else None


def _slowest(entries: Iterable[Entry], running: list[Entry]) -> tuple[tuple[str, float], ...]:
    now, alive = time.time(), {entry.slide_id for entry in running}
    times = (
        (entry.slide_id, now - entry.started if entry.slide_id in alive else entry.wall_s)
        for entry in entries
        if entry.slide_id != COHORT
    )
    return tuple(heapq.nlargest(_SLOWEST, times, key=lambda item: item[1]))
