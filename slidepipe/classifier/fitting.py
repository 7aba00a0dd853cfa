"""The optimiser at work: one epoch of training, one pass of validation."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from slidepipe.classifier.augmentation import augment, mix
from slidepipe.classifier.initial_weights import give_initial_weights
from slidepipe.classifier.networks import (
    DEFAULT_MEAN,
    DEFAULT_STD,
    build_network,
    normalise,
    unit_pixels,
)
from slidepipe.classifier.optimiser import Muon
from slidepipe.classifier.patch_metrics import PatchMetrics, measure_patches
from slidepipe.classifier.precision import computing_in, training_precision
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
    """What is trained."""
    average: nn.Module
    """Moving average of its weights, which is validated and kept; the network itself if nothing is averaged."""
    device: torch.device
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    settings: TrainSettings
    precision: torch.dtype
    """Numbers that the network computes with; its weights are float32."""
    scaler: torch.amp.GradScaler
    """Keeps gradients in float16 from vanishing; does nothing for other numbers."""


def start_fit(settings: TrainSettings, device: torch.device) -> Fit:
    """Make a network and its optimiser.

    Parameters
    ----------
    settings
        Network, learning rate and number of epochs.
    device
        Where to train.

    Returns
    -------
    Fit
        Weights come from Torch's global random state, or from where the settings say.

    Raises
    ------
    ModelError
        As `give_initial_weights`.
    """
    network = build_network(settings.architecture, settings.patches.patch_px)
    give_initial_weights(network, settings)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = settings.epochs * ceil_div(settings.patches_per_epoch, settings.batch_size)
    optimiser = _optimiser(network, settings)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        settings.learning_rate,
        steps,
        pct_start=settings.warm_up,
        cycle_momentum=settings.optimiser == "adamw",
    )
    average = copy.deepcopy(network) if settings.weight_averaging else network
    precision = training_precision(settings.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    return Fit(network, average, device, optimiser, schedule, settings, precision, scaler)


def _optimiser(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    if settings.optimiser == "muon":
        # Kernels of convolutions; the last layer, which is linear, follows Adam as Jordan et al. advise.
        kernels = [weight for weight in parameters if weight.ndim > 2]
        others = [weight for weight in parameters if weight.ndim <= 2]
        return Muon(kernels, others, settings.learning_rate, settings.weight_decay)
    weights = [weight for weight in parameters if weight.ndim > 1]
    others = [weight for weight in parameters if weight.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


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
        if settings.mixup:
            pixels, target = mix(pixels, target, settings.mixup)
        with computing_in(fit.precision, fit.device):
            logits = fit.network(normalise(pixels, DEFAULT_MEAN, DEFAULT_STD))
        loss = binary_cross_entropy_with_logits(logits.float(), target)
        fit.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(fit.scaler.scale(loss))
        fit.scaler.step(fit.optimiser)
        fit.scaler.update()
        fit.schedule.step()
        _average(fit)
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


def _average(fit: Fit) -> None:
    if fit.average is fit.network:
        return
    # The average over the steps so far, until there are enough of them for the decay that is wanted.
    step = fit.schedule.last_epoch
    decay = min(fit.settings.weight_averaging, (1 + step) / (10 + step))
    with torch.no_grad():
        pairs = zip(fit.average.state_dict().values(), fit.network.state_dict().values(), strict=True)
        for kept, now in pairs:
            if kept.dtype.is_floating_point:
                kept.lerp_(now, 1 - decay)
            else:
                kept.copy_(now)


def validate(fit: Fit, patches: LabelledPatches) -> tuple[float, PatchMetrics]:
    """Measure the network on patches as they are.

    Parameters
    ----------
    fit
        Its averaged network is used, in evaluation mode.
    patches
        Both classes.

    Returns
    -------
    tuple of float and PatchMetrics
        Mean cross-entropy; area under the ROC curve and accuracy.
    """
    fit.average.eval()
    logits = []
    with torch.inference_mode(), computing_in(fit.precision, fit.device):
        for batch in _slices(len(patches.is_tumour), fit.settings.batch_size):
            pixels = normalise(_to_device(fit, patches.pixels[batch]), DEFAULT_MEAN, DEFAULT_STD)
            logits.append(fit.average(pixels).float().cpu())
    logit = torch.cat(logits)
    loss = binary_cross_entropy_with_logits(logit, torch.from_numpy(patches.is_tumour).float())
    return float(loss), measure_patches(patches.is_tumour, torch.sigmoid(logit.double()).numpy())


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


def fit_state(fit: Fit) -> dict[str, Any]:
    """Return all that changes from step to step.

    Parameters
    ----------
    fit
        Between two steps.

    Returns
    -------
    dict
        Tensors and plain values, not copied.
    """
    return {name: part.state_dict() for name, part in _parts(fit).items()}


def restore_fit(fit: Fit, state: Mapping[str, Any]) -> None:
    """Bring a network and what changes it to where another one was.

    Parameters
    ----------
    fit
        As `start_fit` makes it, with the same settings.
    state
        From `fit_state`.
    """
    for name, part in _parts(fit).items():
        part.load_state_dict(state[name])


def _parts(fit: Fit) -> dict[str, Any]:
    return {
        "network": fit.network,
        "average": fit.average,
        "optimiser": fit.optimiser,
        "schedule": fit.schedule,
        "scaler": fit.scaler,
    }
