"""With how many bits a network computes: 32, or on a CUDA device 16 where Torch deems it safe (autocast).

The weights stay in 32 bits; Torch chooses for each operation whether 16 are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from slidepipe.classifier.settings import PrecisionName

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def inference_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """Choose the numbers that a trained network computes with.

    Parameters
    ----------
    name
        ``auto`` takes float16 on a CUDA device, else float32.
    device
        Where it computes.

    Returns
    -------
    dtype
        One of the three.
    """
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return _TYPES[name]


def training_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """Choose the numbers that a network is trained with.

    Parameters
    ----------
    name
        ``auto`` takes bfloat16 on a CUDA device that has it, float16 on one that has not, else float32.
    device
        Where it computes.

    Returns
    -------
    dtype
        One of the three. Gradients in float16 need a scale, see `torch.amp.GradScaler`.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return _TYPES[name]


@contextmanager
def computing_in(precision: torch.dtype, device: torch.device) -> Iterator[None]:
    """Have Torch compute with numbers of this kind for a while, where it deems them safe.

    Parameters
    ----------
    precision
        float32 changes nothing.
    device
        Where it computes.

    Yields
    ------
    None
        Nothing.
    """
    if precision == torch.float32:
        yield
        return
    with torch.autocast(device.type, precision):
        yield
