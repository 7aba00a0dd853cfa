"""Training on patches from folders or zip files, with patches of their own for validation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.classifier.devices import choose_device, deterministic_torch, kept_memory, torch_threads
from slidepipe.classifier.fitting import LabelledPatches, Progress
from slidepipe.classifier.patch_files import (
    PatchFiles,
    find_patch_files,
    fingerprint_patches,
    read_patch_files,
)
from slidepipe.classifier.settings import TrainSettings
from slidepipe.classifier.training_loop import fit_network, random_of, write_model
from slidepipe.classifier.unfinished import unfinished_training
from slidepipe.errors import ConfigError, ModelError

_DRAW = 0
_NOT_THE_RECIPE = {"files", "validation_files", "about"}
"""Settings that the card does not repeat: paths name people and places, statements have a field of their own."""


def train_on_patches(
    settings: TrainSettings, folder: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Train a network on patches from files and write it to a folder.

    Every epoch draws `patches_per_epoch` patches, `positive_share` of them tumour; none comes twice as long as there
    are enough of its class.

    Parameters
    ----------
    settings
        How to train; ``files``, ``validation_files`` and ``patches.mpp`` say on what.
    folder
        As in `slidepipe.classifier.training.train_classifier`.
    progress
        As in `slidepipe.classifier.training.train_classifier`.

    Returns
    -------
    dict
        As `slidepipe.classifier.training.train_classifier`. The card names the patches by their number and
        fingerprint, not by their paths.

    Raises
    ------
    ConfigError
        If the settings do not name the patches, those for validation, or the size of a pixel.
    PatchFileError
        If patches cannot be read or have another size.
    ModelError
        If patches lie outside folders that name a class, a class is missing, or the loss stops being a number.
    """
    train, validation, mpp = _sources(settings)
    device = choose_device(settings.device)
    is_tumour, side = _labels(train), settings.patches.patch_px

    def read_epoch(epoch: int) -> LabelledPatches:
        drawn = _draw(is_tumour, settings, random_of(settings, (_DRAW, epoch)))
        return LabelledPatches(read_patch_files(train, drawn.tolist(), side), is_tumour[drawn])

    with torch_threads(settings.threads), kept_memory(device), deterministic_torch(device):
        kept_back = LabelledPatches(
            read_patch_files(validation, range(len(validation)), side), _labels(validation)
        )
        unfinished = unfinished_training(folder, settings, fingerprint_sources(settings), device)
        fitted = fit_network(read_epoch, kept_back, settings, device, unfinished, progress)
    training = {
        "settings": {key: value for key, value in asdict(settings).items() if key not in _NOT_THE_RECIPE},
        "train": _describe(train),
        "validation": _describe(validation),
        "notes": [],
    }
    return write_model(folder, fitted, settings, (mpp, (mpp, mpp)), training)


def fingerprint_sources(settings: TrainSettings) -> list[str]:
    """Identify the content of the patches that the settings name.

    Parameters
    ----------
    settings
        As for `train_on_patches`.

    Returns
    -------
    list of str
        Fingerprints of the patches for training and for validation.

    Raises
    ------
    ConfigError
        As `train_on_patches`.
    PatchFileError
        If there are no patches.
    """
    train, validation, _ = _sources(settings)
    return [fingerprint_patches(train), fingerprint_patches(validation)]


def _sources(settings: TrainSettings) -> tuple[PatchFiles, PatchFiles, float]:
    if settings.files is None or settings.validation_files is None or settings.patches.mpp is None:
        raise ConfigError(
            "train: training on files needs files, validation_files and patches.mpp, the side of a pixel in µm, which "
            "patches do not record"
        )
    train = find_patch_files(Path(settings.files))
    return train, find_patch_files(Path(settings.validation_files)), settings.patches.mpp


def _labels(files: PatchFiles) -> NDArray[np.bool_]:
    unlabelled = [name for name, label in zip(files.names, files.is_tumour, strict=True) if label is None]
    if unlabelled:
        raise ModelError(
            f"{files.path}: {len(unlabelled)} patches, such as {unlabelled[0]}, lie in no folder called 0, 1, normal "
            "or tumor: their class is unknown"
        )
    labels = np.array(files.is_tumour, dtype=np.bool_)
    if labels.all() or not labels.any():
        raise ModelError(f"{files.path}: all {len(labels)} patches are of one class")
    return labels


def _draw(
    is_tumour: NDArray[np.bool_], settings: TrainSettings, random: np.random.Generator
) -> NDArray[np.int64]:
    count = settings.patches_per_epoch
    tumour = min(max(round(count * settings.patches.positive_share), 1), count - 1)
    drawn = []
    for wanted, label in ((tumour, True), (count - tumour, False)):
        there = np.flatnonzero(is_tumour == label)
        drawn.append(random.choice(there, wanted, replace=wanted > len(there)))
    return random.permutation(np.concatenate(drawn))


def _describe(files: PatchFiles) -> dict[str, int | str]:
    return {
        "patches": len(files),
        "tumour_patches": sum(map(bool, files.is_tumour)),
        "fingerprint": fingerprint_patches(files),
    }
