"""The stage ``train``: the patch classifier of the run, from the training slides with tiles or from files of patches.

It runs where the command was given, or on a worker, if the study names workers for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from slidepipe.classifier.card import CARD_NAME, WEIGHTS_NAME
from slidepipe.classifier.initial_weights import find_initial_weights
from slidepipe.classifier.patch_training import fingerprint_sources, train_on_patches
from slidepipe.classifier.points import TrainingSlide
from slidepipe.classifier.settings import TrainSettings
from slidepipe.classifier.training import train_classifier
from slidepipe.classifier.training_history import EVENTS_NAME, HISTORY_NAME, PLOT_NAME
from slidepipe.provenance import fingerprint
from slidepipe.runs.dask_executor import tell_client
from slidepipe.runs.folder import RunFolder
from slidepipe.runs.journal import Entry, Outcome, attempt
from slidepipe.runs.mining import MiningRound, hard_negatives_px0, read_rounds
from slidepipe.runs.plan import done_tokens, train_token
from slidepipe.runs.references import slide_reference
from slidepipe.runs.stage_workers import StageWorkers
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import TILE


def run_training(study: Study, console: Console, workers: StageWorkers) -> list[Entry]:
    """Train the patch classifier.

    Parameters
    ----------
    study
        The study.
    console
        Where epochs are told.
    workers
        Those of the stages.

    Returns
    -------
    list of Entry
        Empty if the model is there.
    """
    tiles = done_tokens(study, TILE.name)
    slides: list[CohortSlide] = []
    rounds: Sequence[MiningRound] = ()
    if study.config.train.files is None:
        slides = [slide for slide in study.slides if slide.source.slide_id in tiles and _is_taught(slide)]
        rounds = read_rounds(study)
        beside_slides = [fingerprint(each) for each in rounds]
    else:
        beside_slides = fingerprint_sources(study.config.train)
    initial = find_initial_weights(study.config.train)
    if initial is not None:
        beside_slides = [*beside_slides, initial.fingerprint]
    tell = _Teller(console)

    def work() -> Mapping[str, Any]:
        return _train(study, slides, rounds, tell)

    def on_worker(_: Callable[[], Mapping[str, Any]]) -> Outcome:
        # A worker may stand in another working directory.
        there = replace(study, folder=RunFolder(study.folder.root.absolute()))
        return workers.call("train", tell, _train, there, slides, rounds, tell_client)

    names = (WEIGHTS_NAME, CARD_NAME, HISTORY_NAME, EVENTS_NAME, PLOT_NAME)
    outputs = tuple(study.folder.model / name for name in names)
    token = train_token(study, slides, beside_slides)
    step = CohortStep("train", token, work, outputs)
    return run_step(study, step, on_worker if workers.has_own("train") else attempt)


def _train(
    study: Study,
    slides: Sequence[CohortSlide],
    rounds: Sequence[MiningRound],
    tell: Callable[[Mapping[str, Any]], None],
) -> Mapping[str, Any]:
    if study.config.train.files is not None:
        return train_on_patches(study.config.train, study.folder.model, tell)
    material = [_training_slide(study, slide, rounds) for slide in slides]
    facts = [each.facts() for each in rounds]
    return train_classifier(material, study.config.train, study.folder.model, tell, facts)


def train_model(settings: TrainSettings, folder: Path, console: Console) -> None:
    """Train on patches from files, outside of any run.

    Parameters
    ----------
    settings
        How, and on which patches.
    folder
        Receives the model.
    console
        Where epochs and the result are told.
    """
    summary = train_on_patches(settings, folder, _Teller(console))
    metrics = summary["metrics"]
    low, high = metrics["validation_auc_interval"]
    console.print(
        f"wrote {folder}: validation AUC {metrics['validation_auc']:.4f} ({low:.4f} to {high:.4f}), weights "
        f"{summary['weights_sha256'][:12]}"
    )


def _is_taught(slide: CohortSlide) -> bool:
    """Leave out test slides, and normal slides whose negatives are not to be trusted: nothing else is on them."""
    return slide.split == "train" and not (slide.label == "normal" and "train_negatives" in slide.excluded)


def _training_slide(study: Study, slide: CohortSlide, rounds: Sequence[MiningRound]) -> TrainingSlide:
    slide_id = slide.source.slide_id
    return TrainingSlide(
        slide_id=slide_id,
        store=str(study.folder.tiles(slide_id)),
        annotation=slide_reference(study, slide),
        label=slide.label,
        centre=slide.centre,
        exhaustive=slide.exhaustive,
        hard_negatives_px0=hard_negatives_px0(rounds, slide_id),
    )


class _Teller:
    """Prints a line per epoch, with the rate of its last batches and the share of time without patches."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "batch":
            self._rate = f", {event['patches_per_second']:,.0f} patches/s"
            return
        if event["event"] == "resumed":
            self._console.print(f"train: goes on after epoch {event['epoch']}")
            return
        self._console.print(
            f"train: epoch {event['epoch']}, loss {event['train_loss']:.3f}, "
            f"validation AUC {event['validation_auc']:.4f}{self._rate}, {event['waiting_share']:.1%} of the time "
            "waiting for patches",
            soft_wrap=True,
        )
