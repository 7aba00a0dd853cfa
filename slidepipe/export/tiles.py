"""Cells of a heatmap as tiles with whole-pixel sides, few enough for the program that is to show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.export.pyramid import halve
from slidepipe.heatmaps.heatmap import Heatmap


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Tiles on a regular grid; those whose probability is NaN do not exist."""

    probability: NDArray[np.float32]
    """Shape (rows, columns): the largest probability of the cells in each tile."""
    xs: list[int]
    """Left side of each column, then the right side of the last, in pixels from `offset_px0`."""
    ys: list[int]
    """Top of each row, then the lower side of the last."""
    cells: int
    """Side of a tile in heatmap cells."""

    @property
    def count(self) -> int:
        """Number of tiles that exist."""
        return int(np.isfinite(self.probability).sum())


def plan_tiles(heatmap: Heatmap, most: int, offset_px0: tuple[int, int] = (0, 0)) -> Tiles:
    """Make tiles of 1 × 1, 2 × 2, 4 × 4, ... cells, whichever first are not too many.

    Parameters
    ----------
    heatmap
        Tumour probability of one slide.
    most
        Largest number of tiles, 1 or more.
    offset_px0
        Level-0 pixel that points are counted from.

    Returns
    -------
    Tiles
        Cut off at the slide's edge. Neighbours share their sides.
    """
    probability, cells = heatmap.probability, 1
    while np.count_nonzero(np.isfinite(probability)) > most:
        probability = halve(probability)
        cells *= 2
    rows, columns = probability.shape
    width, height = heatmap.size_px0
    xs = _lines(columns, heatmap.cell_px0[0] * cells, width, offset_px0[0])
    ys = _lines(rows, heatmap.cell_px0[1] * cells, height, offset_px0[1])
    return Tiles(probability, xs, ys, cells)


def _lines(count: int, step_px0: float, limit_px0: int, offset_px0: int) -> list[int]:
    lines_px0 = np.minimum(np.arange(count + 1) * step_px0, limit_px0)
    lines: list[int] = (np.round(lines_px0).astype(np.int64) - offset_px0).tolist()
    return lines
