"""Test-time augmentation is the mean over the eight orientations of each patch, in both modes."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slidepipe.classifier.checkpoint import Classifier, load_model, save_model
from slidepipe.classifier.inference import classify_cells
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.orientations import AveragedPass
from slidepipe.classifier.pass_running import pass_runner
from slidepipe.classifier.passes import DensePass, PatchPass
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.errors import ModelError
from slidepipe.tiles.store import TileStore

from .conftest import plain_card

STRIDE = 32
AVERAGED = InferenceSettings(mode="patch", test_time_augmentation="dihedral", batch_size=16)


@pytest.fixture
def make_classifier(tmp_path: Path) -> Callable[..., Classifier]:
    def make(architecture: str, patch_px: int) -> Classifier:
        card = plain_card(architecture, patch_px)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            network = build_network(architecture, patch_px)
            for _ in range(20):
                network(torch.rand(8, 3, 1, 1).expand(-1, -1, patch_px, patch_px) * 2 - 1)
            getattr(network.head, "linear", network.head).weight.data *= 8
        save_model(tmp_path / architecture, network, card)
        return load_model(tmp_path / architecture, "cpu")

    return make


@pytest.fixture
def cells() -> NDArray[np.int64]:
    return np.argwhere(np.ones((20, 20), dtype=np.bool_))[::5].astype(np.int64)


def eight_ways(patches: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    turned = [np.rot90(patches, turns, axes=(1, 2)).copy() for turns in range(4)]
    return turned + [each[:, :, ::-1].copy() for each in turned]


def test_every_patch_gets_the_mean_over_its_eight_orientations(
    make_classifier: Callable[..., Classifier], store: TileStore, cells: NDArray[np.int64]
) -> None:
    classifier = make_classifier("compact", 65)
    patches = np.stack(
        [store.read_window(c * STRIDE - 17, r * STRIDE - 17, 65, 65) for r, c in cells.tolist()]
    )
    by_hand = np.mean([classifier.probabilities(turned) for turned in eight_ways(patches)], axis=0)
    averaged = classify_cells(classifier, store, cells, STRIDE, AVERAGED)
    np.testing.assert_allclose(averaged, by_hand, rtol=0, atol=1e-5)
    plain = classify_cells(classifier, store, cells, STRIDE, replace(AVERAGED, test_time_augmentation="none"))
    assert np.abs(averaged - plain).max() > 1e-3


@pytest.mark.parametrize("stride", [24, 32])
def test_it_leaves_dense_mode_exact(
    make_classifier: Callable[..., Classifier], store: TileStore, stride: int
) -> None:
    classifier = make_classifier("compact", 65)
    cells = np.argwhere(np.ones((20, 20), dtype=np.bool_))[::3].astype(np.int64)
    dense = classify_cells(classifier, store, cells, stride, replace(AVERAGED, mode="dense"))
    patch = classify_cells(classifier, store, cells, stride, AVERAGED)
    assert np.ptp(patch) > 0.1
    np.testing.assert_allclose(dense, patch, rtol=0, atol=1e-5)


def test_neither_order_nor_company_changes_a_bit_of_it(
    make_classifier: Callable[..., Classifier], store: TileStore, cells: NDArray[np.int64]
) -> None:
    classifier, dense = make_classifier("compact", 65), replace(AVERAGED, mode="dense")
    together = classify_cells(classifier, store, cells, STRIDE, dense)
    for part in np.array_split(np.random.default_rng(0).permutation(len(cells)), 3):
        assert np.array_equal(classify_cells(classifier, store, cells[part], STRIDE, dense), together[part])


def test_the_margin_of_an_area_takes_no_part(make_classifier: Callable[..., Classifier]) -> None:
    patch_pass = make_classifier("compact", 65).patch_pass
    assert isinstance(patch_pass, PatchPass)
    side, margin = 65 + 2 * STRIDE, 32
    area = np.random.default_rng(0).integers(0, 256, (2, side + 2 * margin, side + 2 * margin, 3), np.uint8)
    area[:, :, : side // 2] //= 4
    inner = np.ascontiguousarray(area[:, margin:-margin, margin:-margin])
    with torch.inference_mode():
        wide, narrow = (
            AveragedPass(DensePass(patch_pass, 65, Fraction(8), STRIDE, around))(
                torch.from_numpy(pixels)
            ).numpy()
            for pixels, around in ((area, margin), (inner, 0))
        )
    assert wide.shape == narrow.shape == (2, 3, 3)
    assert np.ptp(narrow) > 1e-3
    np.testing.assert_allclose(wide, narrow, rtol=0, atol=1e-5)


def test_it_changes_nothing_for_a_network_that_sees_all_orientations_alike(
    make_classifier: Callable[..., Classifier],
) -> None:
    classifier = make_classifier("symmetric", 96)
    patches = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    patches[3:] = np.sort(patches[3:], axis=1)
    plain = classifier.probabilities(patches)
    assert np.ptp(plain) > 1e-3
    with torch.inference_mode():
        averaged = AveragedPass(classifier.patch_pass)(torch.from_numpy(patches)).numpy()
    np.testing.assert_allclose(averaged, plain, rtol=0, atol=1e-5)
    run = pass_runner(classifier, classifier.patch_pass, patches.shape, AVERAGED)
    assert np.array_equal(run(patches), plain)


def test_sixteen_bits_are_for_torch_alone(make_classifier: Callable[..., Classifier]) -> None:
    classifier, settings = make_classifier("compact", 65), InferenceSettings(precision="bfloat16")
    patches = np.random.default_rng(0).integers(0, 256, (4, 65, 65, 3), dtype=np.uint8)
    half = pass_runner(classifier, classifier.patch_pass, patches.shape, settings)(patches)
    whole = classifier.probabilities(patches)
    assert not np.array_equal(half, whole)
    np.testing.assert_allclose(half, whole, rtol=0, atol=0.1)
    with pytest.raises(ModelError, match=r"inference\.precision is bfloat16"):
        pass_runner(
            classifier, classifier.patch_pass, patches.shape, replace(settings, runtime="onnxruntime")
        )
