"""A study of two slides, as a workflow takes it through its stages and as `slidepipe run` does."""

import hashlib
import os
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from slidepipe.cli import main
from slidepipe.slides.drawing import DrawingSettings, draw_cohort

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
SLIDEPIPE = f"{sys.executable} -m slidepipe"
OVERRIDE = "evaluate.resamples=50"
"""A setting that the configuration lacks."""
_STUDY = """
name: tiny
tiles: {mpp: 0.972, tile_px: 256, shard_tiles: 2}
train: {epochs: 1, patches_per_epoch: 64, validation_patches: 32, batch_size: 32, threads: 1}
inference: {batch_size: 32, threads: 1}
heatmap: {stride_px: 64, block_cells: 8}
predict: {slide_model: {trees: 20}}
cluster: {kind: serial}
"""

_PARTS = (
    "cohort.csv", "tissue.csv", "overviews", "tiles", "model", "heatmaps", "lesions", "predictions", "evaluation",
    "export",
)  # fmt: skip


def results(run: Path) -> dict[str, str]:
    """Fingerprint what a study leaves, but for what tells times, places and workers."""
    parts = [run / part for part in _PARTS]
    files = [path for part in parts for path in (part.rglob("*") if part.is_dir() else [part])]
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file() and path.name not in {"project.qpproj", ".snakemake_timestamp"}
    }


def has_nothing_to_do(config: Path, run: Path) -> bool:
    """Whether `slidepipe run` agrees that a study is done; not asked of the report, which tells times."""
    again = CliRunner().invoke(main, ["run", str(config), "--run", str(run), "--set", OVERRIDE])
    return again.exit_code == 0 and again.output.count("nothing to do") == 7


def environment() -> dict[str, str]:
    """The environment, with the programs of this Python's environment in it, and the package of this checkout."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(WORKFLOWS.parent), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a study: one slide to learn from, one to be tested on."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_cohort(folder / "cohort", DrawingSettings(train_normal=0, train_tumour=1, test=1, size_px=1024))
    (folder / "study.yaml").write_text(f"slides: {folder / 'cohort'}{_STUDY}")
    return folder / "study.yaml"


@pytest.fixture(scope="session")
def expected(study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `slidepipe run` makes of it."""
    run = tmp_path_factory.mktemp("expected") / "run"
    result = CliRunner().invoke(main, ["run", str(study), "--run", str(run), "--set", OVERRIDE])
    assert result.exit_code == 0, result.output
    return results(run)
