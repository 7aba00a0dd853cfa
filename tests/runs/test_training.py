"""Training on patches from files, as a command of its own and as the stage of a study."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from slidepipe.classifier.card import read_card
from slidepipe.cli import main
from slidepipe.runs.study import Study

from .conftest import digests

SMALL = (
    "train.patches.patch_px=64",
    "train.patches.mpp=0.9",
    "train.patches_per_epoch=16",
    "train.batch_size=8",
    "train.epochs=1",
    "train.threads=1",
    "train.device=cpu",
)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def small() -> list[str]:
    return [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """A zip file in a folder whose name a YAML reader would stumble over."""
    path = tmp_path / "a: b" / "patches.zip"
    path.parent.mkdir()
    random = np.random.default_rng(1)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(16):
            pixels = random.integers(100, 130, (64, 64, 3), dtype=np.uint8) + np.uint8(100 * (number % 2))
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            archive.writestr(f"{('tumor', 'normal')[number % 2]}/{number}.png", stream.getvalue())
    return path


def test_patches_in_a_zip_file_become_a_model(patches: Path, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("train:\n  about:\n    licence: CC0\n")
    result = call(
        "train", config, "--patches", patches, "--validation", patches, "--out", tmp_path / "model", *small()
    )
    assert result.exit_code == 0, result.output
    assert "train: epoch 1, loss" in result.output
    assert "of the time waiting for patches" in result.output
    card = read_card(tmp_path / "model")
    assert f"weights {card.weights_sha256[:12]}" in " ".join(result.output.split())
    assert (card.architecture, card.mpp, card.about) == ("compact", 0.9, {"licence": "CC0"})


def test_a_study_trains_on_the_patches_that_it_names_instead_of_its_slides(
    patches: Path, shared_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    slide = shared_data / "slides" / "tumor_072_level7_asap.tif"
    tiled = call("tile", slide, "--run", run, "--set", "cluster.kind=serial")
    assert tiled.exit_code == 0, tiled.output
    quoted = json.dumps(str(patches))
    files = ["--set", f"train.files={quoted}", "--set", f"train.validation_files={quoted}"]
    first = call("train", "--run", run, *small(), *files)
    assert first.exit_code == 0, first.output
    weights = read_card(run / "model").weights_sha256
    again = call("train", "--run", run)
    assert again.exit_code == 0
    assert "epoch" not in again.output
    with zipfile.ZipFile(patches, "a") as archive:
        archive.writestr("note.txt", "other bytes, so other patches may be in there")
    changed = call("train", "--run", run)
    assert "epoch 1" in changed.output
    assert read_card(run / "model").weights_sha256 == weights


def test_a_run_that_is_killed_while_it_trains_goes_on_to_the_same_model(
    finished: Study, tmp_path: Path
) -> None:
    changes = ["--set", "train.epochs=3", "--set", "train.seed=5", "--set", "train.patches_per_epoch=64"]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for folder in (killed, undisturbed):
        shutil.copytree(finished.folder.root, folder)
    command = [sys.executable, "-m", "slidepipe", "run", killed / "config.yaml", "--run", killed, *changes]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as run:
        assert run.stdout is not None
        lines = iter(run.stdout.readline, "")
        assert any(line.startswith("train: epoch 1,") for line in lines)
        run.send_signal(signal.SIGKILL)
    again = call("train", "--run", killed)
    assert again.exit_code == 0, again.output
    assert "train: goes on after epoch" in again.output
    assert "train: epoch 1," not in again.output
    assert call("train", "--run", undisturbed, *changes).exit_code == 0
    assert digests(killed / "model") == digests(undisturbed / "model")
    assert (killed / "model" / "training.csv").read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --run DIR, or --patches, --validation and --out"),
        (("--patches", "."), "give --run DIR, or --patches, --validation and --out"),
        (("--run", "run", "--patches", "."), "give nothing beside it but --set"),
        (("--patches", ".", "--validation", ".", "--out", "model"), "patches.mpp"),
    ],
)
def test_half_a_command_is_refused_with_what_is_missing(arguments: tuple[str, ...], message: str) -> None:
    result = call("train", *arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())
