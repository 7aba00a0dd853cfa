"""Full disks, disks that may not be written, slides that cannot be read: told, and mended by a second run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slidepipe.config import StudyConfig, load_config
from slidepipe.runs.pipeline import run_stages
from slidepipe.runs.study import Study, begin_study

from .conftest import QUICK, digests, quiet

_STAGES = ("tile", "heatmap", "predict")
_FILLED = 0.6
"""Part of what the run needs that the disk has at first."""


def _can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a small disk; skips where that is not allowed."""
    if not _can_mount():
        pytest.skip("only root mounts disks")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.fixture
def config(finished: Study, quick_config: StudyConfig, drawn_cohort: Path) -> StudyConfig:
    """The study of the drawn cohort with the model that it trained."""
    model = f"inference.model={finished.folder.model}"
    return load_config(None, [f"slides={drawn_cohort}", "name=trial", *QUICK, model])


def outputs(root: Path) -> dict[str, str]:
    return {
        f"{part}/{name}": value
        for part in ("tiles", "overviews", "heatmaps", "lesions", "predictions")
        for name, value in digests(root / part).items()
    }


def go_on(root: Path, stage: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slidepipe", stage, "--run", str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_full_disk_ends_the_work_with_its_reason_and_space_mends_it(
    finished: Study, config: StudyConfig, tmp_path: Path
):
    tiles = digests(finished.folder.root / "tiles")
    needed = sum((finished.folder.root / "tiles" / name).stat().st_size for name in tiles)
    with disk(tmp_path / "disk", int(needed * _FILLED)) as mount:
        study = begin_study(mount / "run", config)
        done = go_on(study.folder.root, "tile")
        assert done.returncode == 1
        assert "No space left on device" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        entries = list(study.journal.entries("tile"))
        assert {entry.state for entry in entries} != {"done"}
        assert len(entries) < len(study.slides) or any(entry.failure is not None for entry in entries)
        remount(mount, f"size={needed * 10 + 2**26}")
        assert not run_stages(study, _STAGES, quiet())
        assert outputs(study.folder.root) == outputs(finished.folder.root)
        assert [path for path in mount.rglob("*") if path.suffix in {".tmp", ".deleting", ".work"}] == []


def test_a_run_that_may_not_be_written_says_so_at_once(config: StudyConfig, tmp_path: Path):
    with disk(tmp_path / "disk", 2**26) as mount:
        begin_study(mount / "run", config)
        remount(mount, "ro")
        done = go_on(mount / "run", "tile")
        remount(mount, "rw")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Read-only file system" in done.stderr
    assert done.stdout == ""


def test_slides_that_go_away_or_become_folders_fail_alone(drawn_cohort: Path, tmp_path: Path):
    cohort = tmp_path / "cohort"
    shutil.copytree(drawn_cohort, cohort)
    study = begin_study(tmp_path / "run", load_config(None, [f"slides={cohort}", *QUICK]))
    images = cohort / "images"
    (images / "test_001.tif").unlink()
    (images / "test_002.tif").unlink()
    (images / "test_002.tif").mkdir()
    (images / "test_003.tif").unlink()
    (images / "test_003.tif").symlink_to("test_003.tif")
    assert run_stages(study, ("tile",), quiet())
    entries = {entry.slide_id: entry for entry in study.journal.entries("tile")}
    failed = {name: entry.failure for name, entry in entries.items() if entry.failure is not None}
    assert set(failed) == {"test_001", "test_002", "test_003"}
    assert all(entry.state == "done" for name, entry in entries.items() if name not in failed)
    assert {name: failure.message for name, failure in failed.items() if name not in failure.message} == {}
    for name in failed:
        path = images / f"{name}.tif"
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        shutil.copy(drawn_cohort / "images" / path.name, path)
    assert not run_stages(study, ("tile",), quiet())
