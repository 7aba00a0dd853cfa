"""Stages for sites whose batch system gives job arrays and nothing else: begin, blocks and finish as three commands.

They call the same functions with the same tokens as the engine and leave the same stores and journal, so a study may
go from one to the other at any time. A slide that fails is written down, leaves the others alone, and is told of at the
finish. Killed tasks may run again, whole: what a task has done, it skips.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from slidepipe.errors import RunError
from slidepipe.runs.array_plan import (
    ArrayPlan,
    ArraySlide,
    Sharing,
    Unit,
    UnitRecord,
    read_array_plan,
    read_task,
    write_array_plan,
    write_records,
)
from slidepipe.runs.cluster import open_executor
from slidepipe.runs.engine import TASKS_PER_WORKER, SlideWork, attempt_number
from slidepipe.runs.executor import Executor, Task, TaskKey
from slidepipe.runs.journal import Entry, Failure, Outcome, attempt, describe_failure
from slidepipe.runs.ownership import Ownership, own_run, share_run
from slidepipe.runs.pending import refuse, still_to_do
from slidepipe.runs.plan import Unplanned, fill_tissue_table, plan_heatmaps, plan_tiles
from slidepipe.runs.study import Study
from slidepipe.stages import HEATMAP, TILE, SlideStage

_PLANNERS: dict[SlideStage, Callable[[Study], tuple[list[SlideWork], list[Unplanned]]]] = {
    TILE: plan_tiles,
    HEATMAP: lambda study: (plan_heatmaps(study), []),
}


def begin_array(study: Study, stage: SlideStage, sharing: Sharing) -> ArrayPlan:
    """Prepare the stores of all slides that are to be done, and share their blocks out among the tasks of an array.

    Slides are prepared by the workers that the study's settings ask for; those are gone when this returns.

    Parameters
    ----------
    study
        The study; with chosen slides, only these.
    stage
        ``TILE`` or ``HEATMAP``.
    sharing
        How many tasks there are to be.

    Returns
    -------
    ArrayPlan
        What each task is to do. Slides that fail here are written down and left out.

    Raises
    ------
    RunError
        If another process works on the run, a task of an earlier array of the stage still runs, the run lacks what the
        stage needs, or no worker can be had.
    """
    with own_run(study.folder.root, (stage.name,)) as ownership:
        work, unplanned = _PLANNERS[stage](study)
        if stage == TILE:
            fill_tissue_table(study)
        refused = [refuse(study, stage, item).slide_id for item in unplanned]
        pending = still_to_do(study, stage, work)
        slides: list[ArraySlide] = []
        if pending:
            with open_executor(study.config.cluster.of_stage(stage.name)) as executor:
                for entry, outcome in _begun(study, stage, pending, executor):
                    ownership.check()
                    if outcome.failure is None:
                        slides.append(_array_slide(entry, outcome))
                    else:
                        refused.append(entry.slide_id)
        place = {item.slide_id: index for index, item in enumerate(pending)}
        slides.sort(key=lambda slide: place[slide.slide_id])
        return write_array_plan(study.folder, stage.name, slides, refused, sharing)


def _array_slide(entry: Entry, outcome: Outcome) -> ArraySlide:
    return ArraySlide(
        slide_id=entry.slide_id,
        token=entry.token,
        started=entry.started,
        busy_s=entry.busy_s,
        peak_bytes=entry.peak_bytes,
        attempts=entry.attempts,
        source=entry.source,
        blocks=tuple(outcome.value),
    )


def _begun(
    study: Study, stage: SlideStage, pending: Sequence[SlideWork], executor: Executor
) -> Iterator[tuple[Entry, Outcome]]:
    """Begin slides, a few per worker at a time; write down, and give back, how each stands then."""
    started: dict[int, float] = {}
    waiting = iter(enumerate(pending))

    def submit(number: int) -> None:
        for index, item in islice(waiting, number):
            started[index] = time.time()
            executor.submit(Task(TaskKey("begin", index), stage.begin, (item.job,)))

    submit(TASKS_PER_WORKER * executor.workers)
    for key, outcome in executor.outcomes():
        item, wall_s = pending[key.slide], time.time() - started[key.slide]
        entry = Entry(
            stage=stage.name,
            slide_id=item.slide_id,
            state="running" if outcome.failure is None else "failed",
            token=item.token,
            started=started.pop(key.slide),
            wall_s=0.0 if outcome.failure is None else round(wall_s, 3),
            busy_s=round(outcome.seconds, 3),
            peak_bytes=outcome.peak_bytes,
            attempts=attempt_number(study.journal, stage, item),
            source=item.source,
            failure=outcome.failure,
        )
        study.journal.write(entry)
        yield entry, outcome
        submit(1)


def run_array_task(study: Study, stage: SlideStage, index: int) -> list[UnitRecord]:
    """Do the blocks of one task, one after the other, but those that it has done before.

    A block that fails is written down and the others go on.

    Parameters
    ----------
    study
        The study.
    stage
        ``TILE`` or ``HEATMAP``.
    index
        Index of the task, from 0.

    Returns
    -------
    list of UnitRecord
        One per block of the task.

    Raises
    ------
    RunError
        If no array was begun, it has no such task, a command owns the run that would change what the task reads, or a
        slide or its settings have changed since; blocks of slides that have not changed are done before this is raised.
    """
    plan = read_array_plan(study.folder, stage.name)
    units = plan.units_of(index)
    if not units:
        return []
    with share_run(study.folder.root, stage.name, {unit.slide_id for unit in units}) as ownership:
        return _do_units(study, stage, plan, index, ownership)


def _do_units(
    study: Study, stage: SlideStage, plan: ArrayPlan, index: int, ownership: Ownership
) -> list[UnitRecord]:
    units = plan.units_of(index)
    records = [record for record in read_task(study.folder, plan, index) or () if record.failure is None]
    write_records(study.folder, plan, index, records)
    done = {record.unit for record in records}
    work, failures = _planned(study, stage, {unit.slide_id for unit in units})
    tokens = {slide.slide_id: slide.token for slide in plan.slides}
    changed = []
    for unit in units:
        ownership.check()
        item = work.get(unit.slide_id)
        if unit in done:
            continue
        if unit.slide_id in failures:
            outcome = Outcome(None, failures[unit.slide_id], 0.0)
        elif item is None or item.token != tokens[unit.slide_id]:
            changed.append(unit.slide_id)
            continue
        else:
            outcome = attempt(stage.block, item.job, unit.block)
        records.append(_unit_record(unit, outcome))
        write_records(study.folder, plan, index, records)
    if changed:
        raise RunError(_has_changed(stage, sorted(set(changed))))
    return records


def _unit_record(unit: Unit, outcome: Outcome) -> UnitRecord:
    parts_s = (outcome.value or {}).get("parts_s", {})
    return UnitRecord(
        unit,
        round(outcome.seconds, 3),
        outcome.peak_bytes,
        outcome.failure,
        {part: round(seconds, 3) for part, seconds in parts_s.items()},
    )


def _planned(
    study: Study, stage: SlideStage, slide_ids: Iterable[str]
) -> tuple[dict[str, SlideWork], dict[str, Failure]]:
    """Plan some slides anew: files say what they are now, not what they were when the array was begun."""
    chosen = set(slide_ids) & {slide.source.slide_id for slide in study.taking_part}
    if not chosen:
        return {}, {}
    work, unplanned = _PLANNERS[stage](study.choose(chosen))
    return {item.slide_id: item for item in work}, {item.slide_id: item.failure for item in unplanned}


def _has_changed(stage: SlideStage, slide_ids: Sequence[str]) -> str:
    return (
        f"{', '.join(slide_ids)}: the slide or its settings have changed since `slidepipe {stage.name}-begin`: "
        "begin again"
    )


def finish_array(study: Study, stage: SlideStage) -> list[Entry]:
    """Close the slides of an array, once its tasks have ended. Doing it twice is harmless.

    Parameters
    ----------
    study
        The study.
    stage
        ``TILE`` or ``HEATMAP``.

    Returns
    -------
    list of Entry
        One per slide of the array, as written into the journal, the ones that failed at the begin included.

    Raises
    ------
    RunError
        If no array was begun, the run lacks what the stage needs, or a command owns it that would change it.
    """
    with share_run(study.folder.root, stage.name, None):
        return _finish(study, stage)


def _finish(study: Study, stage: SlideStage) -> list[Entry]:
    plan = read_array_plan(study.folder, stage.name)
    records: dict[str, list[UnitRecord]] = {slide.slide_id: [] for slide in plan.slides}
    for index in range(plan.tasks):
        for record in read_task(study.folder, plan, index) or ():
            records[record.unit.slide_id].append(record)
    work, failures = _planned(study, stage, records)
    entries = [study.journal.read(stage.name, slide_id) for slide_id in plan.refused]
    for slide in plan.slides:
        entry = study.journal.read(stage.name, slide.slide_id)
        if entry is None or entry.state != "done" or entry.token != slide.token:
            failed = [record.failure for record in records[slide.slide_id] if record.failure is not None]
            failed += [failures[slide.slide_id]] if slide.slide_id in failures else []
            item = work.get(slide.slide_id)
            if failed:
                outcome = Outcome(None, failed[0], 0.0)
            elif item is None or item.token != slide.token:
                outcome = Outcome(
                    None, describe_failure(RunError(_has_changed(stage, [slide.slide_id]))), 0.0
                )
            else:
                outcome = attempt(stage.finish, item.job)
            entry = _last_entry(stage, slide, records[slide.slide_id], outcome)
            study.journal.write(entry)
        entries.append(entry)
    return [entry for entry in entries if entry is not None]


def _last_entry(
    stage: SlideStage, slide: ArraySlide, records: Sequence[UnitRecord], outcome: Outcome
) -> Entry:
    return Entry(
        stage=stage.name,
        slide_id=slide.slide_id,
        state="done" if outcome.failure is None else "failed",
        token=slide.token,
        started=slide.started,
        # Begun on another machine, perhaps, with another clock.
        wall_s=round(max(0.0, time.time() - slide.started), 3),
        busy_s=round(slide.busy_s + sum(record.seconds for record in records) + outcome.seconds, 3),
        peak_bytes=max([slide.peak_bytes, outcome.peak_bytes, *(record.peak_bytes for record in records)]),
        parts_s=_sum_parts(records),
        attempts=slide.attempts,
        source=slide.source,
        blocks=len(slide.blocks),
        blocks_done=sum(record.failure is None for record in records),
        summary=outcome.value or {},
        failure=outcome.failure,
    )


def _sum_parts(records: Sequence[UnitRecord]) -> dict[str, float]:
    parts: defaultdict[str, float] = defaultdict(float)
    for record in records:
        for part, seconds in record.parts_s.items():
            parts[part] += seconds
    return {part: round(seconds, 3) for part, seconds in parts.items()}


def unfinished_tasks(study: Study, stage: SlideStage) -> list[int]:
    """Tell which tasks of an array left blocks without a word: they were killed, still run, or never ran.

    Parameters
    ----------
    study
        The study.
    stage
        ``TILE`` or ``HEATMAP``.

    Returns
    -------
    list of int
        Their indices, ascending.

    Raises
    ------
    RunError
        If no array was begun.
    """
    plan = read_array_plan(study.folder, stage.name)
    return [
        index
        for index, units in enumerate(plan.shares())
        if len(read_task(study.folder, plan, index) or ()) < len(units)
    ]
