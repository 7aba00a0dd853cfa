"""The journal keeps what became of every slide."""

import subprocess
import sys
from pathlib import Path

import pytest

from slidepipe.errors import RegionReadError
from slidepipe.runs.journal import COHORT, Entry, Journal, attempt


def test_an_attempt_that_succeeds_carries_the_value_and_the_time():
    outcome = attempt(divmod, 7, 2)
    assert outcome.value == (3, 1)
    assert outcome.failure is None
    assert outcome.seconds >= 0
    assert outcome.peak_bytes > 1_000_000


def test_an_attempt_that_raises_carries_message_and_traceback():
    outcome = attempt(int, "seven")
    assert outcome.value is None
    assert outcome.failure is not None
    assert outcome.failure.kind == "ValueError"
    assert "seven" in outcome.failure.message
    assert "Traceback" in outcome.failure.traceback
    assert not outcome.failure.expected


def test_errors_raised_on_purpose_are_marked_as_expected():
    def read() -> None:
        raise RegionReadError("slide a: level 0 at (0, 0) cannot be read")

    failure = attempt(read).failure
    assert failure is not None
    assert failure.expected


def test_an_interrupt_is_not_swallowed():
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted)


def test_an_entry_reads_back_as_it_was_written(tmp_path: Path):
    journal = Journal(tmp_path)
    failure = attempt(int, "x").failure
    entry = Entry(
        "tile", "tumor_001", "failed", "abc", 1.5, wall_s=2.0, summary={"n_tiles": 3}, failure=failure
    )
    journal.write(entry)
    assert journal.read("tile", "tumor_001") == entry
    assert journal.read("tile", "tumor_002") is None
    assert journal.read("tile", COHORT) is None
    assert list(journal.entries("tile")) == [entry]
    assert list(journal.entries("heatmap")) == []


def test_writing_again_replaces_the_entry_and_leaves_no_other_file(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.write(Entry("tile", "a", "running", "t", 1.0))
    journal.write(Entry("tile", "a", "done", "t", 1.0))
    assert [path.name for path in (tmp_path / "tile").iterdir()] == ["a.json"]
    entry = journal.read("tile", "a")
    assert entry is not None
    assert entry.state == "done"


def test_the_peak_is_that_of_the_process_and_not_of_the_one_that_started_it():
    held = bytearray(300 * 2**20)
    program = "from slidepipe.runs.journal import attempt; print(attempt(divmod, 7, 2).peak_bytes)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 2**24 < int(done.stdout) < len(held)
