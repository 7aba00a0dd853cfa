"""Patches in a folder or zip file become a table of probabilities."""

import csv
import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.card import read_card
from slidepipe.classifier.checkpoint import load_model
from slidepipe.cli import main
from slidepipe.runs.classifying import classify_files

SETTINGS = (
    "--set",
    "inference.device=cpu",
    "--set",
    "inference.threads=1",
    "--set",
    "inference.batch_size=4",
)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["classify", *(str(argument) for argument in arguments), *SETTINGS])


def picture(seed: int, side: int = 96) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.sort(pixels, axis=seed % 3)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine patches in no order, and a file that is none."""
    root = tmp_path / "patches"
    for number in (3, 1, 2, 9, 4, 7, 5, 8, 6):
        path = root / ("tumor" if number % 2 else "normal") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (root / "note.txt").write_text("no patch")
    return root


def rows(path: Path) -> dict[str, np.float32]:
    with path.open(newline="") as file:
        return {row["name"]: np.float32(row["probability"]) for row in csv.DictReader(file)}


def test_a_folder_becomes_a_table_and_its_classes_are_compared_with_it(folder: Path, tmp_path: Path) -> None:
    result = call(folder, "--out", tmp_path / "scores.csv", "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    table = rows(tmp_path / "scores.csv")
    assert list(table) == names
    pixels = np.stack([np.asarray(Image.open(folder / name)) for name in names])
    expected = load_model(find_model("builtin"), "cpu").probabilities(pixels)
    np.testing.assert_allclose(list(table.values()), expected, rtol=0, atol=1e-6)

    facts = json.loads((tmp_path / "scores.json").read_text())
    auc = np.mean(
        [a > b for n, a in table.items() for m, b in table.items() if n.startswith("t") and m.startswith("n")]
    )
    assert facts["metrics"]["auc"] == pytest.approx(auc)
    assert (facts["patches"], facts["labelled"], facts["metrics"]["tumour"]) == (9, 9, 5)
    assert f"AUC {auc:.4f} (" in result.output
    assert "accuracy" in result.output
    assert str(tmp_path) not in (tmp_path / "scores.json").read_text()


def test_a_zip_file_and_other_batches_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "patches.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    call(folder, "--out", tmp_path / "folder.csv")
    call(tmp_path / "patches.zip", "--out", tmp_path / "zip.csv")
    assert (tmp_path / "zip.csv").read_bytes() == (tmp_path / "folder.csv").read_bytes()
    # Alone in its batch a patch has the probability that it has in company.
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "3.png").write_bytes(picture(3))
    result = call(alone, "--out", tmp_path / "alone.csv")
    assert rows(tmp_path / "alone.csv") == {"3.png": rows(tmp_path / "folder.csv")["tumor/3.png"]}
    assert "no AUC: the folders do not name two classes" in result.output


def test_a_model_that_was_not_made_here_classifies_patches_too(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    card = {
        "num_classes": 2,
        "class_names": ["other", "tumor"],
        "patch_size_pixels": 96,
        "spacing_um_px": 0.5,
        "transform": [{"name": "ToTensor"}],
        "spec_version": "1.0",
        "architecture": "mean",
    }
    (model / "config.json").write_text(json.dumps(card))
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Torch deprecates TorchScript
        torch.jit.script(network).save(model / "torchscript_model.pt")
    result = call(folder, "--model", model, "--out", tmp_path / "scores.csv")
    assert result.exit_code == 0, result.output
    assert "taken for 0.5 µm" in result.output
    table = rows(tmp_path / "scores.csv")
    pixels = torch.from_numpy(np.asarray(Image.open(folder / "tumor" / "3.png")).copy())
    with torch.inference_mode():
        expected = network(pixels.permute(2, 0, 1)[None].float() / 255).softmax(dim=1)[0, 1]
    assert table["tumor/3.png"] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (picture(1, side=50), "tumor/2.png: 50 × 50 px, but patches of 96 × 96 px are wanted"),
        (b"no picture", "tumor/2.png: not a picture that can be read"),
    ],
)
def test_a_patch_that_cannot_be_used_is_named_and_nothing_is_written(
    folder: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    (folder / "tumor" / "2.png").write_bytes(content)
    result = call(folder, "--out", tmp_path / "scores.csv")
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "scores.csv").exists()


def test_a_folder_without_patches_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / "empty", "--out", tmp_path / "scores.csv")
    assert result.exit_code == 1
    assert "empty holds no patch" in result.output


def test_on_a_terminal_a_bar_shows_the_rate(folder: Path, tmp_path: Path) -> None:
    console = Console(force_terminal=True, file=io.StringIO(), width=160)
    overrides = [setting for setting in SETTINGS if setting != "--set"]
    classify_files(folder, "builtin", tmp_path / "scores.csv", None, overrides, console)
    assert "9/9" in console.file.getvalue()
    assert "patches/s" in console.file.getvalue()


def test_the_real_patches_that_the_model_was_validated_on_give_what_its_card_says(
    shared_data: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.zip"
    with (
        zipfile.ZipFile(shared_data / "pcam" / "pcam-valid.zip") as all_of_them,
        zipfile.ZipFile(part, "w") as archive,
    ):
        for member in sorted(all_of_them.namelist())[::12]:
            if not member.endswith("/"):
                archive.writestr(member, all_of_them.read(member))
    result = call(part, "--out", tmp_path / "scores.csv", "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    low, high = metrics["auc_interval"]
    assert metrics["count"] > 200
    assert low < read_card(find_model("builtin")).metrics["validation_auc"] < high
