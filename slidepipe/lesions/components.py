"""Detections by connected regions: what is above the threshold and touches, also at a corner, is one lesion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from slidepipe.geometry import PixelSize
from slidepipe.lesions.peaks import rank_cells


@dataclass(frozen=True, slots=True)
class Region:
    """Size of one connected region of a heatmap."""

    area_um2: float
    """Area of its cells."""
    diameter_um: float
    """Largest distance between two corners of its cells."""


def label_regions(probability: NDArray[np.float32], threshold: float) -> NDArray[np.int32]:
    """Give each connected region above a threshold a number.

    Parameters
    ----------
    probability
        Map of shape (rows, columns); NaN belongs to no region.
    threshold
        Cells must be strictly above it.

    Returns
    -------
    ndarray
        int32, shape (rows, columns): 0 outside, otherwise the region's number, from 1 in raster order. Cells that
        touch at a side or a corner belong together.
    """
    above = np.greater(probability, np.float64(threshold))
    labels = np.zeros(probability.shape, dtype=np.int32)
    ndimage.label(above, structure=np.ones((3, 3), dtype=bool), output=labels)
    return labels


def find_components(probability: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Find the most probable cell of each connected region, as the challenge's winner did [1]_.

    Parameters
    ----------
    probability
        Map of shape (rows, columns); NaN belongs to no region.
    threshold
        Cells must be strictly above it.

    Returns
    -------
    ndarray
        int64, shape (n, 2), columns [row, column], one cell per region, most probable first. Ties go as in
        `slidepipe.lesions.peaks.rank_cells`.

    References
    ----------
    .. [1] Wang et al., Deep Learning for Identifying Metastatic Breast Cancer, arXiv:1606.05718. There the threshold
       was 0.9.
    """
    ranked = rank_cells(probability, threshold)
    labels = label_regions(probability, threshold)
    _, first = np.unique(labels[ranked[:, 0], ranked[:, 1]], return_index=True)
    return ranked[np.sort(first)]


def measure_regions(labels: NDArray[np.int32], wanted: Iterable[int], cell: PixelSize) -> dict[int, Region]:
    """Measure some of the regions of a label image.

    Parameters
    ----------
    labels
        As returned by `label_regions`.
    wanted
        Numbers of the regions to measure; repeats are measured once.
    cell
        Size of a cell.

    Returns
    -------
    dict
        Number of the region to its size.
    """
    boxes = ndimage.find_objects(labels)
    return {number: _measure(labels[boxes[number - 1]] == number, cell) for number in sorted(set(wanted))}


def _measure(mask: NDArray[np.bool_], cell: PixelSize) -> Region:
    area_um2 = int(np.count_nonzero(mask)) * cell.x_um * cell.y_um
    # The hull of a region is the hull of the outermost corners of its rows.
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    x_um = np.concatenate((left, left, right, right)) * cell.x_um
    y_um = np.concatenate((rows, rows + 1, rows, rows + 1)) * cell.y_um
    hull = shapely.get_coordinates(shapely.convex_hull(shapely.multipoints(np.column_stack((x_um, y_um)))))
    apart = hull[:, None] - hull[None, :]
    return Region(area_um2, float(np.hypot(apart[..., 0], apart[..., 1]).max()))
