"""Heatmaps at half size, for what is shown from far away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import ExportError
from slidepipe.heatmaps.heatmap import Heatmap


def halve(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Merge each 2 × 2 cells into their largest, so that a lesion of one cell is not averaged away.

    Parameters
    ----------
    probability
        Map of shape (rows, columns).

    Returns
    -------
    ndarray
        float32, shape (ceil(rows / 2), ceil(columns / 2)); NaN where all the cells are NaN.
    """
    rows, columns = probability.shape
    even = np.pad(probability, ((0, rows % 2), (0, columns % 2)), constant_values=np.nan)
    merged: NDArray[np.float32] = np.fmax.reduce(
        (even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2])
    )
    return merged


def heatmap_levels(heatmap: Heatmap, side_px: int) -> tuple[NDArray[np.float32], ...]:
    """Make the levels of an image of a heatmap, each half as large as the one before.

    Parameters
    ----------
    heatmap
        Tumour probability of one slide.
    side_px
        The last level is the first whose longer side is not above this.

    Returns
    -------
    tuple of ndarray
        The probabilities as they are, then halved ever again.

    Raises
    ------
    ExportError
        If the heatmap has no cell.
    """
    if heatmap.probability.size == 0:
        raise ExportError(f"slide {heatmap.slide_id}: the heatmap has no cell, so there is no image to write")
    levels = [heatmap.probability]
    while max(levels[-1].shape) > side_px:
        levels.append(halve(levels[-1]))
    return tuple(levels)
