"""Looking at a slide: the probability of tumour for any cells of a regular grid, patch by patch.

Every patch is looked at by itself, at any stride. Pixels are read in large windows, of which patches are cut as views:
at a stride of half a patch every pixel belongs to four patches, and is read and decoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from slidepipe.classifier.card import check_pixel_size
from slidepipe.classifier.checkpoint import Classifier
from slidepipe.tiles.store import TileStore

_WINDOW_PX = 2048
"""Side of the area whose cells are read together: with all its patches 13 MB, and 28 tiles of 512 px at the most."""


def classify_cells(
    classifier: Classifier,
    store: TileStore,
    cells: NDArray[np.int64],
    stride_px: int,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Compute the probability of tumour of cells of a slide.

    A cell's patch is centred on the cell; where the difference of their sides is odd, it lies half a pixel to the
    left and above. Every batch is filled up to `batch_size`, so on the CPU a probability does not depend, to the last
    bit, on which other cells are asked for, nor on their order.

    Parameters
    ----------
    classifier
        The network and its card.
    store
        Tile store of the slide. Background, damaged tiles and what lies beyond the slide are white.
    cells
        Cells (row, column) of a grid that starts at the slide's top-left corner, shape (n, 2).
    stride_px
        Side of a cell in stored pixels.
    batch_size
        Patches per forward pass.
    progress
        Called after every batch with the number of cells done.

    Returns
    -------
    ndarray
        Shape (n,), 0 to 1, in the order of `cells`; empty if there are none.

    Raises
    ------
    ModelError
        If the pixels of the store are not those that the network was trained on.
    StoreError
        If a tile of the store is damaged on the disk.
    """
    check_pixel_size(classifier.card, store.pixel_size, store.slide_id)
    side = classifier.card.patch_px
    probability = np.empty(len(cells), dtype=np.float32)
    batch = np.full((batch_size, side, side, 3), 255, dtype=np.uint8)
    members: list[int] = []
    done = 0
    for number, patch in _patches(store, cells, stride_px, side):
        batch[len(members)] = patch
        members.append(number)
        if len(members) == batch_size or done + len(members) == len(cells):
            # What an unfinished batch still holds of the one before fills it up and is not looked at.
            probability[members] = classifier.probabilities(batch)[: len(members)]
            done += len(members)
            members.clear()
            if progress is not None:
                progress(done)
    return probability


def _patches(
    store: TileStore, cells: NDArray[np.int64], stride_px: int, side: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut the patch of each cell, window by window in raster order, with the cell's number."""
    corners = cells[:, ::-1] * stride_px + (stride_px - side) // 2
    windows = cells // max(_WINDOW_PX // stride_px, 1)
    order = np.lexsort((cells[:, 1], cells[:, 0], windows[:, 1], windows[:, 0]))
    ends = np.flatnonzero(np.any(np.diff(windows[order], axis=0), axis=1)) + 1
    for members in np.split(order, ends) if len(order) else ():
        left, top = corners[members].min(axis=0).tolist()
        right, bottom = (corners[members].max(axis=0) + side).tolist()
        window = store.read_window(left, top, right - left, bottom - top)
        for number in members.tolist():
            x, y = (corners[number] - (left, top)).tolist()
            yield number, window[y : y + side, x : x + side]
