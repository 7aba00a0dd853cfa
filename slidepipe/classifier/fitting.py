"""The optimiser at work: one epoch of training, one pass of validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from slidepipe.classifier.augmentation import augment
from slidepipe.classifier.networks import (
    DEFAULT_MEAN,
    DEFAULT_STD,
    build_network,
    normalise,
    unit_pixels,
)
from slidepipe.classifier.settings import TrainSettings
from slidepipe.errors import ModelError
from slidepipe.geometry import ceil_div

Progress = Callable[[dict[str, Any]], None]
"""Is handed what has happened: ``{"event": "batch" or "epoch", "epoch": 1, ...}``."""

_BATCHES_PER_REPORT = 20


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPatches:
    """Patches in memory."""

    pixels: NDArray[np.uint8]
    """RGB, shape (n, P, P, 3)."""
    is_tumour: NDArray[np.bool_]
    """Shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A network being trained and what changes it."""

    network: nn.Module
    device: torch.device
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    settings: TrainSettings


def start_fit(settings: TrainSettings, device: torch.device) -> Fit:
    """Make a network with random weights and its optimiser.

    Parameters
    ----------
    settings
        Network, learning rate and number of epochs.
    device
        Where to train.

    Returns
    -------
    Fit
        Weights come from Torch's global random state.
    """
    network = build_network(settings.architecture)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    steps = settings.epochs * ceil_div(settings.patches_per_epoch, settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    return Fit(network, device, optimiser, schedule, settings)


def train_epoch(fit: Fit, patches: LabelledPatches, epoch: int, progress: Progress | None) -> float:
    """Train on each patch once, in the order given.

    Parameters
    ----------
    fit
        Changed: one step of the optimiser per batch.
    patches
        As many as the settings say, both classes mixed.
    epoch
        For `progress`.
    progress
        Called every 20 batches.

    Returns
    -------
    float
        Mean cross-entropy over the epoch, with augmentation and label smoothing.

    Raises
    ------
    ModelError
        If the loss is no longer a number.
    """
    settings = fit.settings
    batches = np.array_split(
        np.arange(len(patches.is_tumour)), ceil_div(len(patches.is_tumour), settings.batch_size)
    )
    fit.network.train()
    total, started, seen = 0.0, time.perf_counter(), 0
    for number, batch in enumerate(batches, start=1):
        pixels = augment(_to_device(fit, patches.pixels[batch]), settings.augmentation)
        target = torch.from_numpy(patches.is_tumour[batch]).float().to(fit.device)
        target = target * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        logits = fit.network(normalise(pixels, DEFAULT_MEAN, DEFAULT_STD))
        loss = binary_cross_entropy_with_logits(logits, target)
        fit.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        fit.optimiser.step()
        fit.schedule.step()
        total += loss.item() * len(batch)
        seen += len(batch)
        if not np.isfinite(total):
            raise ModelError(
                f"training diverged in epoch {epoch}, batch {number}: the loss is {loss.item()}; lower "
                f"learning_rate, which is {settings.learning_rate:g}"
            )
        if progress is not None and number % _BATCHES_PER_REPORT == 0:
            progress(
                {
                    "event": "batch",
                    "epoch": epoch,
                    "batch": number,
                    "batches": len(batches),
                    "loss": total / seen,
                    "patches_per_second": seen / (time.perf_counter() - started),
                }
            )
    return total / seen


def validate(fit: Fit, patches: LabelledPatches) -> tuple[float, float]:
    """Measure the network on patches as they are.

    Parameters
    ----------
    fit
        Its network is used in evaluation mode.
    patches
        Both classes.

    Returns
    -------
    tuple of float
        Mean cross-entropy, and area under the ROC curve.
    """
    fit.network.eval()
    logits = []
    with torch.inference_mode():
        for batch in _slices(len(patches.is_tumour), fit.settings.batch_size):
            pixels = normalise(_to_device(fit, patches.pixels[batch]), DEFAULT_MEAN, DEFAULT_STD)
            logits.append(fit.network(pixels).cpu())
    logit = torch.cat(logits)
    loss = binary_cross_entropy_with_logits(logit, torch.from_numpy(patches.is_tumour).float())
    return float(loss), float(roc_auc_score(patches.is_tumour, logit.numpy()))


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _to_device(fit: Fit, patches: NDArray[np.uint8]) -> torch.Tensor:
    return unit_pixels(torch.from_numpy(patches).to(fit.device))


def copy_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the state of a network, to come back to it.

    Parameters
    ----------
    network
        Any network.

    Returns
    -------
    dict
        Name to tensor, independent of what happens to the network.
    """
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
