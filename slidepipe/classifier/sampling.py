"""Draws of training patches, balanced by class and by slide, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.classifier.points import SlidePoints, largest_shift
from slidepipe.classifier.settings import PatchSettings
from slidepipe.storage.locations import location
from slidepipe.tiles.store import open_tile_store

_PATCHES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class PatchDraw:
    """Patches drawn from slides, in random order."""

    slide: NDArray[np.int64]
    """Position of the slide in the list that was drawn from, shape (n,)."""
    corner: NDArray[np.int64]
    """Top-left corner (x, y) in stored pixels, shape (n, 2); may lie beyond the slide's edge."""
    is_tumour: NDArray[np.bool_]
    """Label, shape (n,)."""


def draw_patches(
    slides: Sequence[SlidePoints], count: int, settings: PatchSettings, random: np.random.Generator
) -> PatchDraw:
    """Draw patches: each class gets its share, and within a class every slide the same number, to within one.

    Parameters
    ----------
    slides
        At least one has tumour points and one has normal points.
    count
        Number of patches, 2 or more. A slide with fewer points than are wanted of it gives some of them more
        than once, shifted differently.
    settings
        Shares and size of a patch.
    random
        Generator of this draw.

    Returns
    -------
    PatchDraw
        `count` patches in random order.
    """
    tumour_count = min(max(round(count * settings.positive_share), 1), count - 1)
    drawn: list[tuple[int, bool, NDArray[np.int32]]] = []
    for index, quota in _spread(tumour_count, [len(slide.tumour) for slide in slides], random):
        drawn.append((index, True, _choose(slides[index].tumour, quota, random)))
    for index, quota in _spread(count - tumour_count, [len(slide.normal) for slide in slides], random):
        hard, near = slides[index].hard, slides[index].near_tumour
        hard_quota = min(round(quota * settings.hard_negative_share), len(hard))
        near_quota = round((quota - hard_quota) * settings.near_tumour_share) if len(near) else 0
        drawn.append((index, False, _choose(hard, hard_quota, random)))
        drawn.append((index, False, _choose(near, near_quota, random)))
        drawn.append((index, False, _choose(slides[index].normal, quota - hard_quota - near_quota, random)))
    points = np.concatenate([chosen for _, _, chosen in drawn]).astype(np.int64)
    sizes = [len(chosen) for _, _, chosen in drawn]
    shift = largest_shift(settings)
    corner = points + random.integers(-shift + 1, shift, points.shape) - settings.patch_px // 2
    order = random.permutation(count)
    return PatchDraw(
        slide=np.repeat([index for index, _, _ in drawn], sizes)[order],
        corner=corner[order],
        is_tumour=np.repeat([is_tumour for _, is_tumour, _ in drawn], sizes)[order],
    )


def _spread(count: int, points: Sequence[int], random: np.random.Generator) -> list[tuple[int, int]]:
    """Share out `count` among the slides that have points; who gets one more than others is drawn."""
    having = [index for index, number in enumerate(points) if number]
    least, left = divmod(count, len(having))
    extra = set(random.permutation(len(having))[:left].tolist())
    return [(index, least + (place in extra)) for place, index in enumerate(having)]


def _choose(points: NDArray[np.int32], count: int, random: np.random.Generator) -> NDArray[np.int32]:
    if not count:
        return points[:0]
    return points[random.choice(len(points), count, replace=count > len(points))]


def read_patches(slides: Sequence[SlidePoints], draw: PatchDraw, patch_px: int) -> NDArray[np.uint8]:
    """Read drawn patches from the tile stores, slide by slide and tile by tile, so that a tile is decoded once.

    Parameters
    ----------
    slides
        The list that was drawn from.
    draw
        What to read.
    patch_px
        Side of a patch.

    Returns
    -------
    ndarray
        RGB, shape (n, patch_px, patch_px, 3), in the order of the draw; white beyond a slide's edge and on
        background tiles.

    Raises
    ------
    StoreError
        If a tile store cannot be used or a tile in it is damaged.
    """
    patches = np.empty((len(draw.slide), patch_px, patch_px, 3), dtype=np.uint8)
    for index in np.unique(draw.slide):
        wanted = np.flatnonzero(draw.slide == index)
        with open_tile_store(location(slides[index].store)) as store:
            tiles = draw.corner[wanted] // store.tile_px
            ordered = wanted[np.lexsort((tiles[:, 0], tiles[:, 1]))]
            for start in range(0, len(ordered), _PATCHES_AT_ONCE):
                members = ordered[start : start + _PATCHES_AT_ONCE]
                patches[members] = store.read_windows(draw.corner[members], patch_px, patch_px)
    return patches
