"""Networks of timm are built by name, trained and applied like our own, and fetched from nowhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidepipe.classifier import timm_networks
from slidepipe.classifier.card import read_card
from slidepipe.classifier.checkpoint import load_model
from slidepipe.classifier.modes import resolve_mode
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.points import TrainingSlide
from slidepipe.classifier.settings import PatchSettings, TrainSettings
from slidepipe.classifier.training import train_classifier
from slidepipe.errors import ConfigError, ModelError


def test_a_network_of_timm_is_trained_and_applied(
    make_slide: Callable[..., TrainingSlide], tmp_path: Path
) -> None:
    pytest.importorskip("timm")
    settings = TrainSettings(
        architecture="timm/resnet10t",
        patches=PatchSettings(patch_px=64),
        patches_per_epoch=8,
        validation_patches=8,
        batch_size=4,
        epochs=1,
        device="cpu",
        threads=1,
    )
    slides = [
        make_slide(f"{kind}_{number}", seed=number) for kind in ("tumor", "normal") for number in range(2)
    ]
    train_classifier(slides, settings, tmp_path / "model")
    assert read_card(tmp_path / "model").architecture == "timm/resnet10t"
    model = load_model(tmp_path / "model", "cpu")
    probability = model.probabilities(
        np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3)).astype(np.uint8)
    )
    assert probability.shape == (3,)
    assert len(np.unique(probability)) == 3
    assert resolve_mode("auto", model.card, 32) == "patch"


def test_a_network_that_timm_does_not_know_is_refused() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ModelError, match="no network called 'resnet9000'"):
        build_network("timm/resnet9000")


def test_without_timm_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_networks, "timm", None)
    with pytest.raises(ModelError, match="pip install timm"):
        build_network("timm/resnet34")


def test_a_name_of_nobody_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match="compact, lite0, lite0-enlarged, resnet18"):
        TrainSettings(architecture="vgg")
