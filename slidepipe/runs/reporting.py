"""The stage ``report``: gathers what the run holds and has the page written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slidepipe.classifier.card import read_card
from slidepipe.classifier.training_history import PLOT_NAME
from slidepipe.evaluation.output import FILE_NAME
from slidepipe.export.report import (
    FailureRow,
    ReportInputs,
    SlideRow,
    StageRow,
    TrainingRow,
    write_report,
)
from slidepipe.lesions.lesion import read_lesions
from slidepipe.provenance import fingerprint, software_versions
from slidepipe.runs.journal import COHORT, Entry
from slidepipe.runs.plan import done_tokens, model_folder
from slidepipe.runs.prediction import SlidePrediction, read_predictions
from slidepipe.runs.references import slide_reference
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import EXPORT, HEATMAP, LESIONS, TILE
from slidepipe.storage.publish import read_json
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import BACKGROUND, DAMAGED

REPORT_VERSION = 2
"""Part of the token: raised whenever the same results come to give another page."""

JOURNAL_STAGES = (
    TILE.name,
    "train",
    HEATMAP.name,
    "mine",
    LESIONS.name,
    "predict",
    "evaluate",
    EXPORT.name,
    "qupath",
)
"""Stages of the journal before the report, in order."""


def run_report(study: Study) -> list[Entry]:
    """Write the report.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    list of Entry
        Empty if the page is there.
    """
    entries = [entry for stage in JOURNAL_STAGES for entry in study.journal.entries(stage)]
    material = [asdict(entry) for entry in entries]
    token = fingerprint({"stage": ["report", REPORT_VERSION], "journal": material, "name": study.config.name})

    def work() -> Mapping[str, Any]:
        write_report(_inputs(study, entries), study.folder.report)
        return {"bytes": study.folder.report.stat().st_size}

    return run_step(study, CohortStep("report", token, work, (study.folder.report,)))


def _inputs(study: Study, entries: Sequence[Entry]) -> ReportInputs:
    tiled = done_tokens(study, TILE.name)
    predictions = read_predictions(study)
    found = done_tokens(study, LESIONS.name)
    rows = [
        _slide_row(study, slide, predictions.get(slide.source.slide_id), slide.source.slide_id in found)
        for slide in study.slides
        if slide.source.slide_id in tiled
    ]
    evaluate = study.journal.read("evaluate")
    is_evaluated = evaluate is not None and evaluate.state == "done"
    last = max((entry.started + entry.wall_s for entry in entries), default=0.0)
    return ReportInputs(
        title=study.config.name,
        created=datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        slides=rows,
        evaluation=read_json(study.folder.evaluation / FILE_NAME) if is_evaluated else None,
        stages=[row for stage in JOURNAL_STAGES if (row := _stage_row(stage, entries)) is not None],
        training=_training_row(study),
        failures=[_failure_row(study, entry) for entry in entries if entry.failure is not None],
        provenance=_provenance(study),
    )


def _slide_row(
    study: Study, slide: CohortSlide, prediction: SlidePrediction | None, is_searched: bool
) -> SlideRow:
    slide_id = slide.source.slide_id
    lesions = read_lesions(study.folder.lesions(slide_id)) if is_searched else ()
    reference = slide_reference(study, slide)
    rings = [] if reference is None else [outline.points_px0 for outline in reference.outlines]
    with open_tile_store(study.folder.tiles(slide_id)) as store:
        pixel_um2 = store.pixel_size0.scaled(store.tissue.scale_px0).mean_um ** 2
        return SlideRow(
            slide_id=slide_id,
            size_px0=store.size_px0,
            split=slide.split,
            label=slide.label,
            size_class=slide.size_class,
            centre=slide.centre,
            n_tiles=int((store.status != BACKGROUND).sum()),
            n_damaged=int((store.status == DAMAGED).sum()),
            tissue_mm2=float(store.tissue.mask.sum() * pixel_um2 / 1e6),
            probability=None if prediction is None else prediction.probability,
            n_lesions=len(lesions) if is_searched else None,
            lesions=lesions,
            thumbnail=study.folder.overviews / f"{slide_id}_thumbnail.jpg",
            heatmap=study.folder.heatmap(slide_id) if is_searched else None,
            reference_rings=rings,
        )


def _stage_row(stage: str, entries: Sequence[Entry]) -> StageRow | None:
    mine = [entry for entry in entries if entry.stage == stage and entry.state != "running"]
    if not mine:
        return None
    slides = [entry for entry in mine if entry.slide_id != COHORT]
    wall = _time_covered([(entry.started, entry.started + entry.wall_s) for entry in mine])
    return StageRow(
        name=stage,
        wall_s=wall,
        busy_s=sum(entry.busy_s for entry in mine),
        n_slides=len(slides) or None,
        n_failed=sum(entry.state == "failed" for entry in mine),
        peak_memory_bytes=max(entry.peak_bytes for entry in mine),
        work=_work_done(mine, wall),
    )


def _training_row(study: Study) -> TrainingRow | None:
    entry = study.journal.read("train")
    if entry is None or entry.state != "done" or study.config.inference.model is not None:
        return None
    metrics = entry.summary["metrics"]
    low, high = metrics["validation_auc_interval"]
    return TrainingRow(
        summary=f"The weights of epoch {metrics['epoch']} of {metrics['epochs']} are kept: AUC "
        f"{metrics['validation_auc']:.3f} ({low:.3f} to {high:.3f}) on {metrics['validation_patches']:,} patches for "
        "validation.",
        plot=(study.folder.model / PLOT_NAME).read_bytes(),
    )


def _time_covered(spans: Sequence[tuple[float, float]]) -> float:
    """Add up the time in which anything was done; a pause between two runs does not count."""
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def _work_done(entries: Sequence[Entry], seconds: float) -> str:
    for key, name in (("n_tiles", "tiles"), ("cells", "patches")):
        count = sum(entry.summary.get(key, 0) for entry in entries)
        if count:
            return f"{count:,} {name}, {count / max(seconds, 1e-3):,.0f} {name}/s"
    methods = [str(entry.summary["method"]) for entry in entries if "method" in entry.summary]
    return methods[0] if methods else ""


def _failure_row(study: Study, entry: Entry) -> FailureRow:
    failure = entry.failure
    if failure is None:
        raise ValueError(f"{entry.stage} of {entry.slide_id} did not fail")
    return FailureRow(
        slide_id=None if entry.slide_id == COHORT else entry.slide_id,
        stage=entry.stage,
        message=_without_file_names(study, f"{failure.kind}: {failure.message}"),
        traceback="" if failure.expected else _without_file_names(study, failure.traceback),
    )


def _without_file_names(study: Study, text: str) -> str:
    """Put a slide's name where its file is named: the page may be passed on, and a file name may name a patient."""
    for slide in study.slides:
        for name in (slide.source.path, Path(slide.source.path).name):
            text = text.replace(name, slide.source.slide_id)
    return text.replace(str(study.folder.root.absolute()), "the run")


def _provenance(study: Study) -> dict[str, object]:
    settings = asdict(study.config)
    settings.pop("slides")  # paths name people and places
    settings["inference"].pop("model")
    for key in ("files", "validation_files"):
        settings["train"].pop(key)
    parts: dict[str, object] = {"software": software_versions(), "settings": settings}
    heatmaps = done_tokens(study, HEATMAP.name)
    if heatmaps:
        card = read_card(model_folder(study))
        parts["model"] = {
            "architecture": card.architecture,
            "patch_px": card.patch_px,
            "mpp": card.mpp,
            "weights_sha256": card.weights_sha256,
            "metrics": card.metrics,
        }
    parts["tiles"] = done_tokens(study, TILE.name)
    parts["heatmaps"] = heatmaps
    return parts
