"""Epoch after epoch over patches from anywhere, and the model that comes out of it.

Everything random comes from the seed and the number of the epoch, nothing from a running state, so an epoch's patches
are the same whatever went before. They are read by a second thread while the epoch before is trained on. After every
epoch the state is kept, so a training that was killed goes on after its last whole epoch, to the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.checkpoint import save_model
from slidepipe.classifier.fitting import (
    Fit,
    LabelledPatches,
    Progress,
    copy_weights,
    fit_state,
    restore_fit,
    start_fit,
    train_epoch,
    validate,
)
from slidepipe.classifier.initial_weights import find_initial_weights
from slidepipe.classifier.networks import DEFAULT_MEAN, DEFAULT_STD
from slidepipe.classifier.patch_metrics import PatchMetrics
from slidepipe.classifier.settings import TrainSettings
from slidepipe.classifier.training_curves import draw_history, write_events
from slidepipe.classifier.training_history import EpochResult, write_history
from slidepipe.classifier.unfinished import UnfinishedTraining
from slidepipe.provenance import software_versions
from slidepipe.timing import Stopwatch

_log = logging.getLogger(__name__)

_TORCH = 2
"""Purpose of random numbers for Torch, beside those of the draws."""


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """How far a training has come."""

    history: tuple[EpochResult, ...] = ()
    """Every epoch so far."""
    metrics: tuple[PatchMetrics, ...] = ()
    """Of each on the validation patches."""
    kept: int = 0
    """Epoch whose weights are to be kept, as of now; 0 before the first."""
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Those weights."""

    def is_over(self, settings: TrainSettings) -> bool:
        """Say whether there is nothing left to do."""
        done = len(self.history)
        return done == settings.epochs or done - self.kept >= settings.patience


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
    unfinished: UnfinishedTraining
    """To be removed once the model is written."""
    parts_s: dict[str, float]
    """Seconds that went into the epochs done now: ``train``, ``validate``, and ``wait`` for patches; ``read`` in a
    thread beside them."""


