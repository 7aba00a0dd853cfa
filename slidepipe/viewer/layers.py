"""What lies over a slide: the heatmap as a picture, lesions and reference as drawing paths in level-0 pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from slidepipe.errors import ConfigError
from slidepipe.export.pyramid import halve
from slidepipe.export.slide_pictures import outline_path, probability_colours
from slidepipe.geometry import Scale
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion
from slidepipe.lesions.outlines import lesion_regions
from slidepipe.slides.annotations import read_annotation

LONGEST_SIDE_PX = 4096
"""Longest side of a heatmap picture, which every browser draws."""

MOST_LESIONS = 500
"""Most lesions that are drawn and listed, the most probable ones; the page says so where there are more."""

_UM2_PER_MM2 = 1e6


@dataclass(frozen=True, slots=True)
class HeatmapLayer:
    """A heatmap made to fit a browser."""

    probability: NDArray[np.float32]
    """Shape (rows, columns); NaN was not looked at."""
    cell_px0: Scale
    """Level-0 pixels under one value."""
    cells: int
    """Heatmap cells along the side of one value; 1 shows every cell."""

    @property
    def extent_px0(self) -> Scale:
        """Level-0 pixels that it spans, from the slide's corner; the last cells may reach past the edge."""
        rows, columns = self.probability.shape
        return columns * self.cell_px0[0], rows * self.cell_px0[1]


def fit_heatmap(heatmap: Heatmap) -> HeatmapLayer:
    """Make a heatmap small enough to be one picture.

    Parameters
    ----------
    heatmap
        The heatmap.

    Returns
    -------
    HeatmapLayer
        Halved until it fits, each time keeping the highest of 2 × 2 cells: a single hot cell stays in sight.
    """
    probability, cells = heatmap.probability, 1
    while max(probability.shape, default=0) > LONGEST_SIDE_PX:
        probability, cells = halve(probability), 2 * cells
    return HeatmapLayer(probability, (heatmap.cell_px0[0] * cells, heatmap.cell_px0[1] * cells), cells)


def draw_layer(layer: HeatmapLayer) -> bytes:
    """Draw a heatmap in the colours of the report.

    Parameters
    ----------
    layer
        The heatmap, with at least one value.

    Returns
    -------
    bytes
        RGBA PNG, one pixel per value, transparent where nobody looked.

    Raises
    ------
    ExportError
        If a probability lies outside 0 to 1.
    """
    buffer = io.BytesIO()
    Image.fromarray(probability_colours(layer.probability)).save(buffer, "PNG")
    return buffer.getvalue()


def describe_lesions(
    heatmap: Heatmap | None, lesions: tuple[Lesion, ...] | None, threshold: float
) -> dict[str, Any]:
    """List lesions and outline the regions that they lie on.

    Parameters
    ----------
    heatmap
        Heatmap that they were found on; None leaves out the outlines.
    lesions
        Most probable first; None if none were looked for.
    threshold
        Threshold that they were found with.

    Returns
    -------
    dict
        ``lesions``: up to `MOST_LESIONS` of them, or None; ``regions``: each a path and the numbers of its lesions;
        ``notes``: what a reader should know.
    """
    shown = (lesions or ())[:MOST_LESIONS]
    notes, regions = [], []
    if lesions is not None and len(lesions) > len(shown):
        notes.append(f"Only the {len(shown)} most probable of {len(lesions):,} lesions are shown.")
    if heatmap is not None and shown:
        try:
            regions = [
                {
                    "path": outline_path(_rings(region.outline), 1.0),
                    "lesions": [one.number for one in region.lesions],
                }
                for region in lesion_regions(heatmap, shown, threshold)
            ]
        except ConfigError:
            notes.append(
                "The lesions were found with another threshold or heatmap, so they are not outlined: run predict again."
            )
    return {
        "lesions": None if lesions is None else [_lesion(one) for one in shown],
        "regions": regions,
        "notes": notes,
    }


def draw_reference(
    annotation: Path, slide_id: str, classes: dict[str, bool], origin_px0: tuple[int, int] = (0, 0)
) -> str:
    """Draw the reference outlines of a slide.

    Parameters
    ----------
    annotation
        The file.
    slide_id
        The slide.
    classes
        Meaning of classes that are not known by name.
    origin_px0
        What QuPath's coordinates count from: left and top of the scanned area.

    Returns
    -------
    str
        One path in level-0 pixels; empty without outlines.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    AnnotationError
        If it cannot be read.
    """
    outlines = read_annotation(annotation, slide_id, classes=classes, origin_px0=origin_px0).outlines
    return outline_path((outline.points_px0 for outline in outlines), 1.0)


def _lesion(lesion: Lesion) -> dict[str, Any]:
    return {
        "number": lesion.number,
        "probability": lesion.probability,
        "x": lesion.x_px0,
        "y": lesion.y_px0,
        "area_mm2": lesion.area_um2 / _UM2_PER_MM2,
        "diameter_um": lesion.diameter_um,
        "size": lesion.size_class,
    }


def _rings(outline: shapely.Geometry) -> Iterator[NDArray[np.float64]]:
    for polygon in shapely.get_parts(outline).tolist():
        for ring in (polygon.exterior, *polygon.interiors):
            yield shapely.get_coordinates(ring)
