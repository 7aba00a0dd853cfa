"""Outlines of lesions: the connected region around a lesion's point, as a polygon in level-0 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from slidepipe.errors import ConfigError
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.components import label_regions
from slidepipe.lesions.lesion import Lesion
from slidepipe.lesions.tracing import trace_cells


@dataclass(frozen=True, slots=True)
class LesionRegion:
    """One connected region of a heatmap and the lesions that lie on it."""

    outline: shapely.Geometry
    """Valid outline in level-0 pixels, points (x, y). Several polygons where cells touch only at a corner."""
    lesions: tuple[Lesion, ...]
    """In the order given, so the most probable is first."""


def lesion_regions(heatmap: Heatmap, lesions: Sequence[Lesion], threshold: float) -> tuple[LesionRegion, ...]:
    """Outline the regions that lesions lie on, each region once.

    Parameters
    ----------
    heatmap
        Heatmap that the lesions were found on.
    lesions
        Lesions of this slide.
    threshold
        Threshold that they were found with; cells strictly above it make the region.

    Returns
    -------
    tuple of LesionRegion
        In the order in which `lesions` first reaches them; every lesion is in exactly one. Empty without lesions.

    Raises
    ------
    ConfigError
        If a lesion lies where the heatmap is not above the threshold: it was found on another heatmap, or with another
        threshold.
    """
    labels = label_regions(heatmap.probability, threshold)
    members: dict[int, list[Lesion]] = {}
    for lesion in lesions:
        members.setdefault(_region_at(labels, heatmap, lesion, threshold), []).append(lesion)
    boxes = ndimage.find_objects(labels) if members else []
    return tuple(
        LesionRegion(_outline(labels, number, boxes[number - 1], heatmap), tuple(group))
        for number, group in members.items()
    )


def lesion_outline(heatmap: Heatmap, lesion: Lesion, threshold: float) -> shapely.Geometry:
    """Outline the region that one lesion lies on.

    Parameters
    ----------
    heatmap
        Heatmap that the lesion was found on.
    lesion
        One lesion. For many, `lesion_regions` labels the heatmap only once.
    threshold
        Threshold that it was found with.

    Returns
    -------
    Polygon or MultiPolygon
        Union of the region's cells, cut off at the slide's edge; valid, in level-0 pixels, points (x, y).

    Raises
    ------
    ConfigError
        If the lesion lies where the heatmap is not above the threshold.
    """
    return lesion_regions(heatmap, [lesion], threshold)[0].outline


def _region_at(labels: NDArray[np.int32], heatmap: Heatmap, lesion: Lesion, threshold: float) -> int:
    row = int(lesion.y_px0 / heatmap.cell_px0[1])
    column = int(lesion.x_px0 / heatmap.cell_px0[0])
    rows, columns = labels.shape
    number = int(labels[row, column]) if 0 <= row < rows and 0 <= column < columns else 0
    if number == 0:
        raise ConfigError(
            f"slide {heatmap.slide_id}: lesion {lesion.number} at ({lesion.x_px0}, {lesion.y_px0}) does not lie above "
            f"{threshold:g} on the heatmap: use the threshold and the heatmap that it was found with"
        )
    return number


def _outline(
    labels: NDArray[np.int32], number: int, box: tuple[slice, ...], heatmap: Heatmap
) -> shapely.Geometry:
    cells = trace_cells(labels[box] == number)
    corner = (box[1].start, box[0].start)
    limit = np.array(heatmap.size_px0, dtype=np.float64)
    return shapely.transform(cells, lambda points: np.minimum((points + corner) * heatmap.cell_px0, limit))
