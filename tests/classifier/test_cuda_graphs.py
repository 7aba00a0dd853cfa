"""Passes as CUDA graphs: where there is no CUDA device, what is done when one cannot record or records wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slidepipe.classifier import cuda_graphs
from slidepipe.classifier.checkpoint import Classifier, load_model, save_model
from slidepipe.classifier.cuda_graphs import graph_pass
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.pass_running import pass_runner
from slidepipe.classifier.passes import PatchPass, run_pass
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.errors import ModelError

from .conftest import plain_card

CPU, CUDA, SHAPE = torch.device("cpu"), torch.device("cuda"), (4, 65, 65, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)


def _pass() -> PatchPass:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network("compact").eval()
        network.head.weight.data *= 8
    return PatchPass(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).eval()


def _refuse(*_: Any) -> None:
    raise RuntimeError("operation not permitted when stream is capturing")


def _record_wrongly(module: nn.Module, shape: tuple[int, ...], *_: Any) -> Callable[[Any], Any]:
    return lambda pixels: np.full(shape[0], np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("record", "reason"), [(_refuse, "when stream is capturing"), (_record_wrongly, "nan apart")]
)
def test_a_pass_that_cannot_be_recorded_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record: Callable[..., Any],
    reason: str,
) -> None:
    monkeypatch.setattr(cuda_graphs, "_record", record)
    module = _pass()
    run = graph_pass(module, SHAPE, CPU, torch.float32)
    np.testing.assert_array_equal(run(PIXELS), run_pass(module, PIXELS, CPU))
    assert reason in caplog.text


def test_a_cpu_has_no_cuda_graphs(tmp_path: Path) -> None:
    save_model(tmp_path, build_network("compact"), plain_card("compact", 65))
    classifier: Classifier = load_model(tmp_path, "cpu")
    with pytest.raises(ModelError, match="the device is cpu"):
        pass_runner(classifier, classifier.patch_pass, SHAPE, InferenceSettings(runtime="cuda-graphs"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_a_recorded_pass_gives_what_the_pass_gives(
    caplog: pytest.LogCaptureFixture, precision: torch.dtype
) -> None:
    module = _pass().to(CUDA)
    run = graph_pass(module, SHAPE, CUDA, precision)
    for pixels in (PIXELS, PIXELS[::-1].copy()):
        expected = run_pass(module, pixels, CUDA, precision)
        np.testing.assert_allclose(run(pixels), expected, rtol=0, atol=1e-3)
        assert np.ptp(expected) > 0.01
    assert not caplog.records