def fit_network(
    read_epoch: Callable[[int], LabelledPatches],
    validation: LabelledPatches,
    settings: TrainSettings,
    device: torch.device,
    unfinished: UnfinishedTraining,
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
    unfinished
        Where the state is kept after each epoch; if it holds one, training goes on from there.
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
    course = _begin(fit, unfinished, progress)
    left = range(len(course.history) + 1, settings.epochs + 1)
    watch = Stopwatch()
    with closing(_read_ahead(read_epoch, () if course.is_over(settings) else left, watch)) as epochs:
        for epoch, patches, waited_s in epochs:
            started = time.perf_counter()
            course = _advance(fit, course, (epoch, patches, validation), watch, progress)
            unfinished.write(_state(fit, course))
            write_history(unfinished.folder, course.history)
            write_events(unfinished.folder, course.history)
            share = waited_s / (waited_s + time.perf_counter() - started)
            result = course.history[-1]
            _log.info(
                "epoch %d of %d: %s; %.1f %% of the time waiting", epoch, settings.epochs, result, 100 * share
            )
            if progress is not None:
                progress({"event": "epoch", **asdict(result), "waiting_share": share})
            if course.is_over(settings):
                break
    fit.average.load_state_dict(course.weights)
    kept = course.kept - 1
    return Fitted(
        fit.average, course.history, course.history[kept], course.metrics[kept], unfinished, watch.seconds
    )


def _advance(
    fit: Fit,
    course: _Course,
    material: tuple[int, LabelledPatches, LabelledPatches],
    watch: Stopwatch,
    progress: Progress | None,
) -> _Course:
    """Train and validate once; `material` is the number of the epoch, its patches, and those for validation."""
    epoch, patches, validation = material
    torch.manual_seed(int(random_of(fit.settings, (_TORCH, epoch)).integers(2**63)))
    with watch.measure("train"):
        train_loss = train_epoch(fit, patches, epoch, progress)
    learning_rate = float(fit.schedule.get_last_lr()[0])
    with watch.measure("validate"):
        loss, metrics = validate(fit, validation)
    history = (*course.history, EpochResult(epoch, learning_rate, train_loss, loss, metrics.auc))
    now = replace(course, history=history, metrics=(*course.metrics, metrics))
    return (
        replace(now, kept=epoch, weights=copy_weights(fit.average)) if _keeps(history, fit.settings) else now
    )


def _keeps(history: Sequence[EpochResult], settings: TrainSettings) -> bool:
    """Say whether the weights of the epoch that has just ended are those to keep."""
    if settings.keep == "last":
        return True
    # Of two epochs that rank all patches alike, the one that is surer of them.
    best = max(history, key=lambda row: (row.validation_auc, -row.validation_loss))
    return best is history[-1]


def _state(fit: Fit, course: _Course) -> dict[str, Any]:
    return {
        "fit": fit_state(fit),
        "history": [asdict(row) for row in course.history],
        "metrics": [asdict(row) for row in course.metrics],
        "kept": course.kept,
        "weights": dict(course.weights),
    }


def _begin(fit: Fit, unfinished: UnfinishedTraining, progress: Progress | None) -> _Course:
    """Go on where a training of the same token was, if there is one."""
    state = unfinished.read()
    if state is None:
        return _Course()
    restore_fit(fit, state["fit"])
    history = tuple(EpochResult(**row) for row in state["history"])
    _log.info("training goes on after epoch %d", len(history))
    if progress is not None:
        progress({"event": "resumed", "epoch": len(history)})
    metrics = tuple(PatchMetrics(**row) for row in state["metrics"])
    return _Course(history, metrics, state["kept"], state["weights"])


def _read_ahead(
    read_epoch: Callable[[int], LabelledPatches], epochs: Sequence[int], watch: Stopwatch
) -> Generator[tuple[int, LabelledPatches, float], None, None]:
    """Give each epoch its patches, and how long they were waited for."""

    def read(epoch: int) -> LabelledPatches:
        with watch.measure("read"):
            return read_epoch(epoch)

    if not epochs:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="patch-reader") as reader:
        coming = reader.submit(read, epochs[0])
        for epoch in epochs:
            started = time.perf_counter()
            with watch.measure("wait"):
                patches = coming.result()
            waited_s = time.perf_counter() - started
            if epoch != epochs[-1]:
                coming = reader.submit(read, epoch + 1)
            yield epoch, patches, waited_s


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
        Receives ``model.safetensors``, ``model.json``, and the history as table, events and picture.
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
        ``weights_sha256``, ``metrics`` and ``training`` as in the card, and ``parts_s``.
    """
    initial = find_initial_weights(settings)
    recipe = {**training["settings"], "initial": None if initial is None else initial.facts()}
    card = ModelCard(
        architecture=settings.architecture,
        patch_px=settings.patches.patch_px,
        mpp=pixel_um[0],
        mpp_range=pixel_um[1],
        mean=DEFAULT_MEAN,
        std=DEFAULT_STD,
        weights_sha256="",
        training={**training, "settings": recipe},
        metrics={**asdict(fitted.kept), **_intervals(fitted.metrics), "epochs": len(fitted.history)},
        software=software_versions(),
        about=settings.about,
    )
    write_history(folder, fitted.history)
    write_events(folder, fitted.history)
    draw_history(folder, fitted.history, fitted.kept.epoch)
    card = save_model(folder, fitted.network, card)
    fitted.unfinished.remove()
    return {
        "weights_sha256": card.weights_sha256,
        "metrics": card.metrics,
        "training": card.training,
        "parts_s": fitted.parts_s,
    }


def _intervals(metrics: PatchMetrics) -> dict[str, float | int | tuple[float, float]]:
    return {
        "validation_auc_interval": metrics.auc_interval,
        "validation_accuracy": metrics.accuracy,
        "validation_accuracy_interval": metrics.accuracy_interval,
        "validation_patches": metrics.count,
    }
