"""The model in the package is whole, says what it is, and is as good as its card says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slidepipe.classifier.builtin import BUILTIN_MODEL, find_model
from slidepipe.classifier.card import CARD_NAME, WEIGHTS_NAME, read_card
from slidepipe.classifier.checkpoint import Classifier, load_model
from slidepipe.classifier.orientations import averaged_pass
from slidepipe.classifier.patch_files import find_patch_files, fingerprint_patches, read_patch_files
from slidepipe.classifier.patch_metrics import measure_patches
from slidepipe.config import load_config

CONFIG = Path(__file__).parents[2] / "configs" / "builtin-model.yaml"


@pytest.fixture(scope="module")
def model() -> Classifier:
    return load_model(find_model(BUILTIN_MODEL), "cpu")


def test_any_other_name_is_a_folder() -> None:
    assert find_model("somewhere/model") == Path("somewhere/model")


def test_the_weights_are_small_enough_to_be_shipped() -> None:
    folder = find_model(BUILTIN_MODEL)
    assert (folder / WEIGHTS_NAME).stat().st_size <= 6 * 2**20
    assert (folder / CARD_NAME).stat().st_size <= 2**16


def test_the_card_says_what_a_user_must_know() -> None:
    card = read_card(find_model(BUILTIN_MODEL))
    assert {"data", "licence", "use", "limits", "selection", "orientations"} <= set(card.about)
    assert "Apache-2.0" in card.about["licence"]
    assert "Research use only" in card.about["use"]
    assert card.mpp == 0.972
    low, high = card.metrics["validation_auc_interval"]
    assert low < card.metrics["validation_auc"] < high


def test_the_card_repeats_the_recipe_that_anybody_can_run() -> None:
    card, recipe = read_card(find_model(BUILTIN_MODEL)), load_config(CONFIG).train
    assert card.about == recipe.about
    assert card.architecture == recipe.architecture
    assert card.training["settings"]["epochs"] == recipe.epochs
    assert card.training["settings"]["augmentation"]["stain"] == recipe.augmentation.stain


def test_it_was_validated_on_these_patches_and_trained_on_others(shared_data: Path) -> None:
    training = read_card(find_model(BUILTIN_MODEL)).training
    for part, name in (("train", "pcam-train.zip"), ("validation", "pcam-valid.zip")):
        files = find_patch_files(shared_data / "pcam" / name)
        assert training[part]["fingerprint"] == fingerprint_patches(files)


def test_it_tells_tumour_from_normal_on_real_patches(model: Classifier, shared_data: Path) -> None:
    files = find_patch_files(shared_data / "pcam" / "pcam-valid.zip")
    chosen = range(0, len(files), 7)
    patches, is_tumour = (
        read_patch_files(files, chosen, model.card.patch_px),
        np.array(files.is_tumour)[chosen],
    )
    upright = measure_patches(is_tumour, model.probabilities(patches))
    assert upright.count > 400
    assert upright.auc > 0.945
    with torch.inference_mode():
        averaged = averaged_pass(model.patch_pass)(torch.from_numpy(patches)).numpy()
    assert measure_patches(is_tumour, averaged).auc > upright.auc
