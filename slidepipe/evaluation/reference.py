"""Reference lesions: from a tumour mask to the components that count as lesions, by the organisers' rule.

Tumour is grown by 37.5 µm on every side, holes are filled and what touches, also at a corner, is one lesion. Lesions
whose long axis is then below 275 µm hold isolated tumour cells only (ITC): they are no targets, and hitting them is
neither right nor wrong. The organisers' scripts work on the whole slide with a distance transform; here only the
window around the tumour is looked at, and it is grown by a disc, which gives the same pixels in a fraction of the
memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from slidepipe.errors import EvaluationError

GROWTH_UM = 75.0
"""Width by which tumour is grown, half of it on each side: about five tumour cells."""
ITC_UM = 275.0
"""Lesions whose long axis, growth included, is shorter than this hold isolated tumour cells only: 200 µm + 75 µm."""

_ANY_SIDE = np.ones((3, 3), dtype=np.bool_)
"""Neighbours that touch at a side or at a corner."""


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceLesions:
    """The lesions of one slide, as the rules see them."""

    labels: NDArray[np.int32]
    """Window of the mask that holds every lesion: 0 outside, k in lesion k, numbered from 1 row by row."""
    origin: tuple[int, int]
    """Row and column of the window in the mask."""
    shape: tuple[int, int]
    """Rows and columns of the whole mask."""
    pixel_um: float
    """Side of a mask pixel in µm that the rule believes in."""
    area_px: NDArray[np.int64]
    """Pixels of each lesion, growth included."""
    axis_px: NDArray[np.float64]
    """Long axis of each lesion in mask pixels, growth included."""

    @property
    def is_itc(self) -> NDArray[np.bool_]:
        """Which lesions hold isolated tumour cells only, shape (n,)."""
        return self.axis_px < ITC_UM / self.pixel_um

    @property
    def diameter_um(self) -> NDArray[np.float64]:
        """Long axis of each lesion in µm without the growth, never below 0, shape (n,)."""
        return np.maximum(self.axis_px * self.pixel_um - GROWTH_UM, 0.0)

    def label_at(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Look up which lesion mask pixels belong to.

        Parameters
        ----------
        rows
            Row of each pixel in the whole mask, any number; outside the mask there is no lesion.
        columns
            Column of each.

        Returns
        -------
        ndarray
            int64, number of the lesion or 0.
        """
        rows, columns = rows - self.origin[0], columns - self.origin[1]
        height, width = self.labels.shape
        known = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        found = np.zeros(len(rows), dtype=np.int64)
        found[known] = self.labels[rows[known], columns[known]]
        return found


def find_reference_lesions(
    mask: NDArray[np.bool_], pixel_um: float, *, phantom: bool = False
) -> ReferenceLesions:
    """Find the lesions in a mask of tumour.

    Parameters
    ----------
    mask
        True where there is tumour, shape (rows, columns).
    pixel_um
        Side of a mask pixel in µm.
    phantom
        What to do with a mask without any tumour. The distance transform of the original scripts has then nothing
        to measure from and, by an accident of SciPy, measures from a point above the top-left pixel: an ITC of some
        17 pixels appears in that corner. True imitates it, False raises.

    Returns
    -------
    ReferenceLesions
        One entry per connected component, in raster order of their first pixels.

    Raises
    ------
    EvaluationError
        If there is no tumour in `mask` and `phantom` is False.

    Notes
    -----
    Grown pixels are nearer than 75/(2 · `pixel_um`) pixels to a tumour pixel, strictly. Holes are background that
    is not connected, side by side, to the edge of the mask. The long axis is 4 · √λ with λ the larger eigenvalue of
    the population covariance of the pixel coordinates, as ``regionprops`` of scikit-image has it. Sources:
    ``computeEvaluationMask`` and ``computeITCList`` in [1]_.

    References
    ----------
    .. [1] https://github.com/computationalpathologygroup/Camelyon16 (Python/Evaluation_FROC.py)
    """
    reach = GROWTH_UM / (2 * pixel_um)
    tumour_rows, tumour_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if tumour_rows.size == 0:
        if not phantom:
            raise EvaluationError(
                f"the reference mask of {mask.shape[0]} × {mask.shape[1]} pixels holds no tumour"
            )
        return _measured(_phantom_corner(mask.shape, reach), (0, 0), mask.shape, pixel_um)
    # One pixel more than the growth reaches, so that around the window there is background all the way to the edge.
    margin = math.ceil(reach) + 1
    top, bottom = max(int(tumour_rows[0]) - margin, 0), int(tumour_rows[-1]) + margin + 1
    left, right = max(int(tumour_columns[0]) - margin, 0), int(tumour_columns[-1]) + margin + 1
    grown = _fill_holes(_grow(mask[top:bottom, left:right], reach))
    return _measured(grown, (top, left), mask.shape, pixel_um)


