"""Training from end to end: points on slides, epochs of fresh patches, the weights with the best validation AUC.

Everything random comes from the seed and the number of the epoch, nothing from a running state, so an epoch's patches
are the same whatever went before. They are read into memory in the order in which they lie on the slides, by a second
thread while the epoch before is trained on.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.checkpoint import save_model
from slidepipe.classifier.devices import choose_device, deterministic_torch, torch_threads
from slidepipe.classifier.fitting import (
    LabelledPatches,
    Progress,
    copy_weights,
    start_fit,
    train_epoch,
    validate,
)
from slidepipe.classifier.networks import DEFAULT_MEAN, DEFAULT_STD
from slidepipe.classifier.points import (
    SlidePoints,
    TrainingSlide,
    common_pixel_size,
    find_points,
    patch_reach,
)
from slidepipe.classifier.sampling import draw_patches, read_patches
from slidepipe.classifier.settings import TrainSettings
from slidepipe.classifier.splitting import Split, split_slides
from slidepipe.errors import ModelError
from slidepipe.provenance import software_versions
from slidepipe.storage.publish import write_text

_log = logging.getLogger(__name__)

HISTORY_NAME = "training.csv"
"""One line per epoch, beside the model."""

_DRAW_TRAIN, _DRAW_VALIDATION, _TORCH = range(3)
_NOTEWORTHY_SPREAD = 0.02


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


def train_classifier(
    slides: Sequence[TrainingSlide],
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    mining_rounds: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Train a network and write it to a folder.

    Parameters
    ----------
    slides
        Slides to train on, with their tile stores. Some of them are kept for validation.
    settings
        How to train.
    folder
        Receives ``model.safetensors``, ``model.json`` and ``training.csv``.
    progress
        Called every 20 batches with ``event`` "batch", ``epoch``, ``batch``, ``batches``, ``loss`` and
        ``patches_per_second``, and after every epoch with ``event`` "epoch" and the fields of `EpochResult`.
    mining_rounds
        Where the slides' hard negatives come from, for the card.

    Returns
    -------
    dict
        ``weights_sha256``, ``metrics`` and ``training`` as in the model's card. Equal for equal slides,
        settings, device, threads and software.

    Raises
    ------
    ModelError
        If there is no tumour or no normal patch, a slide comes twice, pixel sizes differ too much, a label
        contradicts an annotation, the loss stops being a number, or the device does not exist.
    StoreError
        If a tile store cannot be used.
    """
    _check_names(slides)
    device = choose_device(settings.device)
    points = [find_points(slide, settings.patches, settings.seed) for slide in slides]
    split = split_slides(points, settings.validation_share, patch_reach(settings.patches), settings.seed)
    mpp, mpp_range = common_pixel_size([*split.train, *split.validation])
    with torch_threads(settings.threads), deterministic_torch(device):
        network, history, best = _fit(split, settings, device, progress)
    card = ModelCard(
        architecture=settings.architecture,
        patch_px=settings.patches.patch_px,
        mpp=mpp,
        mpp_range=mpp_range,
        mean=DEFAULT_MEAN,
        std=DEFAULT_STD,
        weights_sha256="",
        training={
            "settings": asdict(settings),
            "split_by": split.by,
            "train": {slide.slide_id: _counts(slide) for slide in split.train},
            "validation": {slide.slide_id: _counts(slide) for slide in split.validation},
            "unused": {
                slide.slide_id: slide.unused or "no point found" for slide in _left_out(points, split)
            },
            "mining_rounds": [dict(facts) for facts in mining_rounds],
            "notes": _notes(split, mpp_range),
        },
        metrics={**asdict(best), "epochs": len(history)},
        software=software_versions(),
    )
    write_text(folder / HISTORY_NAME, _history_csv(history))
    card = save_model(folder, network, card)
    return {"weights_sha256": card.weights_sha256, "metrics": card.metrics, "training": card.training}


