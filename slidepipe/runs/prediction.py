"""The second half of the stage ``predict``: a probability for each slide, once all slides have their lesions.

The table says three things of each slide: its ``probability``, the ``maximum`` of its heatmap, and, for training
slides, ``held_out``, the probability by a model that has not seen the slide, on which thresholds may be chosen.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.lesions.features import FEATURE_NAMES
from slidepipe.lesions.slide_model import fit_slide_model, save_slide_model
from slidepipe.provenance import fingerprint
from slidepipe.runs.journal import Entry
from slidepipe.runs.plan import done_tokens
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import LESIONS
from slidepipe.storage.publish import read_json, write_text

PREDICT_VERSION = 1
"""Part of the token: raised whenever the same settings come to give other probabilities."""

_COLUMNS = ("slide_id", "probability", "maximum", "held_out")
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class SlidePrediction:
    """What is predicted of one slide; probabilities of tumour, 0 to 1."""

    slide_id: str
    probability: float
    maximum: float
    """Largest value of the heatmap."""
    held_out: float | None
    """Of a training slide, by a slide model that has not seen it; None for other slides and without a slide model."""


def run_prediction(study: Study) -> list[Entry]:
    """Give each slide a probability, by a forest fitted on the training slides where there are enough of them.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    list of Entry
        Empty if the probabilities are there.
    """
    lesions = done_tokens(study, LESIONS.name)
    slides = [slide for slide in study.slides if slide.source.slide_id in lesions]
    settings = study.config.predict.slide_model
    material = [lesions, [(slide.source.slide_id, slide.split, slide.label) for slide in slides]]
    token = fingerprint({"stage": ["predict", PREDICT_VERSION], "slides": material, "settings": settings})
    step = CohortStep("predict", token, lambda: _predict_slides(study, slides), (study.folder.predictions,))
    return run_step(study, step)


def read_predictions(study: Study) -> dict[str, SlidePrediction]:
    """Read the table of slide probabilities.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    dict
        Slide name to prediction; empty if nothing was predicted.
    """
    if not study.folder.predictions.is_file():
        return {}
    with study.folder.predictions.open(newline="", encoding="utf-8") as file:
        return {row["slide_id"]: _prediction(row) for row in csv.DictReader(file)}


def _prediction(row: Mapping[str, str]) -> SlidePrediction:
    held_out = float(row["held_out"]) if row["held_out"] else None
    return SlidePrediction(row["slide_id"], float(row["probability"]), float(row["maximum"]), held_out)


def _predict_slides(study: Study, slides: Sequence[CohortSlide]) -> dict[str, Any]:
    settings = study.config.predict.slide_model
    records = [read_json(study.folder.features(slide.source.slide_id)) for slide in slides]
    maximum = np.array([record["maximum"] for record in records], dtype=np.float64)
    seen = np.array([slide.split == "train" and slide.label is not None for slide in slides], dtype=np.bool_)
    tumour = np.array([slide.label == "tumor" for slide in slides], dtype=np.bool_)
    fewest = min(int((seen & tumour).sum()), int((seen & ~tumour).sum()))
    if settings.method == "maximum" or (settings.method == "auto" and fewest < _FEWEST):
        _write(study, slides, maximum, maximum, np.full(len(slides), np.nan))
        reason = (
            ""
            if settings.method == "maximum"
            else f", since only {fewest} training slides of a class are labelled"
        )
        return {"method": f"maximum of the heatmap{reason}", "slides": len(slides)}
    features = np.array(
        [[record["features"][name] for name in FEATURE_NAMES] for record in records], dtype=np.float64
    )
    model = fit_slide_model(features[seen], tumour[seen].tolist(), settings)
    save_slide_model(study.folder.slide_model, model)
    held_out = np.full(len(slides), np.nan)
    held_out[seen] = model.held_out
    _write(study, slides, model.probability(features), maximum, held_out)
    method = f"random forest fitted on {int(seen.sum())} training slides, cross-validated AUC {model.auc:.3f}"
    return {"method": method, "slides": len(slides), "cross_validated_auc": model.auc}


def _write(study: Study, slides: Sequence[CohortSlide], *columns: NDArray[np.float64]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for slide, *values in zip(slides, *(column.tolist() for column in columns), strict=True):
        table.writerow((slide.source.slide_id, *("" if np.isnan(value) else repr(value) for value in values)))
    write_text(study.folder.predictions, text.getvalue())
