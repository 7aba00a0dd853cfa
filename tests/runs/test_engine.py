"""Slides go through a stage; a failure ends its slide and no other."""

from pathlib import Path
from typing import Any

import pytest

from slidepipe.runs.engine import MOST_PER_WORKER, TASKS_PER_WORKER, SlideWork, run_slides
from slidepipe.runs.executor import SerialExecutor, Task
from slidepipe.runs.journal import Entry, Journal
from slidepipe.stages import SlideStage


class Notes:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.blocks = 0
        self.reports: list[dict[str, Any]] = []
        self.entries: list[Entry] = []

    def stage_begins(self, stage: str, slides: int) -> None:
        self.stage = (stage, slides)

    def blocks_found(self, count: int) -> None:
        self.blocks += count

    def block_done(self, report: dict[str, Any]) -> None:
        self.reports.append(report)

    def slide_done(self, entry: Entry) -> None:
        self.entries.append(entry)

    def stage_ends(self) -> None:
        self.stage = None


class CountingExecutor(SerialExecutor):
    """Remembers the order of tasks and the most that were waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[tuple[str, int, int]] = []
        self.most_waiting = 0

    def submit(self, task: Task) -> None:
        super().submit(task)
        self.order.append(tuple(task.key))
        self.most_waiting = max(self.most_waiting, len(self._tasks))


def begin(job: dict[str, Any]) -> tuple[int, ...]:
    if job.get("fails") == "begin":
        raise ValueError("no begin")
    return tuple(range(job["blocks"]))


def block(job: dict[str, Any], number: int) -> dict[str, Any]:
    if job.get("fails") == number:
        raise OSError("disk full")
    return {"items": number}


def finish(job: dict[str, Any]) -> dict[str, Any]:
    if job.get("fails") == "finish":
        raise ValueError("no finish")
    return {"blocks": job["blocks"]}


STAGE = SlideStage("trial", 1, begin, block, finish)


def work(*jobs: dict[str, Any]) -> list[SlideWork]:
    return [SlideWork(f"slide_{number}", f"token_{number}", job) for number, job in enumerate(jobs)]


def test_every_slide_ends_with_an_entry_in_the_journal(tmp_path: Path):
    notes = Notes()
    jobs = work({"blocks": 3}, {"blocks": 0}, {"blocks": 1})
    entries = run_slides(STAGE, jobs, SerialExecutor(), Journal(tmp_path), notes)
    assert {entry.slide_id: entry.summary for entry in entries} == {
        "slide_0": {"blocks": 3},
        "slide_1": {"blocks": 0},
        "slide_2": {"blocks": 1},
    }
    assert all(entry.state == "done" for entry in entries)
    assert [entry.slide_id for entry in Journal(tmp_path).entries("trial")] == [
        "slide_0",
        "slide_1",
        "slide_2",
    ]
    assert notes.blocks == 4
    assert sorted(report["items"] for report in notes.reports) == [0, 0, 1, 2]


def test_what_blocks_were_busy_with_is_summed_up_per_slide(tmp_path: Path):
    stage = SlideStage(
        "trial", 1, begin, lambda job, number: {"parts_s": {"read": number, "write": 0.5}}, finish
    )
    (entry,) = run_slides(stage, work({"blocks": 3}), SerialExecutor(), Journal(tmp_path), Notes())
    assert entry.parts_s == {"read": 3, "write": 1.5}


@pytest.mark.parametrize("where", ["begin", 1, "finish"])
def test_a_failure_ends_its_slide_and_no_other(tmp_path: Path, where: object):
    jobs = work({"blocks": 3, "fails": where}, {"blocks": 2})
    entries = run_slides(STAGE, jobs, SerialExecutor(), Journal(tmp_path), Notes())
    states = {entry.slide_id: entry.state for entry in entries}
    assert states == {"slide_0": "failed", "slide_1": "done"}
    failed = Journal(tmp_path).read("trial", "slide_0")
    assert failed is not None
    assert failed.failure is not None
    assert "Traceback" in failed.failure.traceback


def test_blocks_of_a_failed_slide_are_not_run_any_more(tmp_path: Path):
    executor = CountingExecutor()
    run_slides(STAGE, work({"blocks": 50, "fails": 0}), executor, Journal(tmp_path), Notes())
    assert len([key for key in executor.order if key[0] == "block"]) <= TASKS_PER_WORKER + 1


def test_slides_under_way_go_before_new_ones_and_few_tasks_wait(tmp_path: Path):
    executor = CountingExecutor()
    run_slides(STAGE, work(*({"blocks": 20} for _ in range(30))), executor, Journal(tmp_path), Notes())
    assert executor.most_waiting <= TASKS_PER_WORKER
    last_begin = max(place for place, key in enumerate(executor.order) if key[0] == "begin")
    first_finish = min(place for place, key in enumerate(executor.order) if key[0] == "finish")
    assert first_finish < last_begin


def test_more_tasks_wait_where_they_are_short_beside_their_way_but_not_many(tmp_path: Path):
    executor = CountingExecutor()
    executor.latency_s = 0.1
    run_slides(STAGE, work(*({"blocks": 20} for _ in range(30))), executor, Journal(tmp_path), Notes())
    assert executor.most_waiting == MOST_PER_WORKER


def test_every_process_is_told_once_that_all_slides_are_through(tmp_path: Path):
    told: list[object] = []
    stage = SlideStage("trial", 1, begin, block, finish, told.append)
    jobs = work({"blocks": 1, "fails": 0}, {"blocks": 2})
    run_slides(stage, jobs, SerialExecutor(), Journal(tmp_path), Notes())
    assert told == [jobs[0].job]
    run_slides(stage, [], SerialExecutor(), Journal(tmp_path), Notes())
    assert len(told) == 1


def test_attempts_at_the_same_work_are_counted(tmp_path: Path):
    jobs = work({"blocks": 1, "fails": 0})
    for attempts in (1, 2, 3):
        (entry,) = run_slides(STAGE, jobs, SerialExecutor(), Journal(tmp_path), Notes())
        assert entry.attempts == attempts
    (entry,) = run_slides(
        STAGE, [SlideWork("slide_0", "other", {"blocks": 0})], SerialExecutor(), Journal(tmp_path), Notes()
    )
    assert entry.attempts == 1


def test_files_are_named_from_the_run_directory(tmp_path: Path):
    written = tmp_path / "lesions" / "a.csv"
    stage = SlideStage("trial", 1, begin, block, lambda job: {"outputs": {str(written): "f00"}})
    (entry,) = run_slides(
        stage, work({"blocks": 0}), SerialExecutor(), Journal(tmp_path / "journal"), Notes()
    )
    assert entry.outputs == {"lesions/a.csv": "f00"}
