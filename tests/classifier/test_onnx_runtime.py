"""ONNX Runtime gives what Torch gives, in both modes, and is never used unasked."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from slidepipe.classifier import onnx_runtime
from slidepipe.classifier.checkpoint import Classifier, load_model, save_model
from slidepipe.classifier.inference import classify_cells
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.errors import ModelError
from slidepipe.tiles.store import TileStore

from .conftest import plain_card

CELLS = np.argwhere(np.ones((9, 9), dtype=np.bool_)).astype(np.int64) + 4


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    card = replace(plain_card("compact", 65), mean=(0.5, 0.4, 0.6), std=(0.5, 0.3, 0.2))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network("compact")
        for _ in range(20):
            network(torch.rand(8, 3, 1, 1).expand(-1, -1, 65, 65) * 2 - 1)
        network.head.weight.data *= 8
    save_model(tmp_path, network, card)
    return load_model(tmp_path, "cpu")


@pytest.mark.parametrize("mode", ["patch", "dense"])
def test_both_runtimes_agree(
    classifier: Classifier, store: TileStore, mode: Literal["patch", "dense"]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    settings = InferenceSettings(mode=mode, batch_size=16)
    by_torch = classify_cells(classifier, store, CELLS, 32, settings)
    by_onnx = classify_cells(classifier, store, CELLS, 32, replace(settings, runtime="onnxruntime"))
    assert np.ptp(by_torch) > 0.1
    np.testing.assert_allclose(by_onnx, by_torch, rtol=0, atol=1e-5)


def test_without_onnx_runtime_it_is_said_what_to_install(
    classifier: Classifier, store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_runtime, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"slidepipe\[onnx\]"):
        classify_cells(classifier, store, CELLS, 32, InferenceSettings(runtime="onnxruntime"))
