"""Where Torch computes and with what global state, set for a while and given back."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from slidepipe.classifier.settings import DeviceName
from slidepipe.errors import ModelError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of the settings of glibc's ``mallopt``."""
_MOST_KEPT = 2**30
_USUALLY_KEPT = 2**25
"""Bytes of a piece of memory that glibc keeps at most when it adapts to what is freed, without being told."""


def choose_device(name: DeviceName) -> torch.device:
    """Choose the device to compute on.

    Parameters
    ----------
    name
        ``auto`` takes CUDA if there is one, else MPS, else the CPU.

    Returns
    -------
    torch.device
        A device that exists.

    Raises
    ------
    ModelError
        If CUDA or MPS was asked for by name and Torch finds none.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in found.items() if is_there))
    if not found[name]:
        raise ModelError(
            f"device {name!r} was asked for, but Torch {torch.__version__} finds none: use device 'auto'"
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Name a device as a person would.

    Parameters
    ----------
    device
        A device that exists.

    Returns
    -------
    str
        The model and memory of a CUDA device, else the kind of device.
    """
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"CUDA, {properties.name} with {properties.total_memory / 2**30:.0f} GiB"
    return "MPS" if device.type == "mps" else f"CPU, {torch.get_num_threads()} threads"


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let Torch use a number of CPU threads for a while.

    Parameters
    ----------
    threads
        Number of threads, 1 or more; None changes nothing.

    Yields
    ------
    None
        Afterwards the number is what it was before.
    """
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Have the C library keep freed memory for the next batch for a while, in place of giving it back to the system.

    What a network computes between its layers is freed and needed again with each batch. From 32 MiB a piece glibc has
    the system map it, and clear it, anew each time: a sixth of the time of training the shipped model.

    Parameters
    ----------
    device
        Where Torch computes. Anything but a CPU, and other C libraries than glibc, are left as they are.

    Yields
    ------
    None
        Afterwards what is free is given back, and the largest pieces that glibc keeps are those of 32 MiB.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    glibc = ctypes.CDLL(None)
    try:
        glibc.mallopt(_MMAP_THRESHOLD, _MOST_KEPT)
        glibc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
        yield
    finally:
        glibc.mallopt(_MMAP_THRESHOLD, _USUALLY_KEPT)
        glibc.mallopt(_TRIM_THRESHOLD, 2 * _USUALLY_KEPT)
        glibc.malloc_trim(0)


@contextmanager
def deterministic_torch(device: torch.device) -> Iterator[None]:
    """Make Torch repeatable for a while, with random numbers of its own.

    Operations without a repeatable form warn. The caller seeds Torch inside; the random state, the choice of
    algorithms and cuDNN's settings are afterwards what they were before.

    Parameters
    ----------
    device
        Where to compute. The random state of the CPU is given back, and that of a CUDA device.

    Yields
    ------
    None
        Nothing.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    memory, cudnn = torch.utils.deterministic, torch.backends.cudnn
    was_filling = memory.fill_uninitialized_memory  # type: ignore[attr-defined]
    was_cudnn = (cudnn.deterministic, cudnn.benchmark)
    # Torch can neither read nor restore the random state of one MPS device by number.
    with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            # Filling memory before it is written costs a tenth of the time and changes no result.
            memory.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            cudnn.deterministic, cudnn.benchmark = True, False
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic, warn_only=was_warning)
            memory.fill_uninitialized_memory = was_filling  # type: ignore[attr-defined]
            cudnn.deterministic, cudnn.benchmark = was_cudnn
