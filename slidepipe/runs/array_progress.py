"""How far the slides of a job array are, by the records of its tasks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from slidepipe.runs.array_plan import ArrayPlan, UnitRecord, find_array_plan, read_task
from slidepipe.runs.folder import RunFolder
from slidepipe.runs.journal import Entry
from slidepipe.storage.together import map_places


@dataclass(frozen=True, slots=True)
class ArrayProgress:
    """What the tasks of an array say of one slide."""

    token: str
    """Token of the work."""
    blocks: int
    blocks_done: int
    is_cut_off: bool
    """Whether a task has begun with it and is not through with its blocks: it is at work, or was killed."""

    def told_of(self, entry: Entry) -> Entry:
        """Add it to what the journal says, which hears of an array only at its begin and finish.

        Parameters
        ----------
        entry
            The slide's entry.

        Returns
        -------
        Entry
            With the blocks of the array.
        """
        return replace(entry, blocks=self.blocks, blocks_done=self.blocks_done)


def read_array_progress(folder: RunFolder, stage: str) -> dict[str, ArrayProgress]:
    """Read how far the array is that was begun last.

    Parameters
    ----------
    folder
        The run directory.
    stage
        Name of the stage.

    Returns
    -------
    dict
        Slide name to progress; empty where no array was begun.
    """
    plan = find_array_plan(folder, stage)
    if plan is None:
        return {}
    tasks = map_places(lambda index: read_task(folder, plan, index), range(plan.tasks), folder.root)
    return _progress(plan, tasks)


def _progress(plan: ArrayPlan, tasks: list[list[UnitRecord] | None]) -> dict[str, ArrayProgress]:
    done: defaultdict[str, int] = defaultdict(int)
    cut_off: set[str] = set()
    for share, records in zip(plan.shares(), tasks, strict=True):
        for record in records or ():
            done[record.unit.slide_id] += record.failure is None
        if records is not None and len(records) < len(share):
            ended = {record.unit for record in records}
            cut_off |= {unit.slide_id for unit in share if unit not in ended}
    return {
        slide.slide_id: ArrayProgress(
            slide.token, len(slide.blocks), done[slide.slide_id], slide.slide_id in cut_off
        )
        for slide in plan.slides
    }