def _grow(mask: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Every pixel whose distance to a True one is below `reach`: a disc, drawn as one run per row offset."""
    rows = mask.shape[0]
    half_widths = _disc(reach)
    grown = np.zeros_like(mask)
    run, drawn = mask.copy(), 0
    for offset in reversed(range(len(half_widths))):
        while drawn < half_widths[offset]:
            run = _widen(run)
            drawn += 1
        if offset >= rows:
            continue
        grown[offset:] |= run[: rows - offset]
        grown[: rows - offset] |= run[offset:]
    return grown


def _disc(reach: float) -> list[int]:
    """Half width of a disc at row offsets 0, 1, 2, ...: largest x with √(x² + offset²) < `reach`."""
    widths = []
    for offset in range(math.ceil(reach) + 1):
        inside = [x for x in range(math.ceil(reach) + 1) if math.sqrt(x * x + offset * offset) < reach]
        if inside:
            widths.append(inside[-1])
    return widths


def _widen(run: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wider = run.copy()
    wider[:, 1:] |= run[:, :-1]
    wider[:, :-1] |= run[:, 1:]
    return wider


def _fill_holes(grown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    background, count = ndimage.label(~grown)
    is_open = np.zeros(count + 1, dtype=np.bool_)
    for edge in (background[0], background[-1], background[:, 0], background[:, -1]):
        is_open[edge] = True
    is_open[0] = False
    return np.asarray(~is_open[background])


def _phantom_corner(shape: tuple[int, int], reach: float) -> NDArray[np.bool_]:
    size = math.ceil(reach) + 1
    rows, columns = np.ogrid[: min(size, shape[0]), : min(size, shape[1])]
    return np.asarray(np.sqrt((rows + 1.0) ** 2 + columns**2) < reach)


def _measured(
    grown: NDArray[np.bool_], origin: tuple[int, int], shape: tuple[int, int], pixel_um: float
) -> ReferenceLesions:
    labels = np.zeros(grown.shape, dtype=np.int32)
    count = ndimage.label(grown, structure=_ANY_SIDE, output=labels)
    rows, columns = np.nonzero(labels)
    index = labels[rows, columns] - 1
    area = np.bincount(index, minlength=count)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(index, weights=values, minlength=count) / area

    # Deviations from the mean, not raw moments: coordinates are large and lesions small.
    dy, dx = rows - mean(rows.astype(np.float64))[index], columns - mean(columns.astype(np.float64))[index]
    yy, xx, xy = mean(dy * dy), mean(dx * dx), mean(dx * dy)
    largest = (yy + xx) / 2 + np.sqrt(((yy - xx) / 2) ** 2 + xy * xy)
    return ReferenceLesions(
        labels=labels,
        origin=origin,
        shape=(int(shape[0]), int(shape[1])),
        pixel_um=pixel_um,
        area_px=area.astype(np.int64),
        axis_px=4 * np.sqrt(largest),
    )
