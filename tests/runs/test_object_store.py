"""A study whose slides and run directory lie in an object store: the same bytes as on a disk, killed or not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from slidepipe.cli import main
from slidepipe.config import load_config
from slidepipe.runs.journal import attempt
from slidepipe.runs.pipeline import STAGES, run_stages
from slidepipe.runs.plan import plan_tiles
from slidepipe.runs.study import Study, begin_study, open_study
from slidepipe.runs.verify import find_problems
from slidepipe.slides.cohort import CohortSettings, find_cohort
from slidepipe.slides.drawing import DrawingSettings, draw_cohort
from slidepipe.storage import access
from slidepipe.storage.access import BY_ENVIRONMENT, StoreAccess, file_system
from slidepipe.storage.locations import location
from slidepipe.tiles.tiling import begin_tiling, tile_block

from .conftest import QUICK, digests, quiet
from .test_chaos import STARTER

SETTINGS = (*QUICK, "slides.reader=tiff", "heatmap.stride_px=128", "train.patches_per_epoch=64", "name=trial")
_NAMES_ITS_PLACE = {"config.yaml", "cohort.csv", "export/project.qpproj", "report.html"}
"""Files that name paths, or say when the work was done."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides, one of each kind, in the layout of the open release."""
    settings = DrawingSettings(train_normal=1, train_tumour=1, test=2, size_px=1024)
    return draw_cohort(tmp_path_factory.mktemp("object-store") / "CAMELYON16", settings)


