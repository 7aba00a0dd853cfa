"""Jobs of batch systems are what was asked for. SLURM itself is in `test_slurm`; the others cannot run here."""

import re
from pathlib import Path
from typing import Any

import pytest

from slidepipe.cluster_settings import ClusterSettings, walltime_seconds
from slidepipe.errors import RunError
from slidepipe.runs.batch import make_batch_cluster
from slidepipe.runs.cluster import open_executor

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

_JOB: dict[str, Any] = {
    "cores": 8,
    "memory": "32GiB",
    "walltime": "04:00:00",
    "queue": "long",
    "account": "path7",
    "scratch": "$TMPDIR",
    "prologue": ("module load cuda", "source venv/bin/activate"),
    "python": "/apps/python3",
}


def script(kind: Any, **more: Any) -> str:
    settings = ClusterSettings(kind=kind, **{**_JOB, **more})
    with make_batch_cluster(settings, Path("/run/logs"), {"OMP_NUM_THREADS": "1", "NAME": "it's"}) as cluster:
        text = cluster.job_script()
    assert isinstance(text, str)
    return text


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_jobqueue.core.os.makedirs", lambda folder: None)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (
            "slurm",
            [
                "#SBATCH -J slidepipe",
                "#SBATCH -p long",
                "#SBATCH -A path7",
                "#SBATCH --cpus-per-task=8",
                "#SBATCH --mem=32G",
                "#SBATCH -t 04:00:00",
                "#SBATCH -o /run/logs/slidepipe-%J.out",
                "#SBATCH --gres=gpu:1",
            ],
        ),
        (
            "pbs",
            [
                "#PBS -N slidepipe",
                "#PBS -q long",
                "#PBS -A path7",
                "#PBS -l select=1:ncpus=8:mem=32GB",
                "#PBS -l walltime=04:00:00",
                "#PBS -o /run/logs/",
                "#PBS --gres=gpu:1",
            ],
        ),
        (
            "lsf",
            [
                "#BSUB -J slidepipe",
                "#BSUB -q long",
                '#BSUB -P "path7"',
                "#BSUB -n 8",
                "#BSUB -W 04:00",
                "#BSUB --gres=gpu:1",
            ],
        ),
        (
            "sge",
            [
                "#$ -N slidepipe",
                "#$ -q long",
                "#$ -P path7",
                "#$ -l h_rt=04:00:00",
                "#$ -o /run/logs/",
                "#$ --gres=gpu:1",
            ],
        ),
    ],
)
def test_a_job_asks_for_what_the_settings_say(kind: str, lines: list[str]):
    text = script(kind, directives=("--gres=gpu:1",)).splitlines()
    assert [line for line in lines if line not in text] == []
    environment = ["export OMP_NUM_THREADS='1'", "export NAME='it'\\''s'"]
    prologue = ["module load cuda", "source venv/bin/activate"]
    first = text.index(environment[0])
    assert text[first : first + 4] == environment + prologue
    (worker,) = [line for line in text if "dask_worker" in line]
    assert worker.startswith("/apps/python3 -m distributed.cli.dask_worker tcp://")
    for part in (
        "--nworkers 8",
        "--nthreads 1",
        "--memory-limit 4.00GiB",
        "--nanny",
        "--local-directory $TMPDIR",
    ):
        assert part in worker, part


@pytest.mark.parametrize("walltime", ["00:10:00", "01:00:00", "48:00:00"])
def test_workers_leave_before_their_job_is_ended(walltime: str):
    text = script("slurm", walltime=walltime)
    lifetime = re.search(r"--lifetime (\d+)s --lifetime-stagger (\d+)s", text)
    assert lifetime is not None
    ends, stagger = map(int, lifetime.groups())
    total = walltime_seconds(walltime)
    assert 0.6 * total < ends - stagger < ends + stagger < total
    assert stagger > 0


def test_workers_offer_the_resources_that_tasks_ask_for():
    text = script("slurm", resources={"GPU": 1.0, "scratch": 2.0})
    assert "--resources 'GPU=1 scratch=2'" in text
    assert "--nworkers" not in text  # one worker in a job, so one task on a GPU
    assert "--nthreads 8" in text


def test_a_batch_system_that_is_not_there_is_named():
    settings = ClusterSettings(kind="pbs", **{**_JOB, "scratch": None})
    with pytest.raises(RunError, match=r"pbs does not take the job: .*qsub"), open_executor(settings):
        pass
