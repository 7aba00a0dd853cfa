import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slidepipe.classifier.card import CARD_NAME, WEIGHTS_NAME, ModelCard, check_pixel_size, read_card
from slidepipe.classifier.checkpoint import cached_model, load_model, save_model
from slidepipe.classifier.networks import PatchNetwork, build_network
from slidepipe.errors import ModelError
from slidepipe.geometry import PixelSize

CARD = ModelCard(
    architecture="compact",
    patch_px=64,
    mpp=0.5,
    mpp_range=(0.49, 0.51),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    weights_sha256="",
    training={"notes": ["µ"]},
    metrics={"validation_auc": 0.9, "epoch": 3},
    software={"torch": torch.__version__},
)


def random_network(seed: int) -> PatchNetwork:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return build_network("compact").to(memory_format=torch.channels_last)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", random_network(0), CARD)
    return tmp_path / "model"


def random_patches(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def change_card(folder: Path, **changes: object) -> None:
    path = folder / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_comes_back_as_it_was_saved(folder: Path) -> None:
    network = random_network(0).eval()
    classifier = load_model(folder, "cpu")
    assert classifier.card.training == CARD.training
    assert classifier.card.mpp_range == (0.49, 0.51)
    patches = random_patches(5)
    with torch.inference_mode():
        logits = network((torch.from_numpy(patches).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    np.testing.assert_allclose(classifier.probabilities(patches), torch.sigmoid(logits).numpy(), atol=1e-6)


def test_saving_the_same_network_twice_leaves_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "again", random_network(0), CARD)
    for name in (CARD_NAME, WEIGHTS_NAME):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_probability_depends_on_the_patch_alone_to_the_last_bit(folder: Path) -> None:
    classifier = load_model(folder, "cpu")
    patches = random_patches(64)
    expected = classifier.probabilities(patches[:32])
    order = np.random.default_rng(1).permutation(64)
    halves = [classifier.probabilities(patches[part]) for part in (order[:32], order[32:])]
    shuffled = np.concatenate(halves)
    first = order < 32
    assert np.array_equal(shuffled[first], expected[order[first]])


def test_no_patches_have_no_probabilities(folder: Path) -> None:
    assert load_model(folder, "cpu").probabilities(random_patches(0)).shape == (0,)


@pytest.mark.parametrize(
    "patches", [np.zeros((1, 65, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)]
)
def test_patches_of_another_shape_or_type_are_refused(folder: Path, patches: np.ndarray) -> None:
    with pytest.raises(ModelError, match="uint8 patches of shape"):
        load_model(folder, "cpu").probabilities(patches)


def test_a_changed_byte_of_the_weights_is_noticed(folder: Path) -> None:
    weights = bytearray((folder / WEIGHTS_NAME).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS_NAME).write_bytes(weights)
    with pytest.raises(ModelError, match="are not those of its card"):
        load_model(folder, "cpu")


@pytest.mark.parametrize("name", [CARD_NAME, WEIGHTS_NAME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_model(folder, "cpu")


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    change_card(folder, architecture="resnet18")
    with pytest.raises(ModelError, match="do not fit the network 'resnet18'"):
        load_model(folder, "cpu")


def test_weights_that_are_no_numbers_are_noticed(tmp_path: Path) -> None:
    network = random_network(0)
    torch.nn.init.constant_(network.head.bias, float("nan"))
    save_model(tmp_path, network, CARD)
    with pytest.raises(ModelError, match="answers NaN"):
        load_model(tmp_path, "cpu").probabilities(random_patches(1))


def test_a_card_of_another_version_is_refused_with_both_numbers(folder: Path) -> None:
    change_card(folder, format_version=99)
    with pytest.raises(ModelError, match="format version 99, this slidepipe reads 1"):
        read_card(folder)


@pytest.mark.parametrize("changes", [{"patch_px": "many"}, {"surprise": 1}, {"architecture": "vgg"}])
def test_a_card_with_a_wrong_or_unknown_field_is_refused(folder: Path, changes: dict[str, object]) -> None:
    change_card(folder, **changes)
    with pytest.raises(ModelError, match=next(iter(changes))):
        read_card(folder)


def test_a_card_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / CARD_NAME).write_text("{")
    with pytest.raises(ModelError, match="not a JSON file"):
        read_card(folder)


def test_a_worker_loads_a_model_once_and_notices_another_one(folder: Path) -> None:
    sha256 = read_card(folder).weights_sha256
    assert cached_model(str(folder), sha256, "cpu") is cached_model(str(folder), sha256, "cpu")
    save_model(folder, random_network(1), CARD)
    with pytest.raises(ModelError, match="was planned with"):
        cached_model(str(folder), "0" * 64, "cpu")


def test_pixels_of_the_two_scanners_fit_and_those_of_the_next_level_do_not() -> None:
    check_pixel_size(CARD, PixelSize(0.535, 0.535), "slide")
    with pytest.raises(ModelError, match=r"slide: pixels of 1 µm .* mpp 0.5"):
        check_pixel_size(CARD, PixelSize(1, 1), "slide")
    with pytest.raises(ModelError, match=r"pixels of 0.25 µm"):
        check_pixel_size(CARD, PixelSize(0.25, 0.25), "slide")
