"""Epoch after epoch over patches from anywhere, and the model that comes out of it.

Everything random comes from the seed and the number of the epoch, nothing from a running state, so an epoch's patches
are the same whatever went before. They are read by a second thread while the epoch before is trained on.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.checkpoint import save_model
from slidepipe.classifier.fitting import (
    LabelledPatches,
    Progress,
    copy_weights,
    start_fit,
    train_epoch,
    validate,
)
from slidepipe.classifier.networks import DEFAULT_MEAN, DEFAULT_STD
from slidepipe.classifier.patch_metrics import PatchMetrics
from slidepipe.classifier.settings import TrainSettings
from slidepipe.provenance import software_versions
from slidepipe.storage.publish import write_text

_log = logging.getLogger(__name__)

HISTORY_NAME = "training.csv"
"""One line per epoch, beside the model."""

_TORCH = 2
"""Purpose of random numbers for Torch, beside those of the draws."""


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One line of ``training.csv``."""

    epoch: int
    """Counted from 1."""
    learning_rate: float
    """At the end of the epoch."""
    train_loss: float
    """Mean cross-entropy over the epoch, with augmentation and label smoothing."""
    validation_loss: float
    """Mean cross-entropy, without either."""
    validation_auc: float
    """Area under the ROC curve of the validation patches."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a training has come to."""

    network: nn.Module
    """With the weights that are kept."""
    history: tuple[EpochResult, ...]
    """Every epoch."""
    kept: EpochResult
    """The epoch whose weights are kept."""
    metrics: PatchMetrics
    """Of those weights on the validation patches."""


def fit_network(
    read_epoch: Callable[[int], LabelledPatches],
    validation: LabelledPatches,
    settings: TrainSettings,
    device: torch.device,
    progress: Progress | None = None,
) -> Fitted:
    """Train a network for as many epochs as the settings say, or until validation no longer improves.

    Parameters
    ----------
    read_epoch
        Gives the patches of an epoch, counted from 1, in random order. Called in a thread of its own.
    validation
        Patches of both classes that no epoch holds.
    settings
        How to train.
    device
        Where to train.
    progress
        As in `slidepipe.classifier.training.train_classifier`.

    Returns
    -------
    Fitted
        The network and its results. Torch's global random state is used and changed.

    Raises
    ------
    ModelError
        If the loss stops being a number.
    """
    torch.manual_seed(settings.seed)
    fit = start_fit(settings, device)
    history: list[EpochResult] = []
    with closing(_read_ahead(read_epoch, settings.epochs)) as epochs:
        for epoch, patches in enumerate(epochs, start=1):
            torch.manual_seed(int(random_of(settings, (_TORCH, epoch)).integers(2**63)))
            train_loss = train_epoch(fit, patches, epoch, progress)
            learning_rate = float(fit.schedule.get_last_lr()[0])
            loss, metrics = validate(fit, validation)
            result = EpochResult(epoch, learning_rate, train_loss, loss, metrics.auc)
            history.append(result)
            _log.info("epoch %d of %d: %s", epoch, settings.epochs, result)
            if progress is not None:
                progress({"event": "epoch", **asdict(result)})
            if _keeps(history, settings):
                weights, kept, kept_metrics = copy_weights(fit.average), result, metrics
            elif epoch - kept.epoch >= settings.patience:
                break
    fit.average.load_state_dict(weights)
    return Fitted(fit.average, tuple(history), kept, kept_metrics)


def _keeps(history: Sequence[EpochResult], settings: TrainSettings) -> bool:
    """Say whether the weights of the epoch that has just ended are those to keep."""
    if settings.keep == "last":
        return True
    # Of two epochs that rank all patches alike, the one that is surer of them.
    best = max(history, key=lambda row: (row.validation_auc, -row.validation_loss))
    return best is history[-1]


def _read_ahead(
    read_epoch: Callable[[int], LabelledPatches], count: int
) -> Generator[LabelledPatches, None, None]:
    with ThreadPoolExecutor(1, thread_name_prefix="patch-reader") as reader:
        coming = reader.submit(read_epoch, 1)
        for epoch in range(1, count + 1):
            patches = coming.result()
            if epoch < count:
                coming = reader.submit(read_epoch, epoch + 1)
            yield patches


def random_of(settings: TrainSettings, key: tuple[int, int]) -> np.random.Generator:
    """Make the random numbers of one purpose in one epoch.

    Parameters
    ----------
    settings
        With the seed.
    key
        Number of the purpose and of the epoch.

    Returns
    -------
    Generator
        Equal for equal seed and key.
    """
    return np.random.default_rng([settings.seed, *key])


def write_model(
    folder: Path,
    fitted: Fitted,
    settings: TrainSettings,
    pixel_um: tuple[float, tuple[float, float]],
    training: dict[str, Any],
) -> dict[str, Any]:
    """Write a trained network, its card and its history.

    Parameters
    ----------
    folder
        Receives ``model.safetensors``, ``model.json`` and ``training.csv``.
    fitted
        The trained network.
    settings
        How it was trained.
    pixel_um
        Mean side of a pixel in µm, and the range.
    training
        Settings, sources, counts and notes for the card.

    Returns
    -------
    dict
        ``weights_sha256``, ``metrics`` and ``training`` as in the card.
    """
    card = ModelCard(
        architecture=settings.architecture,
        patch_px=settings.patches.patch_px,
        mpp=pixel_um[0],
        mpp_range=pixel_um[1],
        mean=DEFAULT_MEAN,
        std=DEFAULT_STD,
        weights_sha256="",
        training=training,
        metrics={**asdict(fitted.kept), **_intervals(fitted.metrics), "epochs": len(fitted.history)},
        software=software_versions(),
        about=settings.about,
    )
    write_text(folder / HISTORY_NAME, _history_csv(fitted.history))
    card = save_model(folder, fitted.network, card)
    return {"weights_sha256": card.weights_sha256, "metrics": card.metrics, "training": card.training}


def _intervals(metrics: PatchMetrics) -> dict[str, float | int | tuple[float, float]]:
    return {
        "validation_auc_interval": metrics.auc_interval,
        "validation_accuracy": metrics.accuracy,
        "validation_accuracy_interval": metrics.accuracy_interval,
        "validation_patches": metrics.count,
    }


def _history_csv(history: Sequence[EpochResult]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(field.name for field in fields(EpochResult))
    writer.writerows(asdict(row).values() for row in history)
    return table.getvalue()
