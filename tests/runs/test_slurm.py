"""A whole small run on a real SLURM, from submitting jobs to the same bytes as on one worker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slidepipe.cluster_settings import ClusterSettings, WorkerSettings
from slidepipe.config import StudyConfig
from slidepipe.errors import RunError
from slidepipe.runs.cluster import ClusterPlace, open_executor
from slidepipe.runs.executor import Task, TaskKey
from slidepipe.runs.pipeline import STAGES, run_stages
from slidepipe.runs.study import Study, begin_study

from .conftest import digests, quiet

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

_JOB = ClusterSettings(
    kind="slurm", cores=1, memory="2GiB", walltime="00:20:00", interface="lo", python=sys.executable
)


@pytest.fixture
def slurm_jobs(slurm: None) -> Iterator[None]:
    """Jobs of this test are cancelled in the end."""
    before = jobs()
    yield
    subprocess.run(["scancel", *(jobs() - before)], check=False, capture_output=True)


def jobs() -> set[str]:
    """Numbers of the jobs of ours that wait or run."""
    command = ["squeue", "-h", "--name=slidepipe", "-t", "pending,running", "-o", "%A"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("slurm_jobs")
def test_a_whole_run_on_slurm_gives_the_bytes_of_one_process(
    finished: Study, quick_config: StudyConfig, tmp_path: Path
):
    workers = {"train": WorkerSettings(resources={"GPU": 1}), "heatmap": WorkerSettings(resources={"GPU": 1})}
    cluster = replace(_JOB, scratch=str(tmp_path), prologue=("export FROM_PROLOGUE=yes",), stages=workers)
    study = begin_study(tmp_path / "run", replace(quick_config, cluster=cluster))
    console = quiet()
    assert not run_stages(study, STAGES, console), console.file.getvalue()
    for part in ("tiles", "model", "heatmaps", "lesions", "predictions", "overviews"):
        assert digests(study.folder.root / part) == digests(finished.folder.root / part), part
    told = console.file.getvalue()
    assert told.count("dashboard: http://") == 3  # tile; train and heatmap; predict and export
    assert "train: epoch 1" in told
    logs = [*study.folder.logs.glob("slidepipe-*.err")]
    assert len(logs) >= 3
    assert not jobs()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("slurm_jobs")
def test_a_job_that_is_lost_is_replaced_and_its_task_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("slidepipe.runs.batch._LOST_AFTER_S", 1)
    monkeypatch.setattr("slidepipe.runs.dask_executor._LOOK_EVERY_S", 0.5)
    with open_executor(_JOB, ClusterPlace(logs=tmp_path)) as opened:
        opened.submit(Task(TaskKey("block", 0), pow, (2, 2)))
        assert [outcome.value for _, outcome in opened.outcomes()] == [4]
        (first,) = jobs()
        opened.submit(Task(TaskKey("block", 1), time.sleep, (8,)))
        time.sleep(1)
        subprocess.run(["scancel", "--signal=KILL", first], check=True)
        ((_, outcome),) = opened.outcomes()
        assert outcome.failure is None
        assert jobs() - {first}
    assert not jobs()


@pytest.mark.usefixtures("slurm_jobs")
def test_a_job_that_slurm_does_not_take_is_told_with_its_reason():
    settings = replace(_JOB, queue="no-such-partition")
    with (
        pytest.raises(RunError, match=r"slurm does not take the job: .*invalid partition"),
        open_executor(settings),
    ):
        pass
