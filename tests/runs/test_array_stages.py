"""A stage as a job array leaves what the engine leaves, whatever becomes of its tasks."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slidepipe.config import StudyConfig, load_config
from slidepipe.errors import RunError
from slidepipe.runs.array_plan import Sharing
from slidepipe.runs.array_stages import begin_array, finish_array, run_array_task, unfinished_tasks
from slidepipe.runs.journal import Entry
from slidepipe.runs.ownership import own_run
from slidepipe.runs.pipeline import run_stages
from slidepipe.runs.status import read_status
from slidepipe.runs.study import Study, begin_study, open_study
from slidepipe.runs.verify import find_problems
from slidepipe.stages import HEATMAP, TILE, SlideStage

from .conftest import QUICK, digests, quiet


@pytest.fixture
def begun(quick_config: StudyConfig, tmp_path: Path) -> Study:
    """The study that `finished` is, before its first stage."""
    return begin_study(tmp_path / "run", quick_config)


@pytest.fixture
def small(drawn_cohort: Path, tmp_path: Path) -> Study:
    """A study of two slides that lie in a folder of their own."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("normal_001", "tumor_001"):
        shutil.copy(drawn_cohort / "images" / f"{name}.tif", folder)
    return begin_study(tmp_path / "run", load_config(None, [f"slides={folder}", *QUICK]))


def whole(study: Study, stage: SlideStage, sharing: Sharing) -> list[Entry]:
    """A whole array, its tasks in any order."""
    tasks = list(range(begin_array(study, stage, sharing).tasks))
    random.Random(0).shuffle(tasks)
    for index in tasks:
        assert all(record.failure is None for record in run_array_task(study, stage, index))
    return finish_array(study, stage)


def facts(study: Study, stage: str) -> dict[str, tuple[object, ...]]:
    """What the journal says of a stage, but for times and memory."""
    return {
        entry.slide_id: (entry.state, entry.token, entry.attempts, entry.source, entry.summary, entry.outputs)
        for entry in study.journal.entries(stage)
    }


def test_arrays_leave_the_bytes_and_the_journal_of_a_run(finished: Study, begun: Study):
    assert len(whole(begun, TILE, Sharing(tasks=3))) == 8
    for part in ("model", "journal/train"):
        shutil.copytree(finished.folder.root / part, begun.folder.root / part)
    assert len(whole(begun, HEATMAP, Sharing(per_task=2))) == 8
    for part in ("tiles", "overviews", "heatmaps"):
        assert digests(begun.folder.root / part) == digests(finished.folder.root / part), part
    assert begun.folder.tissue_table.read_bytes() == finished.folder.tissue_table.read_bytes()
    for stage in ("tile", "heatmap"):
        assert facts(begun, stage) == facts(finished, stage)
        assert all(entry.busy_s > 0 and entry.peak_bytes > 0 for entry in begun.journal.entries(stage))
    looked = [entry for entry in begun.journal.entries("heatmap") if entry.blocks]
    assert all({"forward", "write"} <= entry.parts_s.keys() for entry in looked)
    assert all(entry.blocks_done == entry.blocks for entry in looked)
    assert not any(find_problems(begun).values())
    console = quiet()
    assert not run_stages(begun, ("tile", "train", "heatmap"), console)
    assert console.file.getvalue().count("nothing to do") == 3


