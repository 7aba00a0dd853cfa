"""Takes slides through one stage: begin, blocks, finish, each a task; writes down what became of them.

Tasks of slides that are under way go before those of new slides, and only a few tasks per worker are handed out at a
time, so neither memory nor the scheduler grows with the cohort. A failure ends its slide and no other.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from slidepipe.runs.executor import Executor, Task, TaskKey
from slidepipe.runs.journal import Entry, Journal, Outcome
from slidepipe.stages import SlideStage
from slidepipe.storage.locations import location

TASKS_PER_WORKER = 4
"""Tasks handed out per worker: enough that none waits for the scheduler, few enough to stop soon after a failure."""
MOST_PER_WORKER = 16
"""The same if tasks are short: as many as a worker ends while a task and its outcome are on their way, but no more."""
MOST_TASKS = 4000
"""Tasks handed out at the same time, however many workers there are: a scheduler keeps all of them in memory."""
_FIRST_TASK_S = 10.0
"""How long a task is believed to take as long as none has ended."""
_SHORTEST_TASK_S = 1e-4
"""Less than what a worker needs to take up a task."""
_NEWEST = 0.1
"""Weight of the newest task in the mean of the last ones."""
RUNNING_EVERY_S = 15.0
"""Time between two notes in the journal of how far a slide is."""


@dataclass(frozen=True, slots=True)
class SlideWork:
    """One slide that has to go through a stage."""

    slide_id: str
    token: str
    """Fingerprint of everything the output depends on."""
    job: Any
    """What the stage's functions take: paths and frozen settings."""
    source: str = ""
    """Fingerprint of the slide's file; empty if the stage does not read it."""


class Watcher(Protocol):
    """Is told how a stage gets on."""

    def stage_begins(self, stage: str, slides: int) -> None:
        """Take note that a stage begins.

        Parameters
        ----------
        stage
            Its name.
        slides
            Slides to do.
        """
        ...

    def blocks_found(self, count: int) -> None:
        """Take note of blocks to do.

        Parameters
        ----------
        count
            Number of blocks that a slide brought.
        """
        ...

    def block_done(self, report: dict[str, Any]) -> None:
        """Take note that a block ended well.

        Parameters
        ----------
        report
            What the block reports.
        """
        ...

    def slide_done(self, entry: Entry) -> None:
        """Take note that a slide ended.

        Parameters
        ----------
        entry
            What became of it.
        """
        ...

    def stage_ends(self) -> None:
        """Take note that the stage ended."""
        ...


@dataclass(slots=True)
class _Progress:
    """Where a slide stands within the stage."""

    work: SlideWork
    attempts: int
    started: float = field(default_factory=time.time)
    busy_s: float = 0.0
    peak_bytes: int = 0
    blocks: int = 0
    parts_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    blocks_left: int = 0
    noted: float = 0.0
    """When its entry was last written."""
    ended: bool = False


def run_slides(
    stage: SlideStage, work: Sequence[SlideWork], executor: Executor, journal: Journal, watcher: Watcher
) -> tuple[Entry, ...]:
    """Take slides through a stage.

    Parameters
    ----------
    stage
        Its functions.
    work
        Slides to do.
    executor
        Where tasks run.
    journal
        Where outcomes are written down.
    watcher
        Is told how it gets on.

    Returns
    -------
    tuple of Entry
        One per slide, in the order in which they ended.
    """
    watcher.stage_begins(stage.name, len(work))
    line = _Line(stage, journal, watcher)
    ready = deque(Task(TaskKey("begin", index), stage.begin, (item.job,)) for index, item in enumerate(work))
    line.slides = {
        index: _Progress(item, attempt_number(journal, stage, item)) for index, item in enumerate(work)
    }
    under_way = _hand_out(ready, executor, line, 0)
    for key, outcome in executor.outcomes():
        ready.extendleft(line.advance(key, outcome))
        under_way = _hand_out(ready, executor, line, under_way - 1)
    if stage.leave is not None and work:
        executor.everywhere(stage.leave, work[0].job)
    watcher.stage_ends()
    return tuple(line.entries)