def _fit(
    split: Split, settings: TrainSettings, device: torch.device, progress: Progress | None
) -> tuple[nn.Module, list[EpochResult], EpochResult]:
    torch.manual_seed(settings.seed)
    fit = start_fit(settings, device)
    # Without hard negatives, so that the figures of one round can be compared with those of the next.
    plain = replace(settings, patches=replace(settings.patches, hard_negative_share=0))
    validation = _read(split.validation, settings.validation_patches, plain, (_DRAW_VALIDATION, 0))
    history: list[EpochResult] = []
    with closing(_read_epochs(split.train, settings)) as epochs:
        for epoch, patches in enumerate(epochs, start=1):
            torch.manual_seed(int(_random(settings, (_TORCH, epoch)).integers(2**63)))
            train_loss = train_epoch(fit, patches, epoch, progress)
            learning_rate = float(fit.schedule.get_last_lr()[0])
            result = EpochResult(epoch, learning_rate, train_loss, *validate(fit, validation))
            history.append(result)
            _log.info("epoch %d of %d: %s", epoch, settings.epochs, result)
            if progress is not None:
                progress({"event": "epoch", **asdict(result)})
            # Of two epochs that rank all patches alike, the one that is surer of them.
            best = max(history, key=lambda row: (row.validation_auc, -row.validation_loss))
            if best is result:
                weights = copy_weights(fit.network)
            if epoch - best.epoch >= settings.patience:
                break
    fit.network.load_state_dict(weights)
    return fit.network, history, best


def _read_epochs(
    slides: Sequence[SlidePoints], settings: TrainSettings
) -> Generator[LabelledPatches, None, None]:
    with ThreadPoolExecutor(1, thread_name_prefix="patch-reader") as reader:
        coming = reader.submit(_read, slides, settings.patches_per_epoch, settings, (_DRAW_TRAIN, 1))
        for epoch in range(1, settings.epochs + 1):
            patches = coming.result()
            if epoch < settings.epochs:
                key = (_DRAW_TRAIN, epoch + 1)
                coming = reader.submit(_read, slides, settings.patches_per_epoch, settings, key)
            yield patches


def _read(
    slides: Sequence[SlidePoints], count: int, settings: TrainSettings, key: tuple[int, int]
) -> LabelledPatches:
    draw = draw_patches(slides, count, settings.patches, _random(settings, key))
    return LabelledPatches(read_patches(slides, draw, settings.patches.patch_px), draw.is_tumour)


def _random(settings: TrainSettings, key: tuple[int, int]) -> np.random.Generator:
    return np.random.default_rng([settings.seed, *key])


def _check_names(slides: Sequence[TrainingSlide]) -> None:
    counts = Counter(slide.slide_id for slide in slides)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise ModelError(f"slides are listed more than once for training: {', '.join(twice)}")


def _left_out(points: Sequence[SlidePoints], split: Split) -> list[SlidePoints]:
    used = {slide.slide_id for slide in (*split.train, *split.validation)}
    return [slide for slide in points if slide.slide_id not in used]


def _counts(slide: SlidePoints) -> dict[str, int | str | None]:
    return {
        "tumour_points": len(slide.tumour),
        "normal_points": len(slide.normal),
        "hard_negatives": len(slide.hard),
        "centre": slide.centre,
    }


def _notes(split: Split, mpp_range: tuple[float, float]) -> list[str]:
    notes = []
    if split.by == "region":
        notes.append(
            "too few slides for a split by slide: validated on other regions of the training slides, so the "
            "validation AUC is too good"
        )
    least, most = mpp_range
    if most / least > 1 + _NOTEWORTHY_SPREAD:
        notes.append(f"slides with pixels of {least:.4g} to {most:.4g} µm were trained on together, unscaled")
    for note in notes:
        _log.warning("%s", note)
    return notes


def _history_csv(history: Sequence[EpochResult]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(field.name for field in fields(EpochResult))
    writer.writerows(asdict(row).values() for row in history)
    return table.getvalue()
