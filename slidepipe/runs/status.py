"""What is done, running and failed in a run, read from its journal while others write it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slidepipe.runs.folder import open_run
from slidepipe.runs.journal import COHORT, Entry, Journal

STATUS_STAGES = ("tile", "train", "heatmap", "lesions", "predict", "evaluate", "export", "qupath", "report")
"""Stages of the journal, in order. ``lesions`` and ``predict`` are the two halves of the command predict, ``export``
and ``qupath`` those of export."""


def print_status(root: Path, console: Console, *, as_json: bool) -> bool:
    """Print the state of a run.

    Parameters
    ----------
    root
        Run directory.
    console
        Where to print.
    as_json
        As JSON for scripts instead of a table.

    Returns
    -------
    bool
        Whether anything failed.

    Raises
    ------
    RunError
        If the directory is not a run.
    """
    journal = Journal(open_run(root).journal)
    stages = {stage: list(journal.entries(stage)) for stage in STATUS_STAGES}
    failed = [entry for entries in stages.values() for entry in entries if entry.failure is not None]
    if as_json:
        content = {stage: _counts(entries) for stage, entries in stages.items()}
        document = {"stages": content, "failures": [asdict(entry) for entry in failed]}
        console.out(json.dumps(document, indent=2))
        return bool(failed)
    table = Table()
    for heading in ("stage", "done", "running", "failed", "busy", "slowest slide"):
        table.add_column(heading, justify="left" if heading in {"stage", "slowest slide"} else "right")
    for stage, entries in stages.items():
        counts = _counts(entries)
        table.add_row(
            stage, *(str(counts[state] or "") for state in ("done", "running", "failed")), *_times(entries)
        )
    console.print(table)
    for entry in failed:
        who = "" if entry.slide_id == COHORT else f" {entry.slide_id}"
        reason = "" if entry.failure is None else f"{entry.failure.kind}: {entry.failure.message}"
        console.print(f"[red]{entry.stage}{escape(who)}[/red]: {escape(reason)}", soft_wrap=True)
    return bool(failed)


def _counts(entries: list[Entry]) -> dict[str, Any]:
    return {state: sum(entry.state == state for entry in entries) for state in ("done", "running", "failed")}


def _times(entries: list[Entry]) -> tuple[str, str]:
    if not entries:
        return "", ""
    busy = sum(entry.busy_s for entry in entries)
    slowest = max(entries, key=lambda entry: entry.wall_s or time.time() - entry.started)
    if slowest.slide_id == COHORT:
        return f"{busy:,.0f} s", ""
    return (
        f"{busy:,.0f} s",
        f"{escape(slowest.slide_id)} {slowest.wall_s or time.time() - slowest.started:,.0f} s",
    )
