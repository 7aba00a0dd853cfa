"""Which task of a job array does what, and what became of it: two kinds of small files in the run directory.

``arrays/<stage>.json`` is written once, when the array is begun: the slides with their blocks, in the order of the
cohort, and how many tasks share them. ``arrays/<stage>/<index>.json`` is written by the task of that index alone, whole
and by rename, when it begins and after each of its blocks, so no two processes ever write one file.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from slidepipe.errors import RunError
from slidepipe.geometry import ceil_div
from slidepipe.provenance import fingerprint
from slidepipe.runs.folder import RunFolder
from slidepipe.runs.journal import Failure
from slidepipe.storage.publish import read_json, remove_tree, write_json


class Unit(NamedTuple):
    """One block of one slide."""

    slide_id: str
    block: int


@dataclass(frozen=True, slots=True)
class ArraySlide:
    """A slide whose blocks an array does."""

    slide_id: str
    token: str
    """Token of the slide's work when the array was begun."""
    started: float
    """When it was begun, in seconds since 1970."""
    busy_s: float
    """What beginning it took."""
    peak_bytes: int
    """Most memory that took."""
    attempts: int
    """Times that this work was begun."""
    source: str
    """Fingerprint of the slide's file, in stages that read it."""
    blocks: tuple[int, ...]
    """Blocks to do; none where only the finish is left."""


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """What became of a block."""

    unit: Unit
    seconds: float
    peak_bytes: int
    failure: Failure | None
    parts_s: dict[str, float] = field(default_factory=dict)
    """How long each part of the work was busy, where the stage tells."""


