from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.checkpoint import Classifier, load_model, save_model
from slidepipe.classifier.devices import torch_threads
from slidepipe.classifier.inference import classify_cells
from slidepipe.classifier.networks import build_network
from slidepipe.errors import ModelError
from slidepipe.tiles.store import TileStore, open_tile_store

STRIDE = 32


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("model")
    card = ModelCard(
        architecture="compact",
        patch_px=65,
        mpp=0.5,
        mpp_range=(0.5, 0.5),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        weights_sha256="",
        training={},
        metrics={},
        software={},
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        save_model(folder, build_network("compact"), card)
    return load_model(folder, "cpu")


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
    np.testing.assert_allclose(classify_cells(classifier, store, cells, STRIDE), expected, atol=1e-6)


@pytest.mark.parametrize("window_px", [64, 300, 4096])
def test_neither_order_nor_company_nor_window_changes_a_bit(
    classifier: Classifier,
    store: TileStore,
    cells: NDArray[np.int64],
    window_px: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = classify_cells(classifier, store, cells, STRIDE, batch_size=16)
    monkeypatch.setattr("slidepipe.classifier.inference._WINDOW_PX", window_px)
    order = np.random.default_rng(0).permutation(len(cells))
    shuffled = classify_cells(classifier, store, cells[order], STRIDE, batch_size=16)
    assert np.array_equal(shuffled, expected[order])
    for part in np.array_split(np.arange(len(cells)), 5):
        assert np.array_equal(
            classify_cells(classifier, store, cells[part], STRIDE, batch_size=16), expected[part]
        )


def test_progress_counts_to_the_last_cell(
    classifier: Classifier, store: TileStore, cells: NDArray[np.int64]
) -> None:
    counts: list[int] = []
    classify_cells(classifier, store, cells, STRIDE, 64, counts.append)
    assert counts == [64, 128, 134]


def test_no_cells_have_no_probabilities(classifier: Classifier, store: TileStore) -> None:
    assert classify_cells(classifier, store, np.zeros((0, 2), np.int64), STRIDE).shape == (0,)


def test_a_slide_of_other_pixels_is_refused(
    classifier: Classifier, make_store: Callable[..., Path], cells: NDArray[np.int64]
) -> None:
    store = open_tile_store(make_store("coarse", pixel_um=1.0))
    with pytest.raises(ModelError, match="coarse: pixels"):
        classify_cells(classifier, store, cells, STRIDE)


def test_the_number_of_threads_changes_no_bit(
    classifier: Classifier, store: TileStore, cells: NDArray[np.int64]
) -> None:
    results = []
    for threads in (1, 2):
        with torch_threads(threads):
            results.append(classify_cells(classifier, store, cells, STRIDE))
    assert np.array_equal(*results)
