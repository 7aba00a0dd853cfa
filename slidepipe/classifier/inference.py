"""Looking at a slide: the probability of tumour for any cells of a regular grid.

Two modes, one network. In **patch** mode every patch is looked at by itself, at any stride. In **dense** mode the trunk
of the network runs once over an area, and its head at every cell of it: what patches share is computed once. Areas lie
where they lie on the slide, whoever asks for which of their cells, and are all of one size: so neither the block in
which a cell is asked for nor the other cells change a bit of its probability. Areas without a wanted cell cost nothing.

For a network that does not pad, both modes give the same probabilities to rounding. Features of one that does have
seen the zeros around their patch in patch mode, and the slide around it in dense mode: another predictor. Its areas get
a margin, beyond which nothing reaches into a patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from slidepipe.classifier.card import ModelCard, check_pixel_size
from slidepipe.classifier.checkpoint import Classifier
from slidepipe.classifier.modes import pads, resolve_mode, trunk_stride
from slidepipe.classifier.pass_running import pass_runner, patches_per_pass
from slidepipe.classifier.passes import DensePass, PatchPass, pass_memory
from slidepipe.classifier.settings import FEATURES_PER_STRIDE, InferenceSettings
from slidepipe.errors import ModelError
from slidepipe.geometry import ceil_div
from slidepipe.tiles.reading_ahead import read_ahead
from slidepipe.tiles.store import TileStore
from slidepipe.timing import Stopwatch

_AHEAD = 3
"""Pieces of memory for pixels: one is computed with, the others are being filled."""

_BAND_PX = 8192
"""Width of the bands in which cells are taken, row by row: few enough tiles in a row to keep them for the next one."""

_AREA_PX, _PADDED_AREA_PX = 512, 2048
"""About the side of an area without its margin. Small areas stay in the caches of a CPU; a margin wants large ones."""

_MARGIN_PX = 224
"""Margin of areas for a network that pads. With it ResNet-18 gives bit for bit what it gives on the whole slide."""


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """Batches of windows for a pass, and where its answers go."""

    corners: list[NDArray[np.int64]]
    """Corners (x, y) of the windows of each batch, shape (n, 2) with the same n for all."""
    members: list[NDArray[np.int64]]
    """Per batch: numbers of the cells that it answers."""
    answers: list[tuple[NDArray[np.int64], ...]]
    """Per batch: index of these cells in what the pass gives."""
    size_px: int
    """Side of a window."""


def classify_cells(
    classifier: Classifier,
    store: TileStore,
    cells: NDArray[np.int64],
    stride_px: int,
    settings: InferenceSettings | None = None,
    watch: Stopwatch | None = None,
) -> NDArray[np.float32]:
    """Compute the probability of tumour of cells of a slide.

    A cell's patch is centred on the cell; where the difference of their sides is odd, it lies half a pixel to the
    left and above. On the CPU a probability does not depend, to the last bit, on which other cells are asked for, nor
    on their order.

    Parameters
    ----------
    classifier
        The network and its card.
    store
        Tile store of the slide. Background, damaged tiles and what lies beyond the slide are white. A thread of its
        own reads from it while the network computes.
    cells
        Cells (row, column) of a grid that starts at the slide's top-left corner, shape (n, 2).
    stride_px
        Side of a cell in stored pixels.
    settings
        Mode, size of a batch, test-time augmentation, precision and runtime; device and threads are those of
        `classifier` and its caller.
    watch
        Gets ``read``, ``wait`` (for pixels) and ``forward``.

    Returns
    -------
    ndarray
        Shape (n,), 0 to 1, in the order of `cells`; empty if there are none.

    Raises
    ------
    ModelError
        If the pixels of the store are not those that the network was trained on, the network cannot work in the mode
        at this stride, or a probability is not a number, which only broken weights give.
    StoreError
        If a tile of the store is damaged on the disk.
    """
    settings, watch = settings or InferenceSettings(), watch or Stopwatch()
    check_pixel_size(classifier.card, store.pixel_size, store.slide_id)
    probability = np.empty(len(cells), dtype=np.float32)
    if not len(cells):
        return probability
    batch_size = patches_per_pass(settings, classifier.device)
    if resolve_mode(settings.mode, classifier.card, stride_px) == "dense":
        module: torch.nn.Module = dense_pass(classifier, stride_px)
        work = _plan_areas(classifier.card, cells, stride_px, batch_size)
    else:
        module = classifier.patch_pass
        work = _plan_patches(classifier.card, cells, stride_px, batch_size)
    shape = (len(work.corners[0]), work.size_px, work.size_px, 3)
    make_memory = (
        partial(pass_memory, device=classifier.device) if store.decoder is None else store.decoder.empty
    )
    memory = [make_memory(shape) for _ in range(_AHEAD)]
    run = pass_runner(classifier, module, shape, settings)
    windows = read_ahead(store, work.corners, memory, watch)
    for pixels, members, answer in zip(windows, work.members, work.answers, strict=True):
        with watch.measure("forward"):
            probability[members] = run(pixels)[answer]
    return probability


def modes_apart(
    classifier: Classifier,
    store: TileStore,
    cells: NDArray[np.int64],
    probability: NDArray[np.float32],
    stride_px: int,
    settings: InferenceSettings,
) -> dict[str, float]:
    """Measure how far dense and patch mode are apart, on a few of the cells that were looked at.

    Parameters
    ----------
    classifier
        The network and its card.
    store
        Tile store of the slide.
    cells
        Cells that were looked at in dense mode, shape (n, 2).
    probability
        What dense mode gave for them.
    stride_px
        Side of a cell.
    settings
        As they were.

    Returns
    -------
    dict
        ``cells``, how many were compared: one in 64, spread evenly over `cells`, 64 at the most; ``sum`` and
        ``largest`` of the absolute differences in probability.
    """
    count = min(ceil_div(len(cells), 64), 64)
    sample = np.linspace(0, len(cells) - 1, count, dtype=np.int64)
    by_patch = classify_cells(
        classifier,
        store,
        cells[sample],
        stride_px,
        replace(settings, mode="patch", batch_size=min(count, 64)),
    )
    apart = np.abs(by_patch - probability[sample]).astype(np.float64)
    return {"cells": count, "sum": float(apart.sum()), "largest": float(apart.max(initial=0))}


@lru_cache(maxsize=4)
def dense_pass(classifier: Classifier, stride_px: int) -> DensePass:
    """Make the pass of a network in dense mode, once per process.

    Parameters
    ----------
    classifier
        The network and its card.
    stride_px
        Distance between neighbouring patches.

    Returns
    -------
    DensePass
        On the device of `classifier`.

    Raises
    ------
    ModelError
        If the network is not split into trunk and head.
    """
    card, trunk_stride_px = classifier.card, trunk_stride(classifier.card)
    if trunk_stride_px is None or not isinstance(classifier.patch_pass, PatchPass):
        raise ModelError(f"the network {card.architecture!r} is not split into trunk and head")
    feature_px = Fraction(trunk_stride_px, FEATURES_PER_STRIDE.get(card.architecture, 1))
    return DensePass(classifier.patch_pass, card.patch_px, feature_px, stride_px, _margin(card))


def _margin(card: ModelCard) -> int:
    trunk_stride_px = trunk_stride(card)
    if trunk_stride_px is None or not pads(card):
        return 0
    return ceil_div(_MARGIN_PX, trunk_stride_px) * trunk_stride_px


def _plan_patches(card: ModelCard, cells: NDArray[np.int64], stride_px: int, batch_size: int) -> _Work:
    corners = cells[:, ::-1] * stride_px + (stride_px - card.patch_px) // 2
    order = _in_bands(cells, stride_px)
    members = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return _Work(
        # Repeated patches fill the last batch up.
        corners=[corners[np.resize(batch, batch_size)] for batch in members],
        members=members,
        answers=[(np.arange(len(batch)),) for batch in members],
        size_px=card.patch_px,
    )


def _plan_areas(card: ModelCard, cells: NDArray[np.int64], stride_px: int, batch_size: int) -> _Work:
    margin = _margin(card)
    area_px = _PADDED_AREA_PX if margin else _AREA_PX
    side = 2 ** max(round(math.log2(area_px / stride_px)), 0)
    size_px = (side - 1) * stride_px + card.patch_px + 2 * margin
    per_pass = max(batch_size * card.patch_px**2 // size_px**2, 1)
    areas, area_of = np.unique(cells // side, axis=0, return_inverse=True)
    order = _in_bands(areas, side * stride_px)
    place = np.empty(len(areas), dtype=np.int64)
    place[order] = np.arange(len(areas))
    pass_of, within = np.divmod(place[area_of], per_pass)
    corners = areas[order][:, ::-1] * side * stride_px + (stride_px - card.patch_px) // 2 - margin
    starts = range(0, len(order), per_pass)
    by_pass = np.argsort(pass_of, kind="stable")
    members = np.split(by_pass, np.searchsorted(pass_of[by_pass], np.arange(1, len(starts))))
    return _Work(
        corners=[np.resize(corners[start : start + per_pass], (per_pass, 2)) for start in starts],
        members=members,
        answers=[(within[batch], *(cells[batch] % side).T) for batch in members],
        size_px=size_px,
    )


def _in_bands(places: NDArray[np.int64], step_px: int) -> NDArray[np.int64]:
    """Order (row, column) places row by row within bands, so that tiles are still at hand for the next row."""
    order: NDArray[np.int64] = np.lexsort((places[:, 1], places[:, 0], places[:, 1] * step_px // _BAND_PX))
    return order
