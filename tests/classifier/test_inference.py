from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slidepipe.classifier.checkpoint import Classifier, load_model, save_model
from slidepipe.classifier.devices import torch_threads
from slidepipe.classifier.inference import classify_cells, modes_apart
from slidepipe.classifier.modes import gives_another_answer, resolve_mode
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.settings import LITE, Architecture, InferenceSettings
from slidepipe.errors import ModelError
from slidepipe.geometry import ceil_div
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.timing import Stopwatch

from .conftest import plain_card

STRIDE = 32
SIDE_PX = 640
PATCH, DENSE = InferenceSettings(mode="patch"), InferenceSettings(mode="dense")


@pytest.fixture(scope="module")
def make_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Classifier]:
    def make(architecture: Architecture, patch_px: int) -> Classifier:
        folder = tmp_path_factory.mktemp("model")
        card = plain_card(architecture, patch_px)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            network = build_network(architecture, patch_px)
            for layer in network.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.momentum = 0.1
            # Statistics of plain colours for the normalisation and a steep head: probabilities that differ widely.
            for _ in range(30):
                network(torch.rand(8, 3, 1, 1).expand(-1, -1, patch_px, patch_px) * 2 - 1)
            last = network.head.linear if architecture in LITE else network.head
            last.weight.data *= 8
            save_model(folder, network, card)
        return load_model(folder, "cpu")

    return make


@pytest.fixture(scope="module", params=["compact", "lite0", "lite0-enlarged"])
def classifier(make_classifier: Callable[..., Classifier], request: pytest.FixtureRequest) -> Classifier:
    return make_classifier(request.param, 65)


@pytest.fixture
def small_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slidepipe.classifier.inference._PADDED_AREA_PX", 64)


@pytest.fixture
def cells() -> NDArray[np.int64]:
    return np.argwhere(np.ones((20, 20), dtype=np.bool_))[::3].astype(np.int64)


def test_each_cell_is_looked_at_through_the_patch_centred_on_it(
    classifier: Classifier, store: TileStore, cells: NDArray[np.int64]
) -> None:
    patches = np.stack(
        [store.read_window(c * STRIDE - 17, r * STRIDE - 17, 65, 65) for r, c in cells.tolist()]
    )
    expected = classifier.probabilities(patches)
    assert len(np.unique(expected)) > 10
    np.testing.assert_allclose(classify_cells(classifier, store, cells, STRIDE, PATCH), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["patch", "dense"])
def test_neither_order_nor_company_changes_a_bit(
    classifier: Classifier, store: TileStore, cells: NDArray[np.int64], mode: Literal["patch", "dense"]
) -> None:
    settings = InferenceSettings(mode=mode, batch_size=16)
    expected = classify_cells(classifier, store, cells, STRIDE, settings)
    order = np.random.default_rng(0).permutation(len(cells))
    shuffled = classify_cells(classifier, store, cells[order], STRIDE, settings)
    assert np.array_equal(shuffled, expected[order])
    for part in np.array_split(np.arange(len(cells)), 5):
        assert np.array_equal(
            classify_cells(classifier, store, cells[part], STRIDE, settings), expected[part]
        )


@pytest.mark.parametrize("stride", [8, 24, 32, 56])
def test_both_modes_of_an_unpadded_network_agree_at_every_cell(
    classifier: Classifier, store: TileStore, stride: int
) -> None:
    rows = ceil_div(SIDE_PX, stride)
    every = np.argwhere(np.ones((rows, rows), dtype=np.bool_)).astype(np.int64)
    # All cells of the edge, where patches reach beyond the slide, and a share of the others.
    chosen = every[((every == 0) | (every == rows - 1)).any(axis=1) | (np.arange(len(every)) % 5 == 0)]
    dense = classify_cells(classifier, store, chosen, stride, DENSE)
    patch = classify_cells(classifier, store, chosen, stride, PATCH)
    assert np.ptp(patch) > 0.1
    np.testing.assert_allclose(dense, patch, rtol=0, atol=1e-5)


