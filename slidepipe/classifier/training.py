"""Training on slides from end to end: points on slides, epochs of fresh patches, a model with its card.

Patches are read into memory in the order in which they lie on the slides.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from slidepipe.classifier.devices import choose_device, deterministic_torch, kept_memory, torch_threads
from slidepipe.classifier.fitting import LabelledPatches, Progress
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
from slidepipe.classifier.training_loop import fit_network, random_of, write_model
from slidepipe.classifier.unfinished import unfinished_training
from slidepipe.errors import ModelError
from slidepipe.provenance import fingerprint_bytes

_log = logging.getLogger(__name__)

_DRAW_TRAIN, _DRAW_VALIDATION = range(2)
_NOTEWORTHY_SPREAD = 0.02


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
        Receives ``model.safetensors``, ``model.json``, ``training.csv``, ``training.tfevents`` and ``training.png``;
        ``unfinished.pt`` until the end, from which a training that was killed goes on to the same bytes.
    progress
        Called every 20 batches with ``event`` "batch", ``epoch``, ``batch``, ``batches``, ``loss`` and
        ``patches_per_second``, and after every epoch with ``event`` "epoch", the fields of `EpochResult` and
        ``waiting_share``, the share of its time in which it waited for patches. At the begin of a training that goes
        on, with ``event`` "resumed" and ``epoch``, the last one that is done.
    mining_rounds
        Where the slides' hard negatives come from, for the card.

    Returns
    -------
    dict
        ``weights_sha256``, ``metrics`` and ``training`` as in the model's card, equal for equal slides, settings,
        device, threads and software; ``parts_s``, seconds by part of the work, ``wait`` being for patches.

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
    with torch_threads(settings.threads), kept_memory(device), deterministic_torch(device):
        # Without hard negatives, so that the figures of one round can be compared with those of the next.
        plain = replace(settings, patches=replace(settings.patches, hard_negative_share=0))
        validation = _read(split.validation, settings.validation_patches, plain, (_DRAW_VALIDATION, 0))
        sources = [[_identity(slide) for slide in part] for part in (split.train, split.validation)]
        fitted = fit_network(
            lambda epoch: _read(split.train, settings.patches_per_epoch, settings, (_DRAW_TRAIN, epoch)),
            validation,
            settings,
            device,
            unfinished_training(folder, settings, sources, device),
            progress,
        )
    training = {
        "settings": asdict(settings),
        "split_by": split.by,
        "train": {slide.slide_id: _counts(slide) for slide in split.train},
        "validation": {slide.slide_id: _counts(slide) for slide in split.validation},
        "unused": {slide.slide_id: slide.unused or "no point found" for slide in _left_out(points, split)},
        "mining_rounds": [dict(facts) for facts in mining_rounds],
        "notes": _notes(split, mpp_range),
    }
    return write_model(folder, fitted, settings, (mpp, mpp_range), training)


def _read(
    slides: Sequence[SlidePoints], count: int, settings: TrainSettings, key: tuple[int, int]
) -> LabelledPatches:
    draw = draw_patches(slides, count, settings.patches, random_of(settings, key))
    return LabelledPatches(read_patches(slides, draw, settings.patches.patch_px), draw.is_tumour)


def _identity(slide: SlidePoints) -> list[str]:
    points = (slide.tumour, slide.normal, slide.near_tumour, slide.hard)
    return [slide.slide_id, slide.store_token, *(fingerprint_bytes(part.tobytes()) for part in points)]


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
