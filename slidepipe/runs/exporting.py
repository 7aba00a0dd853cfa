"""The second half of the stage ``export``: the QuPath project around what was written of each slide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slidepipe.export.qupath import PROJECT_NAME, ProjectSlide, write_qupath_project
from slidepipe.heatmaps.store import read_heatmap_plan
from slidepipe.provenance import fingerprint
from slidepipe.runs.journal import Entry
from slidepipe.runs.plan import done_tokens
from slidepipe.runs.prediction import read_predictions
from slidepipe.runs.references import ScannedArea, scanned_area
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.stages import EXPORT, LESIONS

PROJECT_VERSION = 1
"""Part of the token: raised whenever the same results come to give another project."""


def scanned_areas(study: Study) -> dict[str, ScannedArea | None]:
    """Return the scanned area of each slide whose lesions were looked for.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    dict
        Slide name to left, top, width and height in level-0 pixels; None where the format does not tell.
    """
    return {slide_id: scanned_area(study, slide_id) for slide_id in done_tokens(study, LESIONS.name)}


def run_qupath_project(study: Study) -> list[Entry]:
    """Write the QuPath project.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    list of Entry
        Empty if the project is there.
    """
    exported = done_tokens(study, EXPORT.name)
    predict = study.journal.read("predict")
    material = {
        "slides": exported,
        "paths": [slide.source.path for slide in study.slides],
        "folder": str(study.folder.export.absolute()),
        "predictions": None if predict is None else predict.outputs,
    }
    token = fingerprint({"stage": ["qupath", PROJECT_VERSION], "in": material})
    project = study.folder.export / PROJECT_NAME
    return run_step(study, CohortStep("qupath", token, lambda: _write_project(study, exported), (project,)))


def _write_project(study: Study, exported: Mapping[str, str]) -> dict[str, Any]:
    predictions, areas = read_predictions(study), scanned_areas(study)
    slides, dates = [], [0.0]
    for slide in study.slides:
        slide_id = slide.source.slide_id
        if slide_id not in exported:
            continue
        entry = study.journal.read(EXPORT.name, slide_id)
        dates.append(entry.started if entry is not None else 0.0)
        slides.append(
            ProjectSlide(
                slide_id=slide_id,
                path=slide.source.path,
                bounds_px0=areas[slide_id],
                cell_px0=read_heatmap_plan(study.folder.heatmap(slide_id)).grid.cell_px0,
                probability=predictions[slide_id].probability if slide_id in predictions else None,
            )
        )
    write_qupath_project(study.folder.export, slides, timestamp_ms=int(max(dates) * 1000))
    return {"slides": len(slides)}
