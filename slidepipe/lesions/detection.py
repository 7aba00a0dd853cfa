"""From a heatmap to its lesions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.components import find_components, label_regions, measure_regions
from slidepipe.lesions.lesion import Lesion
from slidepipe.lesions.peaks import find_peaks


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionSettings:
    """How lesions are read off a heatmap."""

    method: Literal["nms", "components"] = "nms"
    """``nms`` puts a lesion on each peak that no stronger peak covers, so a large metastasis gets several; this is the
    rule of NCRF, whose published FROC is the baseline. ``components`` puts one lesion on each connected region."""
    threshold: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Cells count when strictly above this probability. 0.5 is NCRF's; with ``components``, 0.9 was the challenge
    winner's."""
    radius_um: Annotated[float, Gt(0)] = 187.0
    """Half the side of the square that a peak covers, in µm; used by ``nms``, rounded to whole cells and at least one.
    187 µm is NCRF's radius of 12 cells of 64 pixels of 0.243 µm."""
    min_area_um2: Annotated[float, Ge(0)] = 0.0
    """Lesions whose connected region is smaller are dropped. 0 keeps all, since single cells can be true hits."""


def detect_lesions(heatmap: Heatmap, settings: LesionSettings) -> tuple[Lesion, ...]:
    """Find the lesions of a slide.

    Parameters
    ----------
    heatmap
        Tumour probability of the slide; NaN cells, which nobody looked at, hold no lesion.
    settings
        Method and thresholds.

    Returns
    -------
    tuple of Lesion
        Most probable first, numbered from 1. The point of a lesion is the centre of its heatmap cell, rounded down to
        a level-0 pixel, and the slide's last pixel where the centre of a cell at the edge lies beyond it. Area and
        diameter describe the connected region above the threshold around the point, whichever the method.
    """
    cell = heatmap.cell_um
    if settings.method == "nms":
        cells = find_peaks(heatmap.probability, _radius_cells(settings.radius_um, cell), settings.threshold)
    else:
        cells = find_components(heatmap.probability, settings.threshold)
    labels = label_regions(heatmap.probability, settings.threshold)
    numbers: list[int] = labels[cells[:, 0], cells[:, 1]].tolist()
    regions = measure_regions(labels, numbers, cell)
    lesions: list[Lesion] = []
    for (row, column), number in zip(cells.tolist(), numbers, strict=True):
        region = regions[number]
        if region.area_um2 < settings.min_area_um2:
            continue
        x, y = _point_px0(heatmap, row, column)
        lesions.append(
            Lesion(
                slide_id=heatmap.slide_id,
                number=len(lesions) + 1,
                probability=float(heatmap.probability[row, column]),
                x_px0=x,
                y_px0=y,
                area_um2=region.area_um2,
                diameter_um=region.diameter_um,
            )
        )
    return tuple(lesions)


def _radius_cells(radius_um: float, cell: PixelSize) -> tuple[int, int]:
    return max(1, round(radius_um / cell.x_um)), max(1, round(radius_um / cell.y_um))


def _point_px0(heatmap: Heatmap, row: int, column: int) -> tuple[int, int]:
    width, height = heatmap.size_px0
    across, down = heatmap.cell_px0
    return min(int((column + 0.5) * across), width - 1), min(int((row + 0.5) * down), height - 1)
