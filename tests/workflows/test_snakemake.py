"""The study with Snakemake, on this machine and through a real SLURM."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import OVERRIDE, SLIDEPIPE, WORKFLOWS, environment, has_nothing_to_do, results

FOLDER = WORKFLOWS / "snakemake"
SLURM_OPTIONS = (
    "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=1",
    "--seconds-between-status-checks=1",
    "--default-resources",
    "mem_mb=900",
    "runtime=30",
    "--set-resources",
    "train:mem_mb=900",
)


@pytest.fixture(autouse=True)
def snakemake_is_there() -> None:
    """Skip where Snakemake is missing."""
    if shutil.which("snakemake", path=environment()["PATH"]) is None:
        pytest.skip("Snakemake is missing: pip install 'slidepipe[workflows]'")


def snakemake(
    folder: Path, study: Path, *more: str, profile: str = "local"
) -> subprocess.CompletedProcess[str]:
    """Call Snakemake in a folder, for a run of that name in it."""
    profile_folder = FOLDER / "profiles" / profile
    config = (f"study={study}", "run=run", f'set=["{OVERRIDE}"]', "workers=1", f"slidepipe={SLIDEPIPE}")
    return subprocess.run(
        ["snakemake", "-s", FOLDER / "Snakefile", "--profile", profile_folder, *more, "--config", *config],
        cwd=folder,
        env=environment(),
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_whole_study_with_its_report(study: Path, expected: dict[str, str], tmp_path: Path):
    done = snakemake(tmp_path, study)
    assert done.returncode == 0, done.stdout
    assert results(tmp_path / "run") == expected
    assert has_nothing_to_do(study, tmp_path / "run")
    planned = snakemake(tmp_path, study, "--dry-run", "--quiet", "host")
    assert "\nall" in planned.stdout, planned.stdout
    assert "\ntile" not in planned.stdout, planned.stdout
    reported = snakemake(tmp_path, study, "--report", "page.html")
    assert reported.returncode == 0, reported.stdout
    page = (tmp_path / "page.html").read_text()
    assert all(name in page for name in ("report.html", "slides.csv", "evaluation_froc.svg"))


@pytest.mark.timeout(300)
def test_a_bad_slide_is_marked_and_tried_again_next_time(tmp_path: Path):
    (tmp_path / "bad.tif").write_bytes(b"this was a slide once")
    config = tmp_path / "study.yaml"
    config.write_text(f"slides: [{tmp_path / 'bad.tif'}]\ncluster: {{kind: serial}}\n")
    for _ in range(2):
        tried = snakemake(tmp_path, config, "run/workflow/tile/bad")
        assert tried.returncode == 0, tried.stdout
        assert "\nrule tile" in tried.stdout or "\nlocalrule tile" in tried.stdout
        assert (tmp_path / "run" / "workflow" / "tile" / "bad").is_file()
        assert '"state": "failed"' in (tmp_path / "run" / "journal" / "tile" / "bad.json").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("slurm")
def test_a_whole_study_through_slurm(study: Path, expected: dict[str, str], tmp_path: Path):
    done = snakemake(tmp_path, study, *SLURM_OPTIONS, profile="slurm")
    assert done.returncode == 0, done.stdout
    assert results(tmp_path / "run") == expected
    assert "Job 1 has been submitted" in done.stdout or "submitted with SLURM jobid" in done.stdout, (
        done.stdout
    )
