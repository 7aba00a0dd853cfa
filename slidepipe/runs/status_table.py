"""The state of a run, for people and for scripts."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from slidepipe.runs.journal import COHORT, Entry
from slidepipe.runs.progress import describe_seconds
from slidepipe.runs.status import RunStatus, StageStatus, read_status

_WATCH_EVERY_S = 5.0
_MOST_HOSTS = 5
_MOST_FAILURES = 30
"""Failures that are printed; scripts get all of them."""


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
    status = read_status(root)
    if as_json:
        console.out(json.dumps(_document(status), indent=2))
    else:
        console.print(_page(status), soft_wrap=True)
    return bool(status.failures)


def watch_status(root: Path, console: Console) -> bool:
    """Show the state of a run until the commands that work on it end.

    Parameters
    ----------
    root
        Run directory.
    console
        Where to print.

    Returns
    -------
    bool
        Whether anything failed.

    Raises
    ------
    RunError
        If the directory is not a run.
    """
    status = read_status(root)
    with Live(_page(status), console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while status.owner is not None or status.beside:
            time.sleep(_WATCH_EVERY_S)
            status = read_status(root)
            live.update(_page(status), refresh=True)
    return bool(status.failures)


def _document(status: RunStatus) -> dict[str, object]:
    stages = {stage.stage: asdict(stage) for stage in status.stages}
    return {
        "owner": None if status.owner is None else asdict(status.owner),
        "beside": [asdict(worker) for worker in status.beside],
        "stages": stages,
        "failures": [asdict(entry) for entry in status.failures],
    }


def _page(status: RunStatus) -> Group:
    table = Table()
    for heading in ("stage", "done", "running", "failed", "slides/h", "left", "busy", "slowest slide"):
        table.add_column(heading, justify="left" if heading in {"stage", "slowest slide"} else "right")
    for stage in status.stages:
        table.add_row(*_row(stage))
    parts = [
        Text(f"{stage.stage}: {describe_seconds(stage.parts_s)}") for stage in status.stages if stage.parts_s
    ]
    return Group(table, *parts, _work(status), *_failures(status.failures))


def _row(stage: StageStatus) -> tuple[str, ...]:
    running = str(stage.running or "")
    if stage.blocks:
        running += f" ({stage.blocks_done}/{stage.blocks} blocks)"
    others = ((stage.waiting, "waiting"), (stage.interrupted, "interrupted"))
    running = ", ".join(part for part in (running, *(f"{n} {what}" for n, what in others if n)) if part)
    begun = stage.done or stage.running or stage.failed or stage.waiting or stage.interrupted
    done = f"{stage.done}/{stage.total}" if begun and stage.total not in {None, 1} else str(stage.done or "")
    slowest = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in stage.slowest[:1])
    return (
        stage.stage,
        done,
        running,
        str(stage.failed or ""),
        "" if stage.slides_per_hour is None else f"{stage.slides_per_hour:,.0f}",
        "" if stage.left_s is None else _duration(stage.left_s),
        _duration(stage.busy_s) if stage.busy_s else "",
        escape(slowest),
    )


def _work(status: RunStatus) -> Text:
    if status.owner is None:
        if status.beside:
            hosts = sorted({worker.host for worker in status.beside})
            named = ", ".join(hosts[:_MOST_HOSTS]) + (", …" if len(hosts) > _MOST_HOSTS else "")
            return Text(
                f"{len(status.beside)} commands on single slides or tasks of arrays work on it, on {named}"
            )
        if any(stage.waiting for stage in status.stages):
            return Text("nobody works on it now: an array waits for its tasks, or for its finish")
        if any(stage.interrupted for stage in status.stages):
            return Text("nobody works on it: what was interrupted goes on with the next `slidepipe run`")
        return Text("nobody works on it")
    return Text(
        f"process {status.owner.pid} on {status.owner.host} works on it since "
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(status.owner.since))}"
    )


def _failures(failures: tuple[Entry, ...]) -> list[Text]:
    lines = []
    for entry in failures[:_MOST_FAILURES]:
        who = entry.stage if entry.slide_id == COHORT else f"{entry.stage} {entry.slide_id}"
        reason = "" if entry.failure is None else f": {entry.failure.kind}: {entry.failure.message}"
        lines.append(Text.assemble((who, "red"), reason))
    if len(failures) > _MOST_FAILURES:
        lines.append(Text(f"and {len(failures) - _MOST_FAILURES} more failures: --json lists them all"))
    return lines


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes < 600 else f"{round(minutes / 60):,} h"
