"""Slides are cut from copies in a scratch folder: the same bytes come out, and the folder is empty afterwards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from slidepipe.config import ClusterSettings, StudyConfig, load_config
from slidepipe.runs.pipeline import run_stages
from slidepipe.runs.study import Study, begin_study
from slidepipe.slides import handles
from slidepipe.slides.reader import SlideReader, SlideSource

from .conftest import QUICK, digests, quiet

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def staging_config(drawn_cohort: Path, scratch: Path) -> StudyConfig:
    return load_config(None, [f"slides={drawn_cohort}", "name=trial", *QUICK, f"tiles.stage_dir={scratch}"])


def test_slides_are_read_from_their_copies_only(
    finished: Study,
    staging_config: StudyConfig,
    scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: set[Path] = set()
    open_slide = handles.open_slide

    def note(source: SlideSource) -> SlideReader:
        opened.add(Path(source.path))
        return open_slide(source)

    monkeypatch.setattr(handles, "open_slide", note)
    study = begin_study(tmp_path / "run", staging_config)
    assert not run_stages(study, ("tile",), quiet())
    assert len(opened) == 8
    assert all(path.is_relative_to(scratch) for path in opened)
    assert list(scratch.iterdir()) == []
    assert digests(study.folder.root / "tiles") == digests(finished.folder.root / "tiles")
    assert digests(study.folder.overviews) == digests(finished.folder.overviews)


def test_workers_share_copies_and_leave_none_of_slides_that_failed(
    drawn_cohort: Path, staging_config: StudyConfig, scratch: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(drawn_cohort, cohort)
    for slide in (cohort / "images").glob("test_*"):
        slide.write_bytes(b"not a slide any more")
    slides = replace(staging_config.slides, folder=str(cohort))
    workers = ClusterSettings(kind="local", workers=2)
    study = begin_study(tmp_path / "run", replace(staging_config, slides=slides, cluster=workers))
    assert run_stages(study, ("tile",), quiet())
    states = [entry.state for entry in study.journal.entries("tile")]
    assert sorted(states) == ["done"] * 4 + ["failed"] * 4
    assert list(scratch.iterdir()) == []


def test_a_preview_leaves_nothing_either(staging_config: StudyConfig, scratch: Path, tmp_path: Path) -> None:
    study = begin_study(tmp_path / "run", staging_config)
    assert not run_stages(study, ("preview",), quiet())
    assert list(scratch.iterdir()) == []


def test_slides_that_are_only_referred_to_are_not_copied(
    staging_config: StudyConfig, scratch: Path, tmp_path: Path
) -> None:
    tiles = replace(staging_config.tiles, mode="reference", mpp=None, tile_px=None)
    study = begin_study(tmp_path / "run", replace(staging_config, tiles=tiles))
    assert not run_stages(study, ("tile",), quiet())
    assert not scratch.exists()
