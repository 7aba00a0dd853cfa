"""Detections by non-maximum suppression: the rule of NCRF, without its scans.

NCRF [1]_ repeats: take the largest value of the map, report it, set the square around it to zero, until nothing is
above the threshold. Each step scans the whole map, 185 s on a gigapixel slide with a million cells above the
threshold. Sorting the cells once and skipping those that are already covered gives the same detections in the same
order, about a hundred times faster.

Ties are frequent, since a confident network writes 1.0 on many cells, and the winner decides what is covered next. NCRF
takes the first of the flattened map, and its maps are indexed [x, y]: among equals the smallest x wins, then the
smallest y. Heatmaps here are [row, column], so the order is column by column.

.. [1] Li and Ping, Cancer Metastasis Detection With Neural Conditional Random Field, MIDL 2018,
   https://github.com/baidu-research/NCRF (wsi/nms.py)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BATCH = 1 << 16


def rank_cells(probability: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """List the cells above a threshold, most probable first.

    Parameters
    ----------
    probability
        Map of shape (rows, columns); NaN is never above a threshold.
    threshold
        Cells must be strictly above it. Compared in double precision, as NCRF's NumPy did: the float32 nearest to 0.8
        is above 0.8.

    Returns
    -------
    ndarray
        int64, shape (n, 2), columns [row, column]. Among equal cells the smallest column comes first, then the
        smallest row.
    """
    by_column = np.ascontiguousarray(probability.T).ravel()
    above = np.flatnonzero(np.greater(by_column, np.float64(threshold)))
    ranked = above[np.argsort(-by_column[above], kind="stable")]
    columns, rows = np.divmod(ranked, probability.shape[0])
    return np.column_stack((rows, columns))


def find_peaks(
    probability: NDArray[np.float32], radius_cells: tuple[int, int], threshold: float
) -> NDArray[np.int64]:
    """Find peaks so that each covers a square in which no later peak may lie.

    Parameters
    ----------
    probability
        Map of shape (rows, columns); NaN is never a peak.
    radius_cells
        Half the side of the square along x and y, 1 or more. The square is half open, as in NCRF: a peak at column c
        covers the columns from c - r up to but not including c + r.
    threshold
        Peaks must be strictly above it.

    Returns
    -------
    ndarray
        int64, shape (n, 2), columns [row, column], most probable first; n is 0 if nothing is above the threshold.

    Raises
    ------
    ValueError
        If a radius is less than 1: a peak would not even cover itself.
    """
    across, down = radius_cells
    if across < 1 or down < 1:
        raise ValueError(f"radius_cells must be 1 or more along both axes, got {radius_cells}")
    rows, columns = probability.shape
    covered = bytearray(rows * columns)
    covered_map = np.frombuffer(covered, dtype=np.bool_).reshape(rows, columns)
    ranked = rank_cells(probability, threshold)
    peaks: list[tuple[int, int]] = []
    for start in range(0, len(ranked), _BATCH):
        batch = ranked[start : start + _BATCH]
        batch = batch[~covered_map[batch[:, 0], batch[:, 1]]]
        for row, column in batch.tolist():
            if not covered[row * columns + column]:
                peaks.append((row, column))
                covered_map[max(0, row - down) : row + down, max(0, column - across) : column + across] = True
    return np.array(peaks, dtype=np.int64).reshape(-1, 2)