@pytest.fixture(scope="module")
def on_disk(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run on a disk leaves."""
    study = begin_study(
        tmp_path_factory.mktemp("on-disk") / "run", load_config(None, [f"slides={cohort}", *SETTINGS])
    )
    assert not run_stages(study, STAGES, quiet())
    return results(study.folder.root)


@pytest.fixture
def slides(cohort: Path, bucket: Path) -> str:
    """URL of the same slides."""
    file_system(str(bucket), BY_ENVIRONMENT).put(f"{cohort}/", f"{bucket.name}/CAMELYON16", recursive=True)
    return f"{bucket}/CAMELYON16"


def results(root: Path) -> dict[str, str]:
    """Fingerprints of what the settings and slides alone determine."""
    return {
        name: digest
        for name, digest in digests(root).items()
        if name not in _NAMES_ITS_PLACE and not name.startswith("journal/")
    }


def begin(slides: str, root: Path, *more: str) -> Study:
    return begin_study(root, load_config(None, [f"slides={slides}", *SETTINGS, *more]))


def test_a_whole_study_in_an_object_store_leaves_the_bytes_of_one_on_a_disk(
    slides: str, bucket: Path, on_disk: dict[str, str]
):
    study = begin(slides, bucket / "runs" / "one")
    console = quiet()
    assert not run_stages(study, STAGES, console), console.file.getvalue()
    assert results(study.folder.root) == on_disk
    assert {path.suffix for path in study.folder.root.rglob("*")}.isdisjoint({".tmp", ".work"})

    console = quiet()
    again = open_study(study.folder.root)
    assert not run_stages(again, STAGES, console)
    assert console.file.getvalue().count("nothing to do") == len(STAGES)
    found = find_problems(again, decode=True)
    assert {name: problems for name, problems in found.items() if problems} == {}

    for words in (["status", "--run", str(study.folder.root)], ["verify", "--run", str(study.folder.root)]):
        shown = CliRunner().invoke(main, words)
        assert shown.exit_code == 0, shown.output
    project = (study.folder.export / "project.qpproj").read_text()
    assert f'"{slides}/images/test_001.tif"' in project

    shard = next(path for path in study.folder.tiles("test_001").rglob("*") if "/c/0/" in str(path))
    shard.unlink()
    assert any(find_problems(again).values())


def test_workers_that_are_killed_leave_what_can_be_gone_on_with(
    slides: str, bucket: Path, on_disk: dict[str, str], tmp_path: Path
):
    root = bucket / "run"
    config = tmp_path / "trial.yaml"
    config.write_text(f"slides: {slides}\n")
    settings = (*SETTINGS, "cluster.kind=local", "cluster.workers=2")
    overrides = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "slidepipe", "tile", str(config), "--run", str(root), *overrides]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(lambda: any("/0/c/" in str(path) for path in (root / "tiles").rglob("*")), process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    study = begin(slides, root)
    assert not run_stages(study, ("tile",), quiet())
    tiles = {name: digest for name, digest in on_disk.items() if name.startswith("tiles/")}
    assert {name: digest for name, digest in results(root).items() if name.startswith("tiles/")} == tiles


_KILLED_AT = {
    "/heatmaps/test_001.zarr/0/c/": True,
    "/heatmaps/test_002.zarr.work/": False,
    "/heatmaps/tumor_001.zarr/zarr.json": True,
    "/lesions/test_001.features.json": True,
    "/predictions/slides.csv": False,
    "/evaluation/evaluation.json": True,
    "/export/geojson/": False,
    "/report.html": True,
}
"""Objects at whose writing a run is killed, and whether they are still written."""


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_study_that_is_killed_in_every_stage_ends_as_if_nothing_had_been(
    slides: str,
    bucket: Path,
    on_disk: dict[str, str],
    tmp_path: Path,
    s3_listeners: list[Callable[[str, str], bool]],
):
    root, config = bucket / "run", tmp_path / "trial.yaml"
    config.write_text(f"slides: {slides}\n")
    overrides = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [["run", str(config), "--run", str(root), *overrides], str(tmp_path / "log")]
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    for name, is_written in _KILLED_AT.items():
        starter.stdin.write(json.dumps(command) + "\n")
        group = int(starter.stdout.readline())

        def kill(
            method: str, path: str, group: int = group, name: str = name, lost: bool = not is_written
        ) -> bool:
            if method != "PUT" or name not in path:
                return False
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            return lost

        s3_listeners.append(kill)
        code = int(starter.stdout.readline())
        s3_listeners.remove(kill)
        assert code == -signal.SIGKILL, f"{name}: {(tmp_path / 'log').read_text()[-3000:]}"
    with starter:
        starter.stdin.close()
    study, console = open_study(root), quiet()
    assert not run_stages(study, STAGES, console), console.file.getvalue()
    assert results(root) == on_disk
    assert not any(find_problems(study).values())


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    until = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_public_bucket_is_read_without_keys(
    slides: str, bucket: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    files = file_system(slides, BY_ENVIRONMENT)
    for path in location(slides).rglob("*"):
        files.chmod(str(path).removeprefix("s3://"), acl="public-read")
    files.call_s3("put_bucket_acl", Bucket=bucket.name, ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    study = begin(slides, tmp_path / "run", "slides.access={anonymous: true}", "slides.only=[test_001]")
    assert not run_stages(study, ("tile",), quiet())
    assert open_study(tmp_path / "run").slides[0].source.access == StoreAccess(anonymous=True)
    assert "secret" not in (tmp_path / "run" / "config.yaml").read_text()


def test_the_layout_is_found_in_a_bucket_as_on_a_disk(slides: str, cohort: Path):
    there, here = find_cohort(CohortSettings(folder=slides)), find_cohort(CohortSettings(folder=str(cohort)))
    assert there.name == here.name
    for far, near in zip(there.slides, here.slides, strict=True):
        assert far.source.path == near.source.path.replace(str(cohort), slides)
        assert (far.label, far.size_class, far.centre, far.split) == (
            near.label,
            near.size_class,
            near.centre,
            near.split,
        )
        assert far.annotation == (near.annotation and near.annotation.replace(str(cohort), slides))


def test_a_slide_that_is_gone_is_named_and_the_others_go_on(slides: str, bucket: Path, tmp_path: Path):
    study = begin(slides, tmp_path / "run", "slides.only=[test_001, test_002]")
    location(f"{slides}/images/test_001.tif").unlink()
    assert run_stages(study, ("tile",), quiet())
    entry = study.journal.read("tile", "test_001")
    assert entry is not None
    assert entry.failure is not None
    assert f"{slides}/images/test_001.tif" in entry.failure.message
    assert study.journal.read("tile", "test_002").state == "done"


def test_an_outage_is_not_taken_for_damage(slides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study = begin(slides, tmp_path / "run", "slides.only=[test_001]")
    (work,), _ = plan_tiles(study)
    block, *_ = begin_tiling(work.job.tiles)
    monkeypatch.setattr(access, "_ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    access._file_system.cache_clear()
    outcome = attempt(tile_block, work.job.tiles, block)
    assert outcome.failure is not None
    assert outcome.failure.kind == "ObjectStoreError"
    assert "test_001.tif" in outcome.failure.message
