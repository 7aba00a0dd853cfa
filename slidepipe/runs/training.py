"""The stage ``train``: the patch classifier of the run, from the training slides whose tiles are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from slidepipe.classifier.points import TrainingSlide
from slidepipe.classifier.training import train_classifier
from slidepipe.provenance import fingerprint
from slidepipe.runs.journal import Entry
from slidepipe.runs.mining import MiningRound, hard_negatives_px0, read_rounds
from slidepipe.runs.plan import done_tokens, train_token
from slidepipe.runs.references import slide_reference
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import TILE


def run_training(study: Study, console: Console) -> list[Entry]:
    """Train the patch classifier.

    Parameters
    ----------
    study
        The study.
    console
        Where epochs are told.

    Returns
    -------
    list of Entry
        Empty if the model is there.
    """
    tiles = done_tokens(study, TILE.name)
    slides = [slide for slide in study.slides if slide.source.slide_id in tiles and _is_taught(slide)]
    rounds = read_rounds(study)

    def work() -> Mapping[str, Any]:
        return train_classifier(
            [_training_slide(study, slide, rounds) for slide in slides],
            study.config.train,
            study.folder.model,
            _Teller(console),
            [each.facts() for each in rounds],
        )

    outputs = tuple(study.folder.model / name for name in ("model.safetensors", "model.json", "training.csv"))
    token = train_token(study, slides, [fingerprint(each) for each in rounds])
    return run_step(study, CohortStep("train", token, work, outputs))


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
    """Prints a line per epoch, with the rate of its last batches."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "batch":
            self._rate = f", {event['patches_per_second']:,.0f} patches/s"
            return
        self._console.print(
            f"train: epoch {event['epoch']}, loss {event['train_loss']:.3f}, "
            f"validation AUC {event['validation_auc']:.4f}{self._rate}"
        )
