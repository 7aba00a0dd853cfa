import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slidepipe.classifier.card import read_card
from slidepipe.classifier.checkpoint import load_model
from slidepipe.classifier.points import TrainingSlide
from slidepipe.classifier.settings import PatchSettings, TrainSettings
from slidepipe.classifier.training import train_classifier
from slidepipe.classifier.training_history import EVENTS_NAME, HISTORY_NAME, PLOT_NAME
from slidepipe.classifier.unfinished import UNFINISHED_NAME
from slidepipe.errors import ModelError

SETTINGS = TrainSettings(
    patches=PatchSettings(patch_px=64),
    patches_per_epoch=96,
    validation_patches=64,
    batch_size=16,
    epochs=2,
    threads=1,
    device="cpu",
)
MakeSlide = Callable[..., TrainingSlide]


@pytest.fixture
def slides(make_slide: MakeSlide) -> list[TrainingSlide]:
    names = ("normal_1", "normal_2", "tumor_1", "tumor_2")
    return [make_slide(name, centre="0", seed=i) for i, name in enumerate(names)]


def test_a_network_learns_tumour_and_is_written_with_its_card(
    slides: list[TrainingSlide], tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    random_before = torch.get_rng_state()
    settings = replace(SETTINGS, patches_per_epoch=480)
    summary = train_classifier(slides, settings, tmp_path / "model", events.append)

    assert torch.equal(torch.get_rng_state(), random_before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert summary["metrics"]["validation_auc"] > 0.98
    card = read_card(tmp_path / "model")
    assert card.weights_sha256 == summary["weights_sha256"]
    assert card.mpp == pytest.approx(0.5)
    assert card.training["split_by"] == "slide"
    assert card.training["notes"] == []
    assert set(card.training["train"]) | set(card.training["validation"]) == {s.slide_id for s in slides}
    assert str(tmp_path) not in (tmp_path / "model" / "model.json").read_text()

    with (tmp_path / "model" / HISTORY_NAME).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = rows[summary["metrics"]["epoch"] - 1]
    assert float(best["validation_auc"]) == summary["metrics"]["validation_auc"]
    assert [event["event"] for event in events] == ["batch", "epoch", "batch", "epoch"]
    assert events[0]["patches_per_second"] > 0
    assert all(0 <= event["waiting_share"] < 1 for event in events if event["event"] == "epoch")
    assert set(summary["parts_s"]) == {"read", "train", "validate", "wait"}
    assert not (tmp_path / "model" / UNFINISHED_NAME).exists()

    pixels = np.full((2, 64, 64, 3), (225, 150, 195), dtype=np.uint8)
    pixels[1] = (130, 80, 160)
    normal, tumour = load_model(tmp_path / "model", "cpu").probabilities(pixels)
    assert normal < tumour


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    slides: list[TrainingSlide], tmp_path: Path
) -> None:
    settings = replace(SETTINGS, patches_per_epoch=48, validation_patches=32)
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        train_classifier(slides, replace(settings, seed=seed), tmp_path / name)
    for file in ("model.safetensors", "model.json", HISTORY_NAME, EVENTS_NAME, PLOT_NAME):
        content = (tmp_path / "first" / file).read_bytes()
        assert content == (tmp_path / "second" / file).read_bytes()
        assert content != (tmp_path / "other" / file).read_bytes()


def test_two_slides_are_validated_by_region_and_the_card_says_so(
    make_slide: MakeSlide, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slides = [make_slide("normal_1"), make_slide("tumor_1", pixel_um=0.52)]
    summary = train_classifier(slides, replace(SETTINGS, epochs=1), tmp_path)
    assert summary["training"]["split_by"] == "region"
    split, pixels = summary["training"]["notes"]
    assert "too good" in split
    assert "0.5 to 0.52 µm" in pixels
    assert split in caplog.text


def test_training_stops_when_validation_no_longer_improves(
    slides: list[TrainingSlide], tmp_path: Path
) -> None:
    # Steps too small to change an AUC: the first epoch stays the best, or nearly.
    settings = replace(SETTINGS, epochs=12, patience=1, learning_rate=1e-12, patches_per_epoch=32)
    metrics = train_classifier(slides, settings, tmp_path)["metrics"]
    assert metrics["epochs"] < 12
    assert metrics["epochs"] == metrics["epoch"] + 1


def test_an_unannotated_tumour_slide_is_recorded_as_unused(
    slides: list[TrainingSlide], make_slide: MakeSlide, tmp_path: Path
) -> None:
    extra = replace(make_slide("tumor_3"), annotation=None)
    training = train_classifier([*slides, extra], replace(SETTINGS, epochs=1), tmp_path)["training"]
    assert training["unused"] == {"tumor_3": "no annotation"}


def test_without_a_tumour_patch_nothing_is_written(slides: list[TrainingSlide], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tumour patch"):
        train_classifier(slides[:2], SETTINGS, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_slide_listed_twice_is_refused(slides: list[TrainingSlide], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="more than once for training: normal_1"):
        train_classifier([*slides, slides[0]], SETTINGS, tmp_path)


def test_a_loss_that_is_no_number_stops_training(slides: list[TrainingSlide], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="training diverged in epoch"):
        train_classifier(slides, replace(SETTINGS, learning_rate=1e30, epochs=4), tmp_path / "model")
    assert not (tmp_path / "model" / "model.safetensors").exists()
