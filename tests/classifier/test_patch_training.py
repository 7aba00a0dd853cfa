import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slidepipe.classifier.card import read_card
from slidepipe.classifier.checkpoint import load_model
from slidepipe.classifier.patch_training import fingerprint_sources, train_on_patches
from slidepipe.classifier.settings import AugmentationSettings, PatchSettings, TrainSettings
from slidepipe.errors import ConfigError, ModelError, PatchFileError

SIDE = 80


def write_patches(path: Path, count: int, seed: int, side: int = SIDE) -> str:
    """Write patches, half of them with a dark square in the middle and called tumour."""
    random = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            pixels = random.integers(190, 230, (side, side, 3), dtype=np.uint8)
            if number % 2:
                pixels[24:56, 24:56] = random.integers(90, 130, (32, 32, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            archive.writestr(f"{number % 2}/{number:03d}.png", stream.getvalue())
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        architecture="symmetric",
        patches=PatchSettings(patch_px=SIDE, mpp=0.9),
        augmentation=AugmentationSettings(shift_px=2, stain=0.1),
        patches_per_epoch=32,
        batch_size=8,
        epochs=3,
        optimiser="muon",
        learning_rate=0.01,
        weight_averaging=0.9,
        keep="last",
        threads=1,
        device="cpu",
        files=write_patches(tmp_path / "train.zip", 40, 1),
        validation_files=write_patches(tmp_path / "valid.zip", 20, 2),
        about={"licence": "CC0"},
    )


def test_a_network_learns_from_patches_and_its_card_says_which(
    settings: TrainSettings, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    summary = train_on_patches(settings, tmp_path / "model", events.append)
    assert [event["epoch"] for event in events] == [1, 2, 3]
    metrics = summary["metrics"]
    assert metrics["epoch"] == metrics["epochs"] == 3
    assert metrics["validation_auc"] > 0.95
    assert metrics["validation_patches"] == 20
    low, high = metrics["validation_accuracy_interval"]
    assert low < metrics["validation_accuracy"] < high or high == 1

    card = read_card(tmp_path / "model")
    assert (card.mpp, card.mpp_range, card.patch_px) == (0.9, (0.9, 0.9), SIDE)
    assert card.about == {"licence": "CC0"}
    train, validation = fingerprint_sources(settings)
    assert card.training["train"] == {"patches": 40, "tumour_patches": 20, "fingerprint": train}
    assert card.training["validation"]["fingerprint"] == validation
    assert str(tmp_path) not in (tmp_path / "model" / "model.json").read_text()

    pixels = np.full((2, SIDE, SIDE, 3), 210, dtype=np.uint8)
    pixels[1, 24:56, 24:56] = 110
    normal, tumour = load_model(tmp_path / "model", "cpu").probabilities(pixels)
    assert normal < tumour


def test_the_same_patches_give_the_same_bytes(settings: TrainSettings, tmp_path: Path) -> None:
    settings = replace(settings, epochs=1)
    for name in ("first", "second"):
        train_on_patches(settings, tmp_path / name)
    train_on_patches(replace(settings, seed=1), tmp_path / "other")
    first, second, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second", "other")
    )
    assert first == second
    assert first != other


def test_mixed_patches_give_another_model_that_learns_too(settings: TrainSettings, tmp_path: Path) -> None:
    mixed = train_on_patches(replace(settings, mixup=0.2), tmp_path / "mixed")
    plain = train_on_patches(settings, tmp_path / "plain")
    assert mixed["weights_sha256"] != plain["weights_sha256"]
    assert mixed["metrics"]["validation_auc"] > 0.9
    assert read_card(tmp_path / "mixed").training["settings"]["mixup"] == 0.2


def test_averaged_weights_are_not_those_of_the_last_step(settings: TrainSettings, tmp_path: Path) -> None:
    settings = replace(settings, epochs=1)
    train_on_patches(settings, tmp_path / "averaged")
    train_on_patches(replace(settings, weight_averaging=0.0), tmp_path / "last")
    averaged, last = (read_card(tmp_path / name).weights_sha256 for name in ("averaged", "last"))
    assert averaged != last


@pytest.mark.parametrize("missing", ["files", "validation_files", "mpp"])
def test_what_files_do_not_record_must_be_said(settings: TrainSettings, tmp_path: Path, missing: str) -> None:
    if missing == "mpp":
        settings = replace(settings, patches=replace(settings.patches, mpp=None))
    else:
        settings = replace(settings, **{missing: None})
    with pytest.raises(ConfigError, match=r"patches\.mpp"):
        train_on_patches(settings, tmp_path / "model")


def test_patches_of_another_size_are_refused(settings: TrainSettings, tmp_path: Path) -> None:
    settings = replace(settings, patches=replace(settings.patches, patch_px=96))
    with pytest.raises(PatchFileError, match="80 × 80 px, but patches of 96"):
        train_on_patches(settings, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_patches_without_a_class_are_refused(settings: TrainSettings, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "a") as archive:
        archive.writestr("loose.png", b"")
    with pytest.raises(ModelError, match=r"1 patches, such as loose\.png, lie in no folder"):
        train_on_patches(settings, tmp_path / "model")


def test_patches_of_one_class_alone_are_refused(settings: TrainSettings, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("0/a.png", b"")
    with pytest.raises(ModelError, match="all 1 patches are of one class"):
        train_on_patches(settings, tmp_path / "model")
