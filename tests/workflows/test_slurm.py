"""The study with sbatch alone, on a real SLURM."""

import subprocess
import time
from pathlib import Path

import pytest

from .conftest import OVERRIDE, SLIDEPIPE, WORKFLOWS, environment, has_nothing_to_do, results

SUBMIT = WORKFLOWS / "slurm" / "submit.sh"


def squeue(job: str) -> str:
    return subprocess.run(
        ["squeue", "--noheader", f"--jobs={job}"], capture_output=True, text=True, check=False
    ).stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("slurm")
def test_jobs_that_wait_for_each_other_do_a_whole_study(
    study: Path, expected: dict[str, str], tmp_path: Path
):
    run = tmp_path / "run"
    settings = {
        "SLIDEPIPE": SLIDEPIPE,
        "TILE_TASKS": "2",
        "HEATMAP_TASKS": "2",
        "JOB_OPTIONS": "--cpus-per-task=1 --mem=900M --time=30",
    }
    config = tmp_path / "study.yaml"
    section, value = OVERRIDE.replace(".", "=").split("=", 1)
    config.write_text(f"{study.read_text()}{section}: {{{value.replace('=', ': ')}}}\n")
    submitted = subprocess.run(
        [SUBMIT, config, run], env=environment() | settings, capture_output=True, text=True, check=False
    )
    assert submitted.returncode == 0, submitted.stderr
    last = (tmp_path / "run.logs" / "last-job").read_text().strip()
    deadline = time.monotonic() + 800
    while squeue(last) and time.monotonic() < deadline:
        time.sleep(1)
    logs = "".join(f"\n{path.name}: {path.read_text()}" for path in sorted((tmp_path / "run.logs").iterdir()))
    assert results(run) == expected, logs
    assert has_nothing_to_do(study, run)


def test_submitting_asks_for_what_it_needs():
    refused = subprocess.run([SUBMIT], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "CONFIG RUN_DIRECTORY" in refused.stderr