def attempt_number(journal: Journal, stage: SlideStage, item: SlideWork) -> int:
    """Count how often a slide's work was begun.

    Parameters
    ----------
    journal
        What became of it before.
    stage
        The stage.
    item
        The work; with another token it is other work.

    Returns
    -------
    int
        1 for the first time.
    """
    entry = journal.read(stage.name, item.slide_id)
    return entry.attempts + 1 if entry is not None and entry.token == item.token else 1


def _hand_out(ready: deque[Task], executor: Executor, line: _Line, under_way: int) -> int:
    per_worker = min(TASKS_PER_WORKER + int(executor.latency_s / line.mean_task_s), MOST_PER_WORKER)
    while ready and under_way < min(per_worker * executor.workers, MOST_TASKS):
        task = ready.popleft()
        if line.wants(task):
            executor.submit(task)
            under_way += 1
    return under_way


class _Line:
    """The slides of one stage on their way through it."""

    def __init__(self, stage: SlideStage, journal: Journal, watcher: Watcher) -> None:
        self.slides: dict[int, _Progress] = {}
        self.entries: list[Entry] = []
        self.mean_task_s = _FIRST_TASK_S
        """How long the last tasks took."""
        self._stage = stage
        self._journal = journal
        self._watcher = watcher

    def wants(self, task: Task) -> bool:
        """Tell whether a task still matters; marks its slide as running."""
        slide = self.slides[task.key.slide]
        if task.key.kind == "begin":
            slide.started = time.time()
            self._note(slide)
        return not slide.ended

    def advance(self, key: TaskKey, outcome: Outcome) -> Iterable[Task]:
        """Take in what became of a task and return the tasks that follow from it, the last one first."""
        slide = self.slides[key.slide]
        self.mean_task_s += _NEWEST * (max(outcome.seconds, _SHORTEST_TASK_S) - self.mean_task_s)
        slide.busy_s += outcome.seconds
        slide.peak_bytes = max(slide.peak_bytes, outcome.peak_bytes)
        if slide.ended:
            return ()
        if outcome.failure is not None:
            self._end(slide, self._entry(slide, "failed", failure=outcome.failure))
            return ()
        job = slide.work.job
        if key.kind == "finish":
            outputs = self._relative(outcome.value.pop("outputs", {}))
            self._end(slide, self._entry(slide, "done", summary=outcome.value, outputs=outputs))
            return ()
        if key.kind == "begin":
            blocks = tuple(outcome.value)
            slide.blocks = slide.blocks_left = len(blocks)
            self._watcher.blocks_found(len(blocks))
            if blocks:
                return [
                    Task(TaskKey("block", key.slide, block), self._stage.block, (job, block))
                    for block in reversed(blocks)
                ]
        else:
            slide.blocks_left -= 1
            for part, seconds in outcome.value.get("parts_s", {}).items():
                slide.parts_s[part] += seconds
            self._watcher.block_done(outcome.value)
            if time.monotonic() - slide.noted > RUNNING_EVERY_S:
                self._note(slide)
        if slide.blocks_left:
            return ()
        return (Task(TaskKey("finish", key.slide), self._stage.finish, (job,)),)

    def _relative(self, outputs: dict[str, str]) -> dict[str, str]:
        # A run may be moved, so its journal names files from the run directory.
        root = self._journal.folder.parent.absolute()
        return {location(path).relative_to(root).as_posix(): content for path, content in outputs.items()}

    def _note(self, slide: _Progress) -> None:
        slide.noted = time.monotonic()
        self._journal.write(self._entry(slide, "running"))

    def _end(self, slide: _Progress, entry: Entry) -> None:
        slide.ended = True
        self._journal.write(entry)
        self._watcher.slide_done(entry)
        self.entries.append(entry)

    def _entry(self, slide: _Progress, state: Any, **more: Any) -> Entry:
        return Entry(
            stage=self._stage.name,
            slide_id=slide.work.slide_id,
            state=state,
            token=slide.work.token,
            started=slide.started,
            wall_s=round(time.time() - slide.started, 3),
            busy_s=round(slide.busy_s, 3),
            peak_bytes=slide.peak_bytes,
            parts_s={part: round(value, 3) for part, value in slide.parts_s.items()},
            attempts=slide.attempts,
            source=slide.work.source,
            blocks=slide.blocks,
            blocks_done=slide.blocks - slide.blocks_left,
            **more,
        )
