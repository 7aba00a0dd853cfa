"""Commands for sites whose batch system gives job arrays and nothing else: begin, blocks and finish of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slidepipe.commands.command import command, console, with_model, with_workers
from slidepipe.commands.options import (
    model_option,
    run_option,
    set_option,
    slides_option,
    workers_option,
)
from slidepipe.commands.study_commands import study_to_tile

if TYPE_CHECKING:
    from slidepipe.runs.study import Study
    from slidepipe.stages import SlideStage

_index_option = click.option(
    "--index",
    type=click.IntRange(min=0),
    required=True,
    metavar="I",
    help="Index of this task, from 0; in SLURM $SLURM_ARRAY_TASK_ID.",
)
_sharing_options = (
    click.option(
        "--per-task",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Blocks that a task does, one after the other.",
    ),
    click.option(
        "--tasks",
        type=click.IntRange(min=1),
        help="Tasks of the array at most, instead of --per-task; any that are too many have nothing to do.",
    ),
)


def _sharing(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_sharing_options):
        function = option(function)
    return function


@command
@click.argument("inputs", nargs=-1, metavar="[CONFIG | SLIDES...]")
@run_option
@_sharing
@slides_option
@set_option
@workers_option
def tile_begin(
    inputs: tuple[str, ...],
    run_folder: Path,
    per_task: int,
    tasks: int | None,
    slide_ids: tuple[str, ...],
    overrides: Sequence[str],
    workers: int | None,
) -> None:
    """Prepare `tile` as a job array and print the number of its tasks.

    Give a study's CONFIG, or just SLIDES, or nothing to go on with a run. Slides that fail are told of by tile-finish.
    """
    from slidepipe.stages import TILE

    study = study_to_tile(inputs, run_folder, with_workers(overrides, workers), slide_ids)
    _begin(study, TILE, per_task, tasks)


@command
@run_option
@_index_option
def tile_block(run_folder: Path, index: int) -> None:
    """Do one task of the array: cut its blocks.

    Exits 0 also if a block failed: that is written down, and told of by tile-finish.
    """
    from slidepipe.stages import TILE

    _block(run_folder, TILE, index)


@command
@run_option
def tile_finish(run_folder: Path) -> bool:
    """Complete the tile stores once all tasks have ended. Exits 1 if a slide failed."""
    from slidepipe.stages import TILE

    return _finish(run_folder, TILE)


@command
@run_option
@model_option
@_sharing
@slides_option
@set_option
@workers_option
def heatmap_begin(
    run_folder: Path,
    model: str | None,
    per_task: int,
    tasks: int | None,
    slide_ids: tuple[str, ...],
    overrides: Sequence[str],
    workers: int | None,
) -> None:
    """Prepare `heatmap` as a job array and print the number of its tasks."""
    from slidepipe.runs.study import open_study
    from slidepipe.stages import HEATMAP

    study = open_study(run_folder, with_model(with_workers(overrides, workers), model)).choose(slide_ids)
    _begin(study, HEATMAP, per_task, tasks)


@command
@run_option
@_index_option
def heatmap_block(run_folder: Path, index: int) -> None:
    """Do one task of the array: classify the cells of its blocks.

    Exits 0 also if a block failed: that is written down, and told of by heatmap-finish.
    """
    from slidepipe.stages import HEATMAP

    _block(run_folder, HEATMAP, index)


@command
@run_option
def heatmap_finish(run_folder: Path) -> bool:
    """Complete the heatmaps once all tasks have ended. Exits 1 if a slide failed."""
    from slidepipe.stages import HEATMAP

    return _finish(run_folder, HEATMAP)


def _begin(study: Study, stage: SlideStage, per_task: int, tasks: int | None) -> None:
    """Print the number of tasks, alone, on standard output, and what a person wants to know beside it."""
    from slidepipe.runs.array_plan import Sharing
    from slidepipe.runs.array_stages import begin_array

    plan = begin_array(study, stage, Sharing(per_task, tasks))
    blocks = sum(len(slide.blocks) for slide in plan.slides)
    click.echo(f"{stage.name}: {len(plan.slides)} slides, {blocks} blocks, tasks from 0", err=True)
    for slide_id in plan.refused:
        entry = study.journal.read(stage.name, slide_id)
        if entry is not None and entry.failure is not None:
            click.echo(f"{slide_id} failed: {entry.failure.kind}: {entry.failure.message}", err=True)
    click.echo(plan.tasks)


def _block(run_folder: Path, stage: SlideStage, index: int) -> None:
    from slidepipe.runs.array_stages import run_array_task
    from slidepipe.runs.study import open_study

    records = run_array_task(open_study(run_folder), stage, index)
    for record in records:
        if record.failure is not None:
            reason = f"{record.failure.kind}: {record.failure.message}"
            click.echo(f"{record.unit.slide_id}, block {record.unit.block} failed: {reason}", err=True)
    failed = sum(record.failure is not None for record in records)
    click.echo(f"{stage.name}: {len(records)} blocks" + (f", {failed} of them failed" if failed else ""))


def _finish(run_folder: Path, stage: SlideStage) -> bool:
    from slidepipe.runs.array_stages import finish_array, unfinished_tasks
    from slidepipe.runs.closing import print_closing
    from slidepipe.runs.study import open_study

    study = open_study(run_folder)
    entries = finish_array(study, stage)
    failed = [entry for entry in entries if entry.failure is not None]
    click.echo(f"{stage.name}: {len(entries) - len(failed)} of {len(entries)} slides done")
    if unfinished := unfinished_tasks(study, stage):
        click.echo(
            f"tasks that were killed, never ran or still run: {','.join(map(str, unfinished))}; let them end, or run "
            f"them again (--array takes that list), then {stage.name}-finish"
        )
    print_closing(study, failed, console())
    return bool(failed)
