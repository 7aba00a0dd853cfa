"""Forward passes by ONNX Runtime, on the CPU: exported from Torch when they are first needed, kept for the process.

It agrees with Torch to 1e-5 in probability, and is faster by as much as a network spends outside of its convolutions:
little for ``compact``, much for networks of many small layers, such as mobile ones of timm.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from slidepipe.errors import ModelError

try:
    import onnxruntime as _onnxruntime
    import onnxscript as _onnxscript  # what Torch exports with
except ImportError:
    _onnxruntime = _onnxscript = None

onnxruntime: Any = _onnxruntime if _onnxscript is not None else None

_log = logging.getLogger(__name__)


@lru_cache(maxsize=4)
def onnx_pass(
    module: nn.Module, shape: tuple[int, ...], threads: int
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Export a pass and make it ready to run.

    Parameters
    ----------
    module
        A pass, on the CPU.
    shape
        Shape of the pixels; all that it is given later have the same.
    threads
        CPU threads.

    Returns
    -------
    Callable
        Takes uint8 pixels of that shape and gives probabilities.

    Raises
    ------
    ModelError
        If ONNX Runtime is not installed, or the network cannot be exported.
    """
    if onnxruntime is None:
        raise ModelError(
            "inference.runtime is onnxruntime, which is not installed: pip install 'slidepipe[onnx]', or set "
            "inference.runtime to torch"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        _export(module, shape), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    _log.info("network exported to ONNX Runtime %s for pixels of shape %s", onnxruntime.__version__, shape)

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = session.run(None, {name: pixels})[0]
        return probabilities

    return run


def _export(module: nn.Module, shape: tuple[int, ...]) -> bytes:
    """Write a pass as ONNX.

    Raises
    ------
    ModelError
        If it is made of something that ONNX does not know.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = torch.zeros(shape, dtype=torch.uint8)
            program = torch.onnx.export(module, (pixels,), dynamo=True, verbose=False)
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ModelError(
                f"the network cannot be exported to ONNX ({error}): set inference.runtime to torch"
            ) from error
    if program is None:
        raise ModelError("the network cannot be exported to ONNX: set inference.runtime to torch")
    content: bytes = program.model_proto.SerializeToString()
    return content