def test_status_tells_tasks_that_work_from_those_that_wait_and_those_that_were_killed(small: Study):
    root = small.folder.root
    plan = begin_array(small, TILE, Sharing(tasks=2))
    assert state(root) == (0, 2, 0)
    assert read_status(root).stages[0].blocks_done == 0
    assert files(root / "owner") == []
    command = [sys.executable, "-c", _STOPPING_TASK, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        assert task.stdout.readline() == "at work\n"
        with pytest.raises(RunError, match=f"process {task.pid}"):
            begin_array(small, TILE, Sharing(tasks=2))
        (worker,) = read_status(root).beside
        assert worker.slides is not None
        running, waiting, interrupted = state(root)
        assert (running, running + waiting, interrupted) == (len(worker.slides), 2, 0)
        task.kill()
    assert state(root) == (0, 2 - running, running)
    for index in range(plan.tasks):
        run_array_task(small, TILE, index)
    assert state(root) == (0, 2, 0)
    finish_array(small, TILE)
    assert state(root) == (0, 0, 0)
    assert read_status(root).stages[0].done == 2
    with own_run(root):  # removes what the killed task left
        pass
    assert files(root / "owner") == []


_STOPPING_TASK = """
import sys, time
from dataclasses import replace
from pathlib import Path
from slidepipe.runs.array_stages import run_array_task
from slidepipe.runs.study import open_study
from slidepipe.stages import TILE

def stop(job, block):
    print("at work", flush=True)
    time.sleep(600)

stage = replace(TILE, block=stop)
from slidepipe.runs import array_stages
array_stages._PLANNERS[stage] = array_stages._PLANNERS[TILE]
run_array_task(open_study(Path(sys.argv[1])), stage, 0)
"""


def state(root: Path) -> tuple[int, int, int]:
    stage = read_status(root).stages[0]
    return stage.running, stage.waiting, stage.interrupted


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_what_is_done_is_not_begun_again(small: Study):
    whole(small, TILE, Sharing())
    plan = begin_array(small, TILE, Sharing())
    assert (plan.slides, plan.tasks) == ((), 0)
    assert finish_array(small, TILE) == []


def test_blocks_are_shared_out_evenly_in_the_order_of_the_cohort(small: Study):
    plan = begin_array(small, TILE, Sharing(per_task=2))
    units = [(slide.slide_id, block) for slide in plan.slides for block in slide.blocks]
    assert units == sorted(units)
    assert [unit for share in plan.shares() for unit in share] == units
    assert {len(share) for share in plan.shares()} <= {1, 2}
    few = begin_array(small, TILE, Sharing(tasks=3))
    assert (few.tasks, few.most_tasks) == (3, 3)
    assert max(map(len, few.shares())) - min(map(len, few.shares())) <= 1
    many = begin_array(small, TILE, Sharing(tasks=1000))
    assert many.tasks == len(units)
    assert run_array_task(small, TILE, 999) == []
    with pytest.raises(RunError, match=r"--index 1000: .* 1000 tasks, 0-999"):
        run_array_task(small, TILE, 1000)


def test_a_task_runs_again_without_doing_again_what_it_has_done(small: Study):
    begin_array(small, TILE, Sharing(tasks=1))
    first = run_array_task(small, TILE, 0)
    shards = {path: path.stat().st_mtime_ns for path in small.folder.root.glob("tiles/*/0/c/**/*")}
    assert run_array_task(small, TILE, 0) == first
    assert {path: path.stat().st_mtime_ns for path in shards} == shards


def test_without_a_begin_there_is_nothing_to_run_or_to_finish(small: Study):
    for call in (lambda: run_array_task(small, TILE, 0), lambda: finish_array(small, TILE)):
        with pytest.raises(RunError, match="begin it with `slidepipe tile-begin`"):
            call()


def test_a_task_that_never_ran_leaves_its_slide_for_the_next_array(small: Study):
    plan = begin_array(small, TILE, Sharing())
    lost = plan.tasks - 1
    for index in range(lost):
        run_array_task(small, TILE, index)
    assert unfinished_tasks(small, TILE) == [lost]
    done, incomplete = finish_array(small, TILE)
    assert done.state == "done"
    assert incomplete.failure is not None
    assert "1 of" in incomplete.failure.message
    again = begin_array(small, TILE, Sharing())
    assert [(slide.slide_id, slide.attempts) for slide in again.slides] == [("tumor_001", 2)]
    assert again.tasks == 1
    run_array_task(small, TILE, 0)
    assert [entry.state for entry in finish_array(small, TILE)] == ["done"]


def test_finishing_too_early_does_no_harm(small: Study):
    plan = begin_array(small, TILE, Sharing())
    assert all(entry.failure is not None for entry in finish_array(small, TILE))
    for index in range(plan.tasks):
        run_array_task(small, TILE, index)
    assert all(entry.state == "done" for entry in finish_array(small, TILE))
    assert all(entry.state == "done" for entry in finish_array(small, TILE))


def test_a_slide_that_is_no_slide_is_told_of_at_the_finish(small: Study):
    (Path(small.slides[0].source.path)).write_bytes(b"no longer a slide")
    plan = begin_array(small, TILE, Sharing(tasks=1))
    assert plan.refused == ("normal_001",)
    run_array_task(small, TILE, 0)
    failed, done = finish_array(small, TILE)
    assert (failed.slide_id, failed.state, done.slide_id, done.state) == (
        "normal_001", "failed", "tumor_001", "done",
    )  # fmt: skip


def test_a_block_that_fails_is_written_down_and_stops_no_other(small: Study):
    plan = begin_array(small, TILE, Sharing(tasks=1))
    shutil.rmtree(small.folder.tiles("normal_001"))
    records = run_array_task(small, TILE, 0)
    assert len(records) == sum(len(slide.blocks) for slide in plan.slides)
    assert {record.unit.slide_id for record in records if record.failure is not None} == {"normal_001"}
    failed, done = finish_array(small, TILE)
    assert failed.failure is not None
    assert failed.failure.kind == "StoreError"
    assert done.state == "done"
    whole(small, TILE, Sharing())
    assert {entry.state for entry in small.journal.entries("tile")} == {"done"}


def test_a_slide_that_vanishes_fails_alone(small: Study):
    begin_array(small, TILE, Sharing(tasks=1))
    Path(small.slides[1].source.path).unlink()
    run_array_task(small, TILE, 0)
    done, failed = finish_array(small, TILE)
    assert (done.state, failed.state) == ("done", "failed")
    assert failed.failure is not None
    assert failed.failure.kind == "FileNotFoundError"


def test_settings_that_changed_since_the_begin_are_refused(small: Study):
    begin_array(small, TILE, Sharing(tasks=1))
    changed = open_study(small.folder.root, ["tiles.quality=50"])
    with pytest.raises(RunError, match=r"normal_001, tumor_001: .*changed since `slidepipe tile-begin`"):
        run_array_task(changed, TILE, 0)
    assert all("begin again" in str(entry.failure) for entry in finish_array(changed, TILE))
    assert all(entry.state == "done" for entry in whole(changed, TILE, Sharing()))


def test_records_of_an_earlier_array_are_not_believed(small: Study):
    begin_array(small, TILE, Sharing(tasks=1))
    run_array_task(small, TILE, 0)
    late = (small.folder.arrays / "tile" / "0.json").read_bytes()
    changed = open_study(small.folder.root, ["tiles.quality=50"])
    begin_array(changed, TILE, Sharing(tasks=1))
    (small.folder.arrays / "tile").mkdir()
    (small.folder.arrays / "tile" / "0.json").write_bytes(late)
    assert unfinished_tasks(changed, TILE) == [0]
    assert all(record.failure is None for record in run_array_task(changed, TILE, 0))
    assert all(entry.state == "done" for entry in finish_array(changed, TILE))


def test_an_array_of_chosen_slides_leaves_the_others_alone(small: Study):
    chosen = small.choose(["tumor_001"])
    assert [entry.slide_id for entry in whole(chosen, TILE, Sharing())] == ["tumor_001"]
    assert not small.folder.tiles("normal_001").exists()
    assert "normal_001" in small.folder.tissue_table.read_text()
    with pytest.raises(RunError, match="tumor_007: no slide of"):
        small.choose(["tumor_007"])
