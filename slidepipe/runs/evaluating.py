"""The stage ``evaluate``: what was predicted of the study's test slides, against the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.evaluate import choose_operating_point, evaluate
from slidepipe.evaluation.evaluated_slide import EvaluatedSlide
from slidepipe.evaluation.output import FILE_NAME, write_evaluation
from slidepipe.lesions.lesion import read_lesions
from slidepipe.provenance import fingerprint, fingerprint_file
from slidepipe.runs.journal import Entry
from slidepipe.runs.plan import done_tokens
from slidepipe.runs.prediction import SlidePrediction, read_predictions
from slidepipe.runs.references import slide_reference
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import LESIONS
from slidepipe.tiles.store_plan import read_store_plan

EVALUATE_VERSION = 1
"""Part of the token: raised whenever the same predictions come to give other results."""


def run_evaluation(study: Study) -> list[Entry]:
    """Evaluate the test slides, or all labelled slides where the cohort knows no test slides.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    list of Entry
        Empty if the evaluation is there.
    """
    slides = evaluated_slides(study)
    predict = study.journal.read("predict")
    material = {
        "predictions": None if predict is None else predict.outputs,
        "lesions": done_tokens(study, LESIONS.name),
        "reference": [_reference_material(slide) for slide in slides],
        "classes": study.config.slides.classes,
    }
    settings = study.config.evaluate
    token = fingerprint({"stage": ["evaluate", EVALUATE_VERSION], "in": material, "settings": settings})
    output = study.folder.evaluation / FILE_NAME
    return run_step(study, CohortStep("evaluate", token, lambda: _evaluate(study, slides, output), (output,)))


def evaluated_slides(study: Study) -> tuple[CohortSlide, ...]:
    """Return the slides that results are about.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    tuple of CohortSlide
        The labelled test slides, excluded ones too; all labelled slides where no slide is a training slide.
    """
    slides = study.cohort.slides
    has_split = any(slide.split == "train" for slide in slides)
    return tuple(
        slide for slide in slides if slide.label is not None and (slide.split == "test" or not has_split)
    )


def _reference_material(slide: CohortSlide) -> list[Any]:
    annotation = None if (place := slide.annotation_place) is None else fingerprint_file(place)
    return [slide.source.slide_id, slide.label, slide.size_class, slide.centre, slide.excluded, annotation]


def _evaluate(study: Study, slides: tuple[CohortSlide, ...], output: Path) -> Mapping[str, Any]:
    if not slides:
        raise EvaluationError(
            "no slide of the cohort has a label, so there is nothing to compare with: give a reference.csv, or stop "
            "after predict"
        )
    predictions = read_predictions(study)
    found = done_tokens(study, LESIONS.name)
    failed = [
        slide.source.slide_id
        for slide in slides
        if slide.source.slide_id not in found and "all" not in slide.excluded
    ]
    settings = study.config.evaluate
    notes = []
    if failed:
        # A slide that could not be processed is one on which the method found nothing; leaving it out would flatter it.
        settings = replace(settings, allow_missing=True)
        notes.append(
            f"{len(failed)} slides failed in an earlier stage and count as found normal: {', '.join(failed)}"
        )
    evaluated = [_evaluated_slide(study, slide, predictions.get(slide.source.slide_id)) for slide in slides]
    training = _training_probabilities(study, predictions)
    has_both = len({label for label, _ in training.values()}) == 2
    point = choose_operating_point(training, evaluated, settings) if has_both else None
    evaluation = evaluate(evaluated, settings, point, notes)
    write_evaluation(evaluation, output)
    return {
        "slides": len(slides),
        "froc": {result.rule: result.score for result in evaluation.froc},
        "auc": None if evaluation.auc is None else evaluation.auc.value,
    }


def _evaluated_slide(study: Study, slide: CohortSlide, prediction: SlidePrediction | None) -> EvaluatedSlide:
    slide_id = slide.source.slide_id
    size_px0, spacing_um, detections = None, None, None
    if prediction is not None:
        about = read_store_plan(study.folder.tiles(slide_id)).attributes["slide"]
        size_px0 = (about["size_px0"][0], about["size_px0"][1])
        spacing_um = float(np.sqrt(np.prod(about["pixel_size_um"])))
        lesions = read_lesions(study.folder.lesions(slide_id))
        rows = [(lesion.probability, lesion.x_px0, lesion.y_px0) for lesion in lesions]
        detections = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return EvaluatedSlide(
        slide_id=slide_id,
        label=slide.label or "normal",
        size_class=slide.size_class,
        centre=slide.centre,
        detections=detections,
        probability=None if prediction is None else prediction.probability,
        size_px0=size_px0,
        spacing_um=spacing_um,
        reference=slide_reference(study, slide),
        excluded_from=slide.excluded,
        exclusion_reason="; ".join(slide.notes),
    )


def _training_probabilities(
    study: Study, predictions: Mapping[str, SlidePrediction]
) -> dict[str, tuple[bool, float]]:
    """Label and held-out probability of the training slides, to choose a threshold on."""
    return {
        slide.source.slide_id: (slide.label == "tumor", held_out)
        for slide in study.slides
        if slide.source.slide_id in predictions
        and (held_out := predictions[slide.source.slide_id].held_out) is not None
    }
