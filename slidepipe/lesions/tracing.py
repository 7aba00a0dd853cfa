"""The outline of a set of cells as polygons, by walking along its boundary.

Every side between a cell of the set and one outside is walked once, clockwise around the set, so that the set is on the
right. Where two cells meet only at a corner, the walk crosses over to the other if both belong to one piece, and stays
with its own if not. So no ring passes a point twice, the pieces become polygons of their own, and the result is valid
as it is. The union of as many squares is the same polygon, but takes minutes where a whole slide is tumour.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage


def trace_cells(mask: NDArray[np.bool_]) -> shapely.Geometry:
    """Outline a set of cells.

    Parameters
    ----------
    mask
        Shape (rows, columns), True for cells of the set; at least one.

    Returns
    -------
    Polygon or MultiPolygon
        One polygon for each piece of cells that touch at a side, with its holes; valid. Points are (x, y), and the cell
        at (row, column) is the square from (column, row) to (column + 1, row + 1). There is a point only where the
        outline turns.
    """
    pieces = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.int32)
    ndimage.label(np.pad(mask, 1), output=pieces)
    shells: dict[int, NDArray[np.float64]] = {}
    holes: dict[int, list[NDArray[np.float64]]] = {}
    for piece, ring in _rings(pieces):
        if _is_clockwise(ring):
            shells[piece] = ring
        else:
            holes.setdefault(piece, []).append(ring)
    polygons = [shapely.Polygon(shell, holes.get(piece)) for piece, shell in sorted(shells.items())]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def _rings(pieces: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    sides, following = _sides(pieces)
    heading, cell = np.divmod(sides, pieces.size)
    row, column = np.divmod(cell, pieces.shape[1])
    # Where a side begins, seen from its cell: top left for the upper side, then clockwise. The padding is taken off.
    corner_x = column - 1 + np.isin(heading, (1, 2))
    corner_y = row - 1 + np.isin(heading, (2, 3))
    points = np.column_stack((corner_x, corner_y)).astype(np.float64)
    after = following.tolist()
    is_walked = bytearray(len(sides))
    for start in range(len(sides)):
        walk = []
        side = start
        while not is_walked[side]:
            is_walked[side] = True
            walk.append(side)
            side = after[side]
        if walk:
            turns = heading[walk] != heading[walk[-1:] + walk[:-1]]
            yield int(pieces.flat[cell[start]]), points[walk][turns]


def _sides(pieces: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the sides of the boundary, each as heading * cells + cell, and find which one follows each."""
    flat = pieces.ravel()
    steps = (1, pieces.shape[1], -1, -pieces.shape[1])
    inside = np.flatnonzero(flat)
    sides, targets = [], []
    for heading, step in enumerate(steps):
        outward = steps[heading - 1]
        cell = inside[flat[inside + outward] == 0]
        ahead, beyond = cell + step, cell + step + outward
        is_open = flat[ahead] > 0
        turns_left = (flat[beyond] > 0) & (is_open | (flat[beyond] == flat[cell]))
        straight_or_right = np.where(
            is_open, heading * flat.size + ahead, (heading + 1) % 4 * flat.size + cell
        )
        sides.append(heading * flat.size + cell)
        targets.append(np.where(turns_left, (heading - 1) % 4 * flat.size + beyond, straight_or_right))
    all_sides = np.concatenate(sides)
    return all_sides, np.searchsorted(all_sides, np.concatenate(targets))


def _is_clockwise(ring: NDArray[np.float64]) -> bool:
    x, y = ring.T
    return bool(np.dot(x, np.roll(y, -1)) > np.dot(np.roll(x, -1), y))
