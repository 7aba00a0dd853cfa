"""Runs the stages of a study in order: plans each, skips what is done, does the rest, tells what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from slidepipe.runs.closing import print_closing
from slidepipe.runs.engine import SlideWork, Watcher, run_slides
from slidepipe.runs.evaluating import run_evaluation
from slidepipe.runs.exporting import run_qupath_project, scanned_areas
from slidepipe.runs.journal import COHORT, Entry
from slidepipe.runs.mining import run_mining
from slidepipe.runs.ownership import Ownership, own_run, share_run
from slidepipe.runs.pending import refuse, still_to_do
from slidepipe.runs.plan import (
    Unplanned,
    fill_tissue_table,
    plan_exports,
    plan_heatmaps,
    plan_lesions,
    plan_tiles,
)
from slidepipe.runs.prediction import run_prediction
from slidepipe.runs.progress import ConsoleWatcher
from slidepipe.runs.reporting import run_report
from slidepipe.runs.stage_workers import StageWorkers
from slidepipe.runs.study import Study, save_study
from slidepipe.runs.training import run_training
from slidepipe.stages import EXPORT, HEATMAP, LESIONS, PREVIEW, TILE, SlideStage
from slidepipe.storage.publish import remove_strays

STAGES = ("tile", "train", "heatmap", "predict", "evaluate", "export", "report")
"""Names of the stages, in order."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is asked of one command, and not part of the study."""

    accept_changed: bool = False
    """Do slides again whose files have changed since the run tiled them; else they are refused."""
    performance_report: Path | None = None
    """HTML page of what the workers did; an empty path for the one in the run directory, None writes none."""


@dataclass(frozen=True, slots=True)
class _Line:
    """What a stage needs."""

    study: Study
    workers: StageWorkers
    """Start when they are first needed: a run with nothing to do does not wait for them."""
    watcher: Watcher
    console: Console
    options: RunOptions


def run_stages(
    study: Study, names: Sequence[str], console: Console, options: RunOptions | None = None
) -> bool:
    """Run stages one after the other.

    A slide that fails in one stage is left out of the next ones and listed at the end. A stage that works on the whole
    cohort and fails ends the run, since what follows would be about something else; only the report is still written.
    Among other stages, ``train`` is left out of a study whose ``inference.model`` names the model to use.

    Parameters
    ----------
    study
        The study.
    names
        Stages to run, in order.
    console
        Where progress and results are written.
    options
        What else is asked.

    Returns
    -------
    bool
        Whether anything failed.

    Raises
    ------
    RunError
        If another process works on the run, the cluster cannot be reached or is lost, or the run lacks what a stage
        needs.
    """
    options = options or RunOptions()
    failed: list[Entry] = []
    root, report = study.folder.root, options.performance_report
    if report == Path():
        report = study.folder.performance
    shared = "tile" if names[0] == "preview" else names[0]
    with (
        share_run(root, shared, study.chosen) if study.chosen else own_run(root, names) as ownership,
        StageWorkers(study.config.cluster, study.folder, console, report) as workers,
    ):
        if study.chosen is None:
            save_study(study)
            remove_strays(root, (".zarr", ".work"))
        line = _Line(study, workers, _OwnersWatcher(console, ownership), console, options)
        for name in names:
            if name != "report" and any(entry.slide_id == COHORT for entry in failed):
                continue
            if name == "train" and len(names) > 1 and study.config.inference.model is not None:
                console.print("[bold]train[/bold] left out: inference.model names the model to use")
                continue
            ownership.check()
            start = time.perf_counter()
            entries = _RUN[name](line)
            failed += [entry for entry in entries if entry.failure is not None]
            done = "nothing to do" if not entries else f"done in {time.perf_counter() - start:.1f} s"
            console.print(f"[bold]{name}[/bold] {done}")
    print_closing(study, failed, console)
    return bool(failed)


class _OwnersWatcher(ConsoleWatcher):
    """Stops the command where the run is not its own any more."""

    def __init__(self, console: Console, ownership: Ownership) -> None:
        super().__init__(console)
        self._ownership = ownership

    def slide_done(self, entry: Entry) -> None:
        self._ownership.check()
        super().slide_done(entry)


def _tile(line: _Line) -> list[Entry]:
    work, unplanned = plan_tiles(line.study, accept_changed=line.options.accept_changed)
    fill_tissue_table(line.study)
    refused = [_refuse(line, TILE, item) for item in unplanned]
    return refused + _run_pending(line, TILE, work)


def _preview(line: _Line) -> list[Entry]:
    work, unplanned = plan_tiles(line.study, accept_changed=line.options.accept_changed)
    fill_tissue_table(line.study)
    refused = [_refuse(line, PREVIEW, item) for item in unplanned]
    return refused + list(
        run_slides(PREVIEW, work, line.workers.of("tile"), line.study.journal, line.watcher)
    )


def _train(line: _Line) -> list[Entry]:
    return run_training(line.study, line.console, line.workers)


def _heatmap(line: _Line) -> list[Entry]:
    entries = _run_pending(line, HEATMAP, plan_heatmaps(line.study))
    for entry in entries:
        if apart := entry.summary.get("apart"):
            line.console.print(
                f"heatmap {escape(entry.slide_id)}: dense and patch mode are {apart['mean']:.3f} apart in the mean "
                f"of {apart['cells']} cells, {apart['largest']:.2f} at most: a network that pads is two predictors",
                soft_wrap=True,
            )
    return entries


def _mine(line: _Line) -> list[Entry]:
    mined = run_mining(line.study)
    for entry in mined:
        if entry.state == "done":
            line.console.print(
                f"mine: round {entry.summary['round']}, {entry.summary['places']:,} hard negatives on "
                f"{entry.summary['slides']} normal training slides; `slidepipe run` trains on them",
                soft_wrap=True,
            )
    return mined


def _predict(line: _Line) -> list[Entry]:
    found = _run_pending(line, LESIONS, plan_lesions(line.study))
    predicted = run_prediction(line.study)
    for entry in predicted:
        if entry.state == "done":
            line.console.print(f"predict: {entry.summary['method']}", soft_wrap=True)
    return found + predicted


def _evaluate(line: _Line) -> list[Entry]:
    return run_evaluation(line.study)


def _export(line: _Line) -> list[Entry]:
    areas = scanned_areas(line.study)
    work = plan_exports(line.study, {name: area[:2] if area else (0, 0) for name, area in areas.items()})
    written = _run_pending(line, EXPORT, work)
    return written + run_qupath_project(line.study)


def _report(line: _Line) -> list[Entry]:
    return run_report(line.study)


_RUN: dict[str, Callable[[_Line], list[Entry]]] = {
    "preview": _preview,
    "tile": _tile,
    "train": _train,
    "heatmap": _heatmap,
    "mine": _mine,
    "predict": _predict,
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
}


def _run_pending(line: _Line, stage: SlideStage, work: Sequence[SlideWork]) -> list[Entry]:
    pending = still_to_do(line.study, stage, work)
    if not pending:
        return []
    command = "predict" if stage is LESIONS else stage.name
    return list(run_slides(stage, pending, line.workers.of(command), line.study.journal, line.watcher))


def _refuse(line: _Line, stage: SlideStage, item: Unplanned) -> Entry:
    entry = refuse(line.study, stage, item)
    line.watcher.slide_done(entry)
    return entry
