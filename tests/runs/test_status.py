"""The state of a run, read while others write it."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from slidepipe.runs import status_table
from slidepipe.runs.folder import open_run
from slidepipe.runs.journal import COHORT, Entry, Journal, attempt
from slidepipe.runs.ownership import own_run, share_run
from slidepipe.runs.status import StageStatus, read_status
from slidepipe.runs.status_table import print_status, watch_status
from slidepipe.runs.study import Study

from .conftest import quiet
from .test_ownership import elsewhere


@pytest.fixture
def run(tmp_path: Path) -> Path:
    open_run(tmp_path / "run", create=True)
    return tmp_path / "run"


def note(run: Path, slide_id: str, state: str, **more: object) -> None:
    entry = {"started": time.time(), "stage": "tile", **more}
    Journal(run / "journal").write(Entry(slide_id=slide_id, state=state, token="t", **entry))


def tile(run: Path) -> StageStatus:
    return read_status(run).stages[0]


def test_states_are_counted_and_failures_told(run: Path):
    note(run, "a", "done", busy_s=5.0, wall_s=2.0)
    note(run, "b", "failed", failure=attempt(int, "seven").failure, busy_s=1.0)
    status = read_status(run)
    assert (status.stages[0].done, status.stages[0].failed, status.stages[0].busy_s) == (1, 1, 6)
    assert [entry.slide_id for entry in status.failures] == ["b"]
    console = quiet()
    assert print_status(run, console, as_json=False)
    assert "tile b: ValueError: invalid literal for int() with base 10: 'seven'" in console.file.getvalue()
    console = quiet()
    print_status(run, console, as_json=True)
    document = json.loads(console.file.getvalue())
    assert document["stages"]["tile"]["done"] == 1
    assert document["failures"][0]["failure"]["kind"] == "ValueError"
    assert document["owner"] is None


def test_what_a_dead_command_left_running_is_interrupted(run: Path):
    note(run, "a", "running")
    assert (tile(run).running, tile(run).interrupted) == (0, 1)
    with own_run(run):
        assert (tile(run).running, tile(run).interrupted) == (0, 1)  # of a command before this one
        note(run, "b", "running")
        assert (tile(run).running, tile(run).interrupted) == (1, 1)
    console = quiet()
    print_status(run, console, as_json=False)
    assert "2 interrupted" in console.file.getvalue()
    assert "nobody works on it: what was interrupted goes on" in console.file.getvalue()


def test_slides_of_commands_beside_each_other_run_while_their_own_lives(run: Path):
    note(run, "a", "running")
    with share_run(run, "tile", ["b"]), share_run(run, "heatmap", ["a"]):
        note(run, "b", "running")
        note(run, "c", "running")
        assert (tile(run).running, tile(run).interrupted) == (1, 2)
        console = quiet()
        print_status(run, console, as_json=False)
        assert "2 commands on single slides or tasks of arrays work on it, on" in console.file.getvalue()
        console = quiet()
        print_status(run, console, as_json=True)
        beside = json.loads(console.file.getvalue())["beside"]
        assert sorted(other["slides"] for other in beside) == [["a"], ["b"]]
    assert (tile(run).running, tile(run).interrupted) == (0, 3)


def test_an_owner_runs_nothing_of_other_stages(run: Path):
    with own_run(run, ("train", "heatmap")):
        note(run, "a", "running")
        assert (tile(run).running, tile(run).interrupted) == (0, 1)


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_clocks_that_differ_give_no_negative_times(run: Path, finished: Study, skew_s: float):
    (run / "cohort.csv").write_bytes(finished.folder.cohort.read_bytes())
    began = time.time() + skew_s
    elsewhere(run, since=began - 60, stages=["tile"])
    note(run, "a", "done", started=began - 60, wall_s=40.0)
    note(run, "b", "running", started=began - 20, wall_s=20.0, blocks=4, blocks_done=2)
    stage = tile(run)
    assert (stage.running, stage.interrupted) == (1, 0)
    assert stage.slides_per_hour == pytest.approx(1.5 * 60)  # by the clock of the machine that works
    assert stage.left_s == pytest.approx((8 - 1.5) * 40)
    assert all(seconds >= 20 for _, seconds in stage.slowest)


def test_rate_and_time_left_count_parts_of_slides(run: Path, finished: Study):
    (run / "cohort.csv").write_bytes(finished.folder.cohort.read_bytes())
    note(run, "old", "done", started=time.time() - 9999, wall_s=5.0)
    with own_run(run):
        note(run, "a", "done", wall_s=0.0)
        note(run, "b", "running", blocks=4, blocks_done=2)
        time.sleep(0.2)
        stage = tile(run)
    assert stage.total == 8
    assert (stage.blocks, stage.blocks_done) == (4, 2)
    assert stage.slides_per_hour is not None
    assert 0 < stage.slides_per_hour <= 1.5 * 3600 / 0.2
    assert stage.left_s == pytest.approx((8 - 2 - 0.5) / (stage.slides_per_hour / 3600))
    assert tile(run).slides_per_hour is None  # nobody works on it any more


def test_slides_that_failed_are_not_waited_for_later(run: Path, finished: Study):
    (run / "cohort.csv").write_bytes(finished.folder.cohort.read_bytes())
    note(run, "a", "failed", failure=attempt(int, "x").failure)
    totals = {stage.stage: stage.total for stage in read_status(run).stages}
    assert (totals["tile"], totals["heatmap"], totals["train"]) == (8, 7, 1)


def test_the_slowest_slides_come_first_and_running_ones_count_so_far(run: Path):
    with own_run(run):
        for name, seconds in {"a": 5.0, "b": 50.0, "c": 1.0, "d": 7.0}.items():
            note(run, name, "done", wall_s=seconds)
        assert [name for name, _ in tile(run).slowest] == ["b", "d", "a"]
        note(run, COHORT, "running", stage="train")
        assert read_status(run).stages[1].slowest == ()


def test_only_some_failures_are_printed(run: Path):
    for number in range(40):
        note(run, f"slide_{number:02}", "failed", failure=attempt(int, "x").failure)
    console = quiet()
    print_status(run, console, as_json=False)
    assert console.file.getvalue().count("ValueError") == 30
    assert "and 10 more failures" in console.file.getvalue()


def test_watching_ends_with_the_command(run: Path, monkeypatch: pytest.MonkeyPatch):
    pages: list[int] = []
    with own_run(run):

        def wait(_: float) -> None:
            pages.append(tile(run).done)
            note(run, f"slide_{len(pages)}", "done")
            if len(pages) == 3:
                next((run / "owner").iterdir()).unlink()

        monkeypatch.setattr(status_table.time, "sleep", wait)
        console = Console(file=io.StringIO(), width=200)
        assert not watch_status(run, console)
    assert pages == [0, 1, 2]


def test_a_journal_of_thousands_is_read_in_no_time(run: Path):
    folder = run / "journal" / "tile"
    note(run, "slide_0000", "done")
    text = (folder / "slide_0000.json").read_text()
    for number in range(1, 2000):
        (folder / f"slide_{number:04}.json").write_text(text.replace("slide_0000", f"slide_{number:04}"))
    began = time.perf_counter()
    assert tile(run).done == 2000
    assert time.perf_counter() - began < 5
