"""Results in DICOM, for archives and viewers that hold the slide in DICOM already. Needs the extra ``[dicom]``.

Everything belongs to the study of the slide and lies in its frame of reference, so viewers such as Slim show it on the
slide. That is also why these files carry the patient's name and numbers if, and as far as, the slide's files do: they
are part of the same record. Everything is marked as research.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from slidepipe.export.dicom_annotations import annotations_object
from slidepipe.export.dicom_heatmap import heatmap_object
from slidepipe.export.dicom_report import report_object
from slidepipe.export.dicom_source import finish, read_dicom_source
from slidepipe.export.tiles import plan_tiles
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion
from slidepipe.lesions.outlines import lesion_regions
from slidepipe.storage.publish import atomic_path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideResult:
    """What was found on one slide."""

    heatmap: Heatmap
    """Tumour probability of its cells."""
    lesions: Sequence[Lesion]
    """Lesions found on it, most probable first."""
    threshold: float
    """Threshold they were found with."""
    probability: float | None
    """Probability that the slide holds tumour; None if no slide model was applied."""
    when: datetime
    """When it was found, which all objects are dated with."""


def write_dicom(
    folder: Path, series: Path, result: SlideResult, max_tiles: int = 100_000
) -> tuple[Path, ...]:
    """Write annotations, heatmap and report of one slide.

    Parameters
    ----------
    folder
        Folder for ``annotations.dcm``, ``heatmap.dcm`` and ``report.dcm``; older ones are replaced. Equal inputs give
        equal bytes, so an archive sees at once what it has.
    series
        Folder with the slide's own DICOM files.
    result
        What was found.
    max_tiles
        Most tiles among the annotations; of more cells, larger tiles are made.

    Returns
    -------
    tuple of Path
        The files; without annotations if there is neither a lesion nor a cell that was looked at, and without report
        if there is neither a lesion nor a probability of the slide.

    Raises
    ------
    ExportError
        If the folder does not hold this slide.
    ConfigError
        If a lesion does not lie above the threshold.
    """
    heatmap = result.heatmap
    source = read_dicom_source(series, heatmap.slide_id, heatmap.size_px0)
    regions = lesion_regions(heatmap, result.lesions, result.threshold)
    objects = {
        "annotations.dcm": annotations_object(source, regions, plan_tiles(heatmap, max_tiles)),
        "heatmap.dcm": heatmap_object(source, heatmap),
        "report.dcm": report_object(source, regions, result.probability),
    }
    paths = []
    for name, dataset in objects.items():
        if dataset is None:
            (folder / name).unlink(missing_ok=True)
            continue
        finish(dataset, result.when)
        with atomic_path(folder / name) as temporary:
            dataset.save_as(temporary)
        paths.append(folder / name)
    return tuple(paths)
