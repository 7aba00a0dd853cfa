"""The last words of a command: what failed, the figures, and what to open next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slidepipe.evaluation.output import FILE_NAME
from slidepipe.runs.journal import COHORT, Entry
from slidepipe.runs.study import Study
from slidepipe.stages import TILE
from slidepipe.storage.publish import read_json


def print_closing(study: Study, failed: Sequence[Entry], console: Console) -> None:
    """Print what failed, a short table of results, and the path to open.

    Parameters
    ----------
    study
        The study.
    failed
        Journal entries of what failed in this command.
    console
        Where to print.
    """
    results = study.folder.evaluation / FILE_NAME
    evaluate = study.journal.read("evaluate")
    if evaluate is not None and evaluate.state == "done" and results.is_file():
        console.print(_results_table(study.config.name, read_json(results)))
    if study.cohort.missing:
        console.print(
            f"{len(study.cohort.missing)} slides of the reference table are not there, see {study.folder.cohort}"
        )
    empty = [
        entry.slide_id for entry in study.journal.entries(TILE.name) if entry.summary.get("n_tiles") == 0
    ]
    if empty:
        slides = "1 slide" if len(empty) == 1 else f"{len(empty)} slides"
        console.print(f"no tissue was found on {slides}: {escape(', '.join(empty))}", soft_wrap=True)
    if failed:
        console.print(f"\n[bold red]{len(failed)} failed:[/bold red]")
        for entry in failed:
            console.print(f"  {entry.stage} {_who(entry)}: {escape(_why(entry))}", soft_wrap=True)
        console.print(f"Tracebacks: {study.folder.journal}", soft_wrap=True)
    if study.folder.report.is_file():
        console.print(f"\nOpen [bold]{escape(str(study.folder.report))}[/bold]", soft_wrap=True)


def _who(entry: Entry) -> str:
    return "" if entry.slide_id == COHORT else escape(entry.slide_id)


def _why(entry: Entry) -> str:
    return "" if entry.failure is None else f"{entry.failure.kind}: {entry.failure.message}"


def _results_table(name: str, evaluation: dict[str, Any]) -> Table:
    table = Table("", "value", "95 % interval", "on", title=escape(name), title_justify="left")
    froc, auc, reading = evaluation["froc"], evaluation["auc"], evaluation["reading"]
    if froc is not None:
        on = f"{froc['n_slides']} slides, {froc['n_targets']} lesions"
        table.add_row(f"FROC score ({froc['rule']})", f"{froc['score']:.3f}", _interval(froc["ci"]), on)
        intervals = froc["sensitivity_ci"] or [None] * len(froc["sensitivity_at"])
        points = zip(froc["false_positives_per_slide"], froc["sensitivity_at"], intervals, strict=True)
        for rate, sensitivity, ends in points:
            table.add_row(f"  found at {rate:g} FP a slide", f"{sensitivity:.3f}", _interval(ends), "")
    if auc is not None:
        on = f"{auc['n_slides']} slides, {auc['n_tumor']} tumour"
        table.add_row("slide AUC", f"{auc['value']:.3f}", _interval(auc["ci"]), on)
    if reading is not None and reading["false_positives_per_normal_slide"] is not None:
        per_slide = reading["false_positives_per_normal_slide"]
        table.add_row("FP a normal slide", f"{per_slide:.2f}", "", f"at probability {reading['threshold']:g}")
    return table


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"
