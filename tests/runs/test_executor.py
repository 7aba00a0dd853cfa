"""Tasks run in this process or on Dask workers, with the same outcomes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slidepipe.config import ClusterSettings
from slidepipe.errors import RunError
from slidepipe.runs.cluster import open_executor, usable_cores
from slidepipe.runs.executor import Executor, SerialExecutor, Task, TaskKey

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", params=["serial", "local"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with open_executor(
        ClusterSettings(kind=request.param, workers=2 if request.param == "local" else None)
    ) as opened:
        yield opened


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
        assert outcome.failure.kind == "KilledWorker"
        opened.submit(Task(TaskKey("block", 1), pow, (2, 2)))
        ((_, outcome),) = opened.outcomes()
        assert outcome.value == 4


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("slidepipe.runs.cluster._CONNECT_S", 1)
    with pytest.raises(RunError, match=r"tcp://127\.0\.0\.1:1 within 1 s"):  # noqa: SIM117
        with open_executor(ClusterSettings(kind="address", address="tcp://127.0.0.1:1")):
            pass


def test_the_cores_that_may_be_used_are_counted():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
