"""Progress is told on a terminal and in a log, with rates, and failures at once."""

import io

import pytest
from rich.console import Console

from slidepipe.runs.journal import Entry, Failure
from slidepipe.runs.progress import ConsoleWatcher, describe_seconds


def entry(slide_id: str, failure: Failure | None = None) -> Entry:
    return Entry("tile", slide_id, "failed" if failure else "done", "token", 0.0, failure=failure)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_slides_blocks_rates_and_failures_are_told(is_terminal: bool):
    console = Console(file=io.StringIO(), width=160, force_terminal=is_terminal, color_system=None)
    watcher = ConsoleWatcher(console)
    watcher.stage_begins("tile", 2)
    watcher.blocks_found(3)
    for _ in range(3):
        watcher.block_done({"items": 256, "pixels": 67_108_864})
    watcher.slide_done(entry("tumor_001"))
    watcher.slide_done(
        entry("tumor_002", Failure("OSError", "tile [3, 4] of [/x] is gone", "", expected=True))
    )
    watcher.stage_ends()
    said = console.file.getvalue()
    assert "2/2" in said
    assert "3/3 blocks" in said
    assert "tiles/s" in said
    assert "Mpx/s" in said
    assert "tumor_002 failed: OSError: tile [3, 4] of [/x] is gone" in said


def test_a_stage_without_slides_says_nothing():
    console = Console(file=io.StringIO())
    watcher = ConsoleWatcher(console)
    watcher.stage_begins("tile", 0)
    watcher.stage_ends()
    assert console.file.getvalue() == ""


def test_counts_start_anew_with_every_stage():
    console = Console(file=io.StringIO(), width=160)
    watcher = ConsoleWatcher(console)
    for stage in ("tile", "heatmap"):
        watcher.stage_begins(stage, 1)
        watcher.blocks_found(1)
        watcher.block_done({"items": 10})
        watcher.slide_done(entry("a"))
        watcher.stage_ends()
    lines = console.file.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["tile", "heatmap"]
    assert all("1/1 slides" in line and "1/1 blocks" in line for line in lines)


def test_what_the_workers_were_busy_with_is_told_in_the_end():
    console = Console(file=io.StringIO(), width=160)
    watcher = ConsoleWatcher(console)
    watcher.stage_begins("heatmap", 1)
    for _ in range(2):
        watcher.block_done({"parts_s": {"forward": 9.0, "wait": 0.75, "write": 0.25, "read": 3.0}})
    watcher.stage_ends()
    last = console.file.getvalue().splitlines()[-1]
    assert (
        last
        == "heatmap: forward 90% (18.0 s), wait 8% (1.5 s), write 2% (0.5 s); read 30% (6.0 s) beside them"
    )


def test_no_time_at_all_is_told_as_well():
    assert describe_seconds({"forward": 0.0}) == "forward 0% (0.0 s)"