@dataclass(frozen=True, slots=True)
class ArrayPlan:
    """What the tasks of an array do."""

    stage: str
    name: str
    """Fingerprint of this plan; records of an earlier array carry another."""
    slides: tuple[ArraySlide, ...]
    refused: tuple[str, ...]
    """Slides that failed when the array was begun; their reasons are in the journal."""
    tasks: int
    """Tasks with something to do."""
    most_tasks: int
    """Indices below this are no mistake: an array may have been submitted before anyone knew how many it needs."""

    def shares(self) -> list[tuple[Unit, ...]]:
        """Share the blocks out: to each task neighbours, and as many as to any other, or one fewer.

        Returns
        -------
        list
            The blocks of each task that has something to do.
        """
        units = [Unit(slide.slide_id, block) for slide in self.slides for block in slide.blocks]
        ends = [task * len(units) // self.tasks for task in range(1, self.tasks + 1)]
        return [tuple(units[first:end]) for first, end in zip([0, *ends], ends, strict=False)]

    def units_of(self, index: int) -> tuple[Unit, ...]:
        """Return the blocks of a task.

        Parameters
        ----------
        index
            Index of the task, from 0.

        Returns
        -------
        tuple of Unit
            Empty for a task beyond those that are needed.

        Raises
        ------
        RunError
            If the array has no such task.
        """
        if not 0 <= index < self.most_tasks:
            raise RunError(
                f"--index {index}: the array of the stage {self.stage} has {self.most_tasks} tasks, "
                f"{_range(self.most_tasks)}: submit it with --array={_range(self.most_tasks)}"
            )
        return self.shares()[index] if index < self.tasks else ()


def _range(tasks: int) -> str:
    return f"0-{tasks - 1}" if tasks else "none"


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many tasks share the blocks."""

    per_task: int = 1
    """Blocks a task does at most, where `tasks` is not given."""
    tasks: int | None = None
    """Tasks at most."""


def write_array_plan(
    folder: RunFolder, stage: str, slides: Sequence[ArraySlide], refused: Sequence[str], sharing: Sharing
) -> ArrayPlan:
    """Write the plan of a new array and forget the records of the one before.

    Parameters
    ----------
    folder
        The run directory.
    stage
        Name of the stage.
    slides
        Slides and their blocks, in the order in which they are shared out.
    refused
        Slides that failed already.
    sharing
        How many tasks there are to be.

    Returns
    -------
    ArrayPlan
        As written.
    """
    blocks = sum(len(slide.blocks) for slide in slides)
    tasks = ceil_div(blocks, sharing.per_task) if sharing.tasks is None else min(sharing.tasks, blocks)
    content: dict[str, Any] = {
        "stage": stage,
        "tasks": tasks,
        "most_tasks": tasks if sharing.tasks is None else sharing.tasks,
        "begun": time.time(),
        "slides": [asdict(slide) for slide in slides],
        "refused": list(refused),
    }
    remove_tree(_records_folder(folder, stage))
    write_json(_plan_path(folder, stage), {"name": fingerprint(content), **content})
    return read_array_plan(folder, stage)


def read_array_plan(folder: RunFolder, stage: str) -> ArrayPlan:
    """Read the plan of the array that was begun last.

    Parameters
    ----------
    folder
        The run directory.
    stage
        Name of the stage.

    Returns
    -------
    ArrayPlan
        As `write_array_plan` wrote it.

    Raises
    ------
    RunError
        If no array of this stage was begun.
    """
    plan = find_array_plan(folder, stage)
    if plan is None:
        raise RunError(
            f"{folder.root} has no array of the stage {stage} yet: begin it with `slidepipe {stage}-begin`"
        )
    return plan


def find_array_plan(folder: RunFolder, stage: str) -> ArrayPlan | None:
    """Read the plan of the array that was begun last, if there is one.

    Parameters
    ----------
    folder
        The run directory.
    stage
        Name of the stage.

    Returns
    -------
    ArrayPlan or None
        None if no array of this stage was begun.
    """
    path = _plan_path(folder, stage)
    if not path.is_file():
        return None
    content = read_json(path)
    return ArrayPlan(
        stage=stage,
        name=content["name"],
        slides=tuple(
            ArraySlide(**{**slide, "blocks": tuple(slide["blocks"])}) for slide in content["slides"]
        ),
        refused=tuple(content["refused"]),
        tasks=content["tasks"],
        most_tasks=content["most_tasks"],
    )


def write_records(folder: RunFolder, plan: ArrayPlan, index: int, records: Iterable[UnitRecord]) -> None:
    """Write what became of the blocks of a task so far.

    Parameters
    ----------
    folder
        The run directory.
    plan
        The array.
    index
        The task; only its own process may write this.
    records
        One per block that was done or has failed.
    """
    content = [
        {"slide_id": record.unit.slide_id, "block": record.unit.block, **_without_unit(record)}
        for record in records
    ]
    write_json(_records_folder(folder, plan.stage) / f"{index}.json", {"plan": plan.name, "blocks": content})


def _without_unit(record: UnitRecord) -> dict[str, Any]:
    fields = asdict(record)
    del fields["unit"]
    return fields


def read_task(folder: RunFolder, plan: ArrayPlan, index: int) -> list[UnitRecord] | None:
    """Read what a task has done, and whether it has begun at all.

    Parameters
    ----------
    folder
        The run directory.
    plan
        The array.
    index
        The task.

    Returns
    -------
    list of UnitRecord or None
        None if it has not begun, or the file is of an earlier array.
    """
    try:
        content = read_json(_records_folder(folder, plan.stage) / f"{index}.json")
    except FileNotFoundError:
        return None
    return [_record(entry) for entry in content["blocks"]] if content["plan"] == plan.name else None


def _record(entry: dict[str, Any]) -> UnitRecord:
    failure = None if entry["failure"] is None else Failure(**entry["failure"])
    return UnitRecord(
        Unit(entry["slide_id"], entry["block"]),
        entry["seconds"],
        entry["peak_bytes"],
        failure,
        entry.get("parts_s", {}),
    )


def _plan_path(folder: RunFolder, stage: str) -> Path:
    return folder.arrays / f"{stage}.json"


def _records_folder(folder: RunFolder, stage: str) -> Path:
    return folder.arrays / stage
