"""Tasks run in this process or on Dask workers, with the same outcomes."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import LocalCluster

from slidepipe.cluster_settings import ClusterSettings
from slidepipe.errors import RunError
from slidepipe.runs.cluster import ClusterPlace, open_executor
from slidepipe.runs.executor import Executor, SerialExecutor, Task, TaskKey

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", params=["serial", "local"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with open_executor(
        ClusterSettings(kind=request.param, workers=2 if request.param == "local" else None)
    ) as opened:
        yield opened


@contextmanager
def scheduler_process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler in a process of its own, to be killed."""
    file = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--no-dashboard", "--scheduler-file", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                if file.is_file() and (text := file.read_text()):
                    break
                time.sleep(0.1)
            yield process, json.loads(text)["address"]
        finally:
            process.kill()


def test_every_task_comes_back_with_its_key(executor: Executor):
    for number in range(5):
        executor.submit(Task(TaskKey("block", 0, number), pow, (number, 2)))
    assert {key.block: outcome.value for key, outcome in executor.outcomes()} == {
        0: 0,
        1: 1,
        2: 4,
        3: 9,
        4: 16,
    }


def test_hundreds_of_tasks_at_once_come_back_each_with_its_own_outcome(executor: Executor):
    for number in range(600):
        executor.submit(Task(TaskKey("block", 0, number), int, (str(number) if number % 7 else "x",)))
    ended = {key.block: outcome for key, outcome in executor.outcomes()}
    assert len(ended) == 600
    assert all(ended[number].value == number for number in range(600) if number % 7)
    assert all(outcome.failure is not None for number, outcome in ended.items() if not number % 7)


def test_tasks_may_be_submitted_while_outcomes_are_read(executor: Executor):
    executor.submit(Task(TaskKey("begin", 0), pow, (2, 3)))
    values = []
    for key, outcome in executor.outcomes():
        values.append(outcome.value)
        if key.kind == "begin":
            executor.submit(Task(TaskKey("finish", 0), pow, (3, 3)))
    assert values == [8, 27]


def test_a_task_that_raises_comes_back_as_a_failure(executor: Executor):
    executor.submit(Task(TaskKey("block", 0), int, ("x",)))
    ((_, outcome),) = executor.outcomes()
    assert outcome.failure is not None
    assert outcome.failure.kind == "ValueError"


def _leave_a_note(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def test_a_function_is_called_in_every_process(executor: Executor, tmp_path: Path):
    executor.everywhere(_leave_a_note, tmp_path)
    notes = {int(note.name) for note in tmp_path.iterdir()}
    assert len(notes) == executor.workers
    assert (os.getpid() in notes) == isinstance(executor, SerialExecutor)


def test_a_task_that_takes_its_worker_down_is_a_failure_and_the_rest_go_on():
    with open_executor(ClusterSettings(kind="local", workers=1)) as opened:
        opened.submit(Task(TaskKey("block", 0), os._exit, (1,)))
        ((_, outcome),) = opened.outcomes()
        assert outcome.failure is not None
        assert outcome.failure.kind == "WorkerDiedError"
        assert outcome.failure.expected
        opened.submit(Task(TaskKey("block", 1), pow, (2, 2)))
        ((_, outcome),) = opened.outcomes()
        assert outcome.value == 4


def test_tasks_beside_one_that_takes_its_worker_down_come_to_their_end():
    with open_executor(ClusterSettings(kind="local", workers=1)) as opened:
        opened.submit(Task(TaskKey("block", 0), os._exit, (1,)))
        for number in range(1, 7):
            opened.submit(Task(TaskKey("block", 0, number), pow, (number, 2)))
        ended = {key.block: outcome for key, outcome in opened.outcomes()}
    assert [number for number, outcome in ended.items() if outcome.failure is not None] == [0]
    assert {number: outcome.value for number, outcome in ended.items() if number} == {
        number: number**2 for number in range(1, 7)
    }


@pytest.mark.parametrize("kind", ["serial", "local"])
def test_a_task_that_hangs_fails_with_the_place_where_it_stands_and_the_next_one_runs(
    kind: str, tmp_path: Path
):
    pipe = tmp_path / "slide.tif"
    os.mkfifo(pipe)
    settings = ClusterSettings(kind=kind, workers=1 if kind == "local" else None, task_timeout_s=2)
    with open_executor(settings) as opened:
        opened.submit(Task(TaskKey("begin", 0), os.getpid, ()))
        ((_, first),) = opened.outcomes()
        opened.submit(Task(TaskKey("block", 0), Path.read_bytes, (pipe,)))
        ((_, outcome),) = opened.outcomes()
        assert outcome.failure is not None
        assert outcome.failure.kind == "TaskTimeoutError"
        assert "no answer within 2 s, in" in outcome.failure.message
        assert "read_bytes" in outcome.failure.traceback
        opened.submit(Task(TaskKey("begin", 1), os.getpid, ()))
        ((_, second),) = opened.outcomes()
    assert (first.value != second.value) == (kind == "local")  # a worker is started anew


def test_tasks_go_to_workers_that_offer_what_they_ask_for():
    with LocalCluster(
        n_workers=1, threads_per_worker=4, resources={"GPU": 1}, dashboard_address=None
    ) as cluster:
        address = {"kind": "address", "address": cluster.scheduler_address}
        with open_executor(ClusterSettings(**address, resources={"GPU": 1})) as opened:
            assert opened.workers == 1  # in spite of four threads
            opened.submit(Task(TaskKey("block", 0), pow, (3, 2)))
            assert [outcome.value for _, outcome in opened.outcomes()] == [9]
        with pytest.raises(RunError, match=r"none of the 1 workers offers the resources TPU=1"):  # noqa: SIM117
            with open_executor(ClusterSettings(**address, resources={"TPU": 1})):
                pass


def test_the_loss_of_the_scheduler_ends_the_command_and_blames_no_slide(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("slidepipe.runs.dask_executor._PATIENCE_S", 1)
    monkeypatch.setattr("slidepipe.runs.dask_executor._LOOK_EVERY_S", 0.2)
    with (
        scheduler_process(tmp_path) as (process, address),
        open_executor(ClusterSettings(kind="address", address=address)) as opened,
    ):
        opened.submit(Task(TaskKey("block", 0), time.sleep, (30,)))
        process.kill()
        with pytest.raises(RunError, match="is gone: start it, and this command, again"):
            list(opened.outcomes())


def test_a_page_about_the_workers_is_written(tmp_path: Path):
    lines: list[str] = []
    page = tmp_path / "reports" / "performance.html"
    place = ClusterPlace(performance_report=page, tell=lines.append)
    with open_executor(ClusterSettings(kind="local", workers=1), place) as opened:
        opened.submit(Task(TaskKey("block", 0), pow, (3, 2)))
        list(opened.outcomes())
    assert "<html" in page.read_text(encoding="utf-8")
    assert re.match(r"dashboard: http://127\.0\.0\.1:\d+/status  \(from another machine: ssh -L", lines[0])
    with pytest.raises(RunError, match=r"cluster\.kind is serial"):  # noqa: SIM117
        with open_executor(ClusterSettings(kind="serial"), place):
            pass


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("slidepipe.runs.cluster._CONNECT_S", 1)
    with pytest.raises(RunError, match=r"tcp://127\.0\.0\.1:1 within 1 s"):  # noqa: SIM117
        with open_executor(ClusterSettings(kind="address", address="tcp://127.0.0.1:1")):
            pass
