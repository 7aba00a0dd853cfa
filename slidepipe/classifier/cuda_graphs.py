"""Forward passes as CUDA graphs: recorded once for a shape of pixels, then started as a whole.

A small network is computed by a modern GPU faster than Python can start its layers one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from slidepipe.classifier.passes import run_pass

_log = logging.getLogger(__name__)

_WARM_UP = 3
"""Passes before the one that is recorded, in which libraries choose their algorithms and take their memory."""
_TOLERANCE = 1e-3
"""Largest difference in probability from a pass that is not recorded, on noise."""

Pixels = NDArray[np.uint8] | torch.Tensor


@lru_cache(maxsize=4)
def graph_pass(
    module: nn.Module, shape: tuple[int, ...], device: torch.device, precision: torch.dtype
) -> Callable[[Pixels], NDArray[np.float32]]:
    """Record a pass and make it ready to run.

    Parameters
    ----------
    module
        A pass, on `device`.
    shape
        Shape of the pixels; all that it is given later have the same.
    device
        A CUDA device.
    precision
        Numbers to compute with where they do.

    Returns
    -------
    Callable
        Takes uint8 pixels of that shape from anywhere and gives probabilities. The pass as it is, where it cannot be
        recorded or gives other probabilities then; the log says so.
    """

    def run_unrecorded(pixels: Pixels) -> NDArray[np.float32]:
        return run_pass(module, pixels, device, precision)

    try:
        run = _record(module, shape, device, precision)
        noise = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        apart = float(np.abs(run(noise) - run_unrecorded(noise)).max())
    except RuntimeError as error:
        _log.warning("this network runs without CUDA graphs, it cannot be recorded: %s", error)
        return run_unrecorded
    # Not a number is no small difference either.
    if not apart <= _TOLERANCE:
        _log.warning("this network runs without CUDA graphs, with them it is %g apart", apart)
        return run_unrecorded
    return run


def _record(
    module: nn.Module, shape: tuple[int, ...], device: torch.device, precision: torch.dtype
) -> Callable[[Pixels], NDArray[np.float32]]:
    """Record a pass.

    Raises
    ------
    RuntimeError
        If it does what cannot be recorded, such as to wait for the device.
    """
    # Weights that autocast keeps from one pass to the next would lie outside of the recording.
    computing = torch.autocast(
        device.type, precision, enabled=precision != torch.float32, cache_enabled=False
    )
    with torch.inference_mode(), torch.cuda.device(device), computing:
        given = torch.zeros(shape, dtype=torch.uint8, device=device)
        stream, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                module(given)
        # Other threads may decode tiles on the device meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            answer = module(given)
    alone = Lock()

    def run(pixels: Pixels) -> NDArray[np.float32]:
        with alone, torch.inference_mode(), torch.cuda.device(device):
            given.copy_(torch.as_tensor(pixels), non_blocking=True)
            graph.replay()
            probabilities: NDArray[np.float32] = answer.cpu().numpy()
        return probabilities

    return run