def test_dense_mode_reads_only_areas_with_wanted_cells(
    classifier: Classifier, store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    corners: list[list[int]] = []
    read_windows = TileStore.read_windows

    def note(
        self: TileStore, wanted: NDArray[np.int64], width: int, height: int, out: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        corners.extend(wanted.tolist())
        return read_windows(self, wanted, width, height, out)

    monkeypatch.setattr(TileStore, "read_windows", note)
    classify_cells(
        classifier, store, np.array([(1, 17), (1, 18), (3, 17)]), STRIDE, replace(DENSE, batch_size=1)
    )
    assert corners == [[512 - 17, -17]]


def test_the_work_is_timed_part_by_part(
    classifier: Classifier, store: TileStore, cells: NDArray[np.int64]
) -> None:
    watch = Stopwatch()
    classify_cells(classifier, store, cells, STRIDE, PATCH, watch)
    assert set(watch.seconds) == {"forward", "read", "wait"}
    assert watch.seconds["forward"] > 0


def test_no_cells_have_no_probabilities(classifier: Classifier, store: TileStore) -> None:
    assert classify_cells(classifier, store, np.zeros((0, 2), np.int64), STRIDE).shape == (0,)


def test_a_slide_of_other_pixels_is_refused(
    classifier: Classifier, make_store: Callable[..., Path], cells: NDArray[np.int64]
) -> None:
    store = open_tile_store(make_store("coarse", pixel_um=1.0))
    with pytest.raises(ModelError, match="coarse: pixels"):
        classify_cells(classifier, store, cells, STRIDE)


@pytest.mark.parametrize("settings", [PATCH, DENSE])
def test_the_number_of_threads_changes_no_bit(
    classifier: Classifier, store: TileStore, cells: NDArray[np.int64], settings: InferenceSettings
) -> None:
    results = []
    for threads in (1, 2):
        with torch_threads(threads):
            results.append(classify_cells(classifier, store, cells, STRIDE, settings))
    assert np.array_equal(*results)


@pytest.mark.parametrize(("architecture", "widest"), [("compact", 48), ("lite0", 48), ("lite0-enlarged", 32)])
def test_auto_is_dense_up_to_the_stride_at_which_a_network_gains(
    classifier: Classifier, architecture: str, widest: int
) -> None:
    card = replace(classifier.card, architecture=architecture, patch_px=96)
    assert resolve_mode("auto", card, widest) == "dense"
    assert resolve_mode("auto", card, widest + 8) == "patch"


def test_a_stride_between_features_is_refused_in_dense_mode_only(classifier: Classifier) -> None:
    card = replace(classifier.card, patch_px=96)
    with pytest.raises(ModelError, match=r"multiple of [48] px, got 18"):
        resolve_mode("dense", card, 18)
    assert resolve_mode("auto", card, 18) == "patch"
    assert resolve_mode("auto", card, 24) == "dense"
    assert resolve_mode("auto", card, 64) == "patch"
    assert resolve_mode("auto", replace(card, architecture="resnet18"), 32) == "patch"


@pytest.mark.usefixtures("small_areas")
def test_a_network_that_pads_is_another_predictor_when_dense(
    make_classifier: Callable[..., Classifier], store: TileStore, cells: NDArray[np.int64]
) -> None:
    resnet = make_classifier("resnet18", 64)
    assert gives_another_answer("dense", resnet.card, STRIDE)
    assert not gives_another_answer("auto", resnet.card, STRIDE)
    dense = classify_cells(resnet, store, cells[:3], STRIDE, DENSE)
    apart = modes_apart(resnet, store, cells[:3], dense, STRIDE, DENSE)
    patch = classify_cells(resnet, store, cells[:1], STRIDE, replace(PATCH, batch_size=1))
    assert apart["cells"] == 1
    assert apart["largest"] == pytest.approx(abs(float(patch[0]) - float(dense[0])), abs=1e-6)
    assert apart["largest"] > 0


def test_the_margin_makes_areas_of_a_network_that_pads_seamless(
    make_classifier: Callable[..., Classifier], store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    resnet = make_classifier("resnet18", 64)
    cells = np.argwhere(np.ones((8, 8), dtype=np.bool_)).astype(np.int64) + 8
    monkeypatch.setattr("slidepipe.classifier.inference._PADDED_AREA_PX", 256)
    whole = classify_cells(resnet, store, cells, STRIDE, DENSE)
    monkeypatch.setattr("slidepipe.classifier.inference._PADDED_AREA_PX", 128)
    np.testing.assert_allclose(classify_cells(resnet, store, cells, STRIDE, DENSE), whole, rtol=0, atol=1e-6)
