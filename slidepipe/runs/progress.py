"""Tells a person how a stage gets on: a live bar on a terminal, a line every few seconds elsewhere (a SLURM log)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from slidepipe.runs.journal import Entry

_LINE_EVERY_S = 15.0


class ConsoleWatcher:
    """Shows slides, blocks, rates and the time left.

    Parameters
    ----------
    console
        Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._stage = ""
        self._slides = self._slides_done = self._failed = 0
        self._blocks = self._blocks_done = 0
        self._items = self._pixels = 0
        self._parts_s: defaultdict[str, float] = defaultdict(float)
        self._began = self._line_at = 0.0

    def stage_begins(self, stage: str, slides: int) -> None:
        """Open the bar.

        Parameters
        ----------
        stage
            Its name.
        slides
            Slides to do.
        """
        self._stage, self._slides = stage, slides
        self._slides_done = self._failed = self._blocks = self._blocks_done = self._items = self._pixels = 0
        self._parts_s.clear()
        self._began = self._line_at = time.monotonic()
        if slides and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description:<9}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(stage, total=slides, rate="")

    def blocks_found(self, count: int) -> None:
        """Count blocks to do.

        Parameters
        ----------
        count
            Blocks of one more slide.
        """
        self._blocks += count

    def block_done(self, report: dict[str, Any]) -> None:
        """Count what a block did.

        Parameters
        ----------
        report
            ``items`` (tiles or cells) and ``pixels`` are summed up for the rates, ``parts_s`` for the last line.
        """
        self._blocks_done += 1
        self._items += int(report.get("items", 0))
        self._pixels += int(report.get("pixels", 0))
        for part, seconds in report.get("parts_s", {}).items():
            self._parts_s[part] += seconds
        self._show()

    def slide_done(self, entry: Entry) -> None:
        """Count a slide, and say so at once where it failed.

        Parameters
        ----------
        entry
            What became of it.
        """
        self._slides_done += 1
        if entry.failure is not None:
            self._failed += 1
            reason = escape(f"{entry.failure.kind}: {entry.failure.message}")
            self._console.print(
                f"[red]{entry.stage} {escape(entry.slide_id)} failed[/red]: {reason}", soft_wrap=True
            )
        self._show()

    def stage_ends(self) -> None:
        """Close the bar and leave one line behind."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._slides:
            self._console.print(self._line())
        if self._parts_s:
            self._console.print(f"{self._stage}: {describe_seconds(self._parts_s)}")

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._slides_done, rate=self._rate())
        elif time.monotonic() - self._line_at >= _LINE_EVERY_S:
            self._line_at = time.monotonic()
            self._console.print(self._line())

    def _rate(self) -> str:
        seconds = max(1e-3, time.monotonic() - self._began)
        parts = [f"{self._blocks_done}/{self._blocks} blocks"] if self._blocks else []
        if self._items:
            parts.append(f"{self._items / seconds:,.0f} {'tiles' if self._stage == 'tile' else 'patches'}/s")
        if self._pixels:
            parts.append(f"{self._pixels / seconds / 1e6:,.1f} Mpx/s")
        return ", ".join(parts)

    def _line(self) -> str:
        seconds = time.monotonic() - self._began
        failed = f", {self._failed} failed" if self._failed else ""
        left = ""
        if 0 < self._slides_done < self._slides:
            left = f", about {seconds / self._slides_done * (self._slides - self._slides_done):.0f} s left"
        rate = self._rate()
        return (
            f"{self._stage}: {self._slides_done}/{self._slides} slides{failed} in {seconds:.0f} s"
            f"{f' ({rate})' if rate else ''}{left}"
        )


def describe_seconds(seconds: Mapping[str, float]) -> str:
    """Say what the workers were busy with.

    Parameters
    ----------
    seconds
        Part of the work to seconds, summed over the workers: ``read`` in a thread of its own, the others one after the
        other.

    Returns
    -------
    str
        For people, such as ``forward 92 % (110 s), wait 6 % (7 s), write 2 % (2 s); read 31 % (37 s) beside them``.
    """
    line = {part: value for part, value in seconds.items() if part != "read"}
    total = max(sum(line.values()), 1e-9)
    told = [
        f"{part} {value / total:.0%} ({value:,.1f} s)"
        for part, value in sorted(line.items(), key=lambda item: -item[1])
    ]
    beside = (
        f"; read {seconds['read'] / total:.0%} ({seconds['read']:,.1f} s) beside them"
        if "read" in seconds
        else ""
    )
    return ", ".join(told) + beside
