"""Results as DICOM objects, for slides that exist as DICOM: the way to a PACS viewer. Loaded only when asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from slidepipe.export.dicom import SlideResult, write_dicom
from slidepipe.heatmaps.store import open_heatmap
from slidepipe.lesions.lesion import read_lesions
from slidepipe.runs.journal import attempt
from slidepipe.runs.plan import done_tokens
from slidepipe.runs.prediction import read_predictions
from slidepipe.runs.study import Study
from slidepipe.stages import LESIONS


def export_dicom(study: Study, source: Path, console: Console) -> bool:
    """Write annotations, heatmap and report of every slide that `source` holds.

    Parameters
    ----------
    study
        The study, its lesions found.
    source
        One DICOM series, for a run of one slide, or a folder with one folder of each slide's name.
    console
        Where to tell what was written.

    Returns
    -------
    bool
        Whether anything failed.
    """
    slide_ids = list(done_tokens(study, LESIONS.name))
    failed = False
    for slide_id in slide_ids:
        series = source if len(slide_ids) == 1 and not (source / slide_id).is_dir() else source / slide_id
        outcome = attempt(_write, study, slide_id, series)
        failed = failed or outcome.failure is not None
        said = (
            f"{len(outcome.value)} files"
            if outcome.failure is None
            else f"{outcome.failure.kind}: {outcome.failure.message}"
        )
        console.print(f"dicom {escape(slide_id)}: {escape(said)}", soft_wrap=True)
    return failed


def _write(study: Study, slide_id: str, series: Path) -> tuple[Path, ...]:
    predictions = read_predictions(study)
    entry = study.journal.read(LESIONS.name, slide_id)
    result = SlideResult(
        heatmap=open_heatmap(study.folder.heatmap(slide_id)),
        lesions=read_lesions(study.folder.lesions(slide_id)),
        threshold=study.config.predict.lesions.threshold,
        probability=predictions[slide_id].probability if slide_id in predictions else None,
        when=datetime.fromtimestamp(0.0 if entry is None else entry.started, UTC),
    )
    return write_dicom(
        study.folder.export / "dicom" / slide_id, series, result, study.config.export.max_tiles
    )
