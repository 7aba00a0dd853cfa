"""What runs a forward pass, as the settings of inference say: how often, with which numbers, by which runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from slidepipe.classifier.checkpoint import Classifier
from slidepipe.classifier.cuda_graphs import graph_pass
from slidepipe.classifier.onnx_runtime import onnx_pass
from slidepipe.classifier.orientations import averaged_pass
from slidepipe.classifier.passes import run_pass
from slidepipe.classifier.precision import inference_precision
from slidepipe.classifier.settings import INVARIANT, InferenceSettings
from slidepipe.errors import ModelError

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Takes pixels of one shape, gives probabilities."""

_CPU_BATCH, _BATCH = 16, 64
"""Patches per pass. What a network keeps between its layers grows with them. Pieces of more than 32 MiB the system maps
and clears anew with each pass: with 64 patches a third of the time of ``lite0``, half of that of
``lite0-enlarged``."""


def patches_per_pass(settings: InferenceSettings, device: torch.device) -> int:
    """Say how many patches a pass takes.

    Parameters
    ----------
    settings
        Which may leave it open.
    device
        Where it computes.

    Returns
    -------
    int
        1 or more.
    """
    return settings.batch_size or (_CPU_BATCH if device.type == "cpu" else _BATCH)


def pass_runner(
    classifier: Classifier, one_pass: torch.nn.Module, shape: tuple[int, ...], settings: InferenceSettings
) -> Run:
    """Choose what runs a pass.

    Parameters
    ----------
    classifier
        The network, its card and its device.
    one_pass
        Pass of that network, over patches or areas.
    shape
        Shape of all pixels that it will be given.
    settings
        Test-time augmentation, precision and runtime.

    Returns
    -------
    Callable
        Takes pixels, gives probabilities; checks that they are numbers.

    Raises
    ------
    ModelError
        If ONNX Runtime is asked for and the device is not the CPU, 16 bits are asked for too, or it cannot take the
        network; if CUDA graphs are and it is not a CUDA device. The callable: if a probability is not a number.
    """
    device = classifier.device
    precision = inference_precision(settings.precision, device)
    if settings.test_time_augmentation == "dihedral" and classifier.card.architecture not in INVARIANT:
        one_pass = averaged_pass(one_pass)
    if settings.runtime == "torch":
        return lambda pixels: _checked(run_pass(one_pass, pixels, device, precision), classifier, precision)
    if settings.runtime == "cuda-graphs":
        if device.type != "cuda":
            raise ModelError(
                f"inference.runtime is cuda-graphs, and the device is {device}: set inference.device to cuda, or "
                "inference.runtime to torch"
            )
        graph = graph_pass(one_pass, shape, device, precision)
        return lambda pixels: _checked(graph(pixels), classifier, precision)
    if device.type != "cpu":
        raise ModelError(
            f"inference.runtime is onnxruntime, which computes on the CPU here, and the device is {device}: set "
            "inference.device to cpu, or inference.runtime to torch"
        )
    if precision != torch.float32:
        raise ModelError(
            f"inference.runtime is onnxruntime, which computes in float32 here, and inference.precision is "
            f"{settings.precision}: set it to auto, or inference.runtime to torch"
        )
    run = onnx_pass(one_pass, shape, torch.get_num_threads())
    return lambda pixels: _checked(run(pixels), classifier, precision)


def _checked(
    probability: NDArray[np.float32], classifier: Classifier, precision: torch.dtype
) -> NDArray[np.float32]:
    """Refuse what is not a number.

    Raises
    ------
    ModelError
        If there is one.
    """
    if np.isfinite(probability).all():
        return probability
    reason = (
        "its weights are broken, train again"
        if precision == torch.float32
        else f"they may be too large for {str(precision).removeprefix('torch.')}, set inference.precision to float32"
    )
    raise ModelError(f"model {classifier.card.weights_sha256[:12]} answers NaN: {reason}")
