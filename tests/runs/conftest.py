"""A small study that was run once, for tests that look at it or go on with copies of it."""

import hashlib
import io
from pathlib import Path

import pytest
from rich.console import Console

from slidepipe.config import StudyConfig, load_config
from slidepipe.runs.pipeline import STAGES, run_stages
from slidepipe.runs.study import Study, begin_study
from slidepipe.slides.drawing import DrawingSettings, draw_cohort

QUICK = (
    "cluster.kind=serial",
    "tiles.mpp=0.972",
    "tiles.shard_tiles=2",
    "tiles.tile_px=256",
    "train.epochs=1",
    "train.patches_per_epoch=256",
    "train.validation_patches=128",
    "train.batch_size=32",
    "train.threads=1",
    "inference.batch_size=32",
    "inference.threads=1",
    "heatmap.stride_px=64",
    "heatmap.block_cells=8",
    "predict.slide_model.trees=20",
    "evaluate.resamples=50",
)
"""Settings under which a whole study takes seconds."""


def digests(folder: Path) -> dict[str, str]:
    """Fingerprint every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def quiet() -> Console:
    """A console whose words can be read afterwards with ``console.file.getvalue()``."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="session")
def drawn_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two normal, two tumour and four test slides of 1.4 mm."""
    folder = tmp_path_factory.mktemp("drawn") / "cohort"
    return draw_cohort(folder, DrawingSettings(train_normal=2, train_tumour=2, test=4, size_px=1536))


@pytest.fixture(scope="session")
def quick_config(drawn_cohort: Path) -> StudyConfig:
    """A study of the drawn cohort."""
    return load_config(None, [f"slides={drawn_cohort}", "name=trial", *QUICK])


@pytest.fixture(scope="session")
def finished(quick_config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study after its first run; not to be changed."""
    study = begin_study(tmp_path_factory.mktemp("finished") / "run", quick_config)
    console = quiet()
    failed = run_stages(study, STAGES, console)
    assert not failed, console.file.getvalue()
    return study
