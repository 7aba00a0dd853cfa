"""Points on slides that training patches may be cut around, and the labels of those patches.

Every slide is looked at on a lattice of points, a sixth of a patch apart. A point is usable if it lies in tissue, on
a stored tile, and no patch around it touches a damaged tile. Patches are then cut *around* usable points, not centred
on them but shifted at random by less than a sixth of a patch, under both label rules such that the label stays true:

* A tumour point of the rule ``centre`` is a point inside an outline. Whatever the shift, it lies in the centre third
  of the patch, which makes the patch tumour as in PatchCamelyon.
* A tumour point of the rule ``fraction`` has enough tumour points in the patch centred on it. The shift is half as
  far, so the share of tumour of the patch that is cut may differ by that of a border a twelfth of a patch wide.
* A normal point has no tumour point in any patch that may be cut around it.

What is smaller than the lattice, a few cells, can be missed. Which slide gives what:

========================  ==============  ==============================================
label of the slide        tumour points   normal points
========================  ==============  ==============================================
normal                    none            all tissue
any other, annotated      yes             if every lesion of the slide is outlined
any other, no annotation  none            none; the slide is not used, and the card says so
========================  ==============  ==============================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from slidepipe.classifier.card import PIXEL_SIZE_TOLERANCE
from slidepipe.classifier.settings import PatchSettings
from slidepipe.errors import ModelError
from slidepipe.geometry import PixelSize, ceil_div
from slidepipe.provenance import fingerprint
from slidepipe.slides.outlines import SlideAnnotation
from slidepipe.slides.rasterise import rasterise
from slidepipe.storage.locations import location
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.tiles.store_plan import DAMAGED, STORED

_POINTS_PER_PATCH = 6
_NEAR_PATCHES = 2
_MOST_POINTS = 20_000
"""Points kept per slide and class, drawn at random: with the shift, far more patches than one training looks at, in
0.2 MB. All points of a large slide would be 100 MB."""


@dataclass(frozen=True, slots=True)
class TrainingSlide:
    """A slide to train on."""

    slide_id: str
    """Name of the slide."""
    store: str
    """Path of its tile store."""
    annotation: SlideAnnotation | None
    """Outlines of its tumour, where there are any."""
    label: Literal["normal", "tumor"] | None
    """What the reference says of the slide; None if nothing."""
    centre: str | None = None
    """Where it was scanned."""
    exhaustive: bool = True
    """Whether every lesion is outlined; if not, no tissue of the slide is known to be normal."""
    hard_negatives_px0: tuple[tuple[int, int], ...] = ()
    """Points (x, y) in level-0 pixels that an earlier model took for tumour; those in or beside tumour do not count."""


@dataclass(frozen=True, slots=True, eq=False)
class SlidePoints:
    """Points of one slide that patches may be cut around: int32, shape (n, 2), columns (x, y), in stored pixels."""

    slide_id: str
    """Name of the slide."""
    store: str
    """Path of its tile store."""
    store_token: str
    """What the store holds."""
    centre: str | None
    """Where it was scanned."""
    pixel_size: PixelSize
    """Size of a stored pixel."""
    tumour: NDArray[np.int32]
    """Points of tumour patches."""
    normal: NDArray[np.int32]
    """Points of normal patches."""
    near_tumour: NDArray[np.int32]
    """Points of normal patches at most two patches farther from tumour than a normal patch must be."""
    hard: NDArray[np.int32]
    """Points of normal patches that an earlier model took for tumour."""
    unused: str | None = None
    """Why the slide gives no patch, if that is by rule."""


def largest_shift(settings: PatchSettings) -> int:
    """Return how far a patch's centre may lie from its point, along x and along y.

    Parameters
    ----------
    settings
        Size of a patch and label rule.

    Returns
    -------
    int
        Pixels; shifts are smaller than this either way.
    """
    return settings.patch_px // (6 if settings.label_rule == "centre" else 12)


def patch_reach(settings: PatchSettings) -> int:
    """Return how far from its point a patch may reach, along x and along y.

    Parameters
    ----------
    settings
        Size of a patch and label rule.

    Returns
    -------
    int
        Pixels.
    """
    return ceil_div(settings.patch_px, 2) + largest_shift(settings)


def find_points(slide: TrainingSlide, settings: PatchSettings, seed: int) -> SlidePoints:
    """Find the points of one slide that training patches may be cut around.

    Parameters
    ----------
    slide
        Its tile store is opened and closed again; only the tissue mask and the tiles' states are read.
    settings
        Size of a patch and label rule.
    seed
        Which points are kept where there are more than needed. A slide's points do not depend on other
        slides.

    Returns
    -------
    SlidePoints
        At most 20,000 of each class, in raster order.

    Raises
    ------
    ModelError
        If a normal slide has tumour outlines.
    StoreError
        If the tile store cannot be used.
    """
    unused = _why_unused(slide)
    reach_px = patch_reach(settings)
    step_px = settings.patch_px // _POINTS_PER_PATCH
    with open_tile_store(location(slide.store)) as store:
        usable = _usable(store, step_px, reach_px) if unused is None else np.zeros((1, 1), dtype=np.bool_)
        step_px0 = (step_px * store.scale_px0[0], step_px * store.scale_px0[1])
        pixel_size, store_token = store.pixel_size, store.token
    tumour = np.zeros(usable.shape, dtype=np.bool_)
    if slide.annotation is not None:
        tumour = rasterise(slide.annotation, usable.shape, step_px0)
    reach = ceil_div(reach_px, step_px)
    is_normal = np.zeros(usable.shape, dtype=np.bool_)
    if slide.label == "normal" or slide.exhaustive:
        is_normal = usable & ~_grown(tumour, reach)
    is_near = is_normal & _grown(tumour, reach + _NEAR_PATCHES * _POINTS_PER_PATCH)
    random = np.random.default_rng([seed, int(fingerprint(slide.slide_id), 16)])
    return SlidePoints(
        slide_id=slide.slide_id,
        store=slide.store,
        store_token=store_token,
        centre=slide.centre,
        pixel_size=pixel_size,
        tumour=_points(usable & _tumour_points(tumour, settings), step_px, random),
        normal=_points(is_normal, step_px, random),
        near_tumour=_points(is_near, step_px, random),
        hard=_hard_points(slide, is_normal, step_px0, step_px),
        unused=unused,
    )


def _why_unused(slide: TrainingSlide) -> str | None:
    has_outlines = slide.annotation is not None and any(o.is_tumour for o in slide.annotation.outlines)
    if slide.label == "normal":
        if has_outlines:
            raise ModelError(
                f"{slide.slide_id} is labelled normal, but its annotation outlines tumour: correct one of them"
            )
        return None
    if slide.annotation is None:
        return "no annotation"
    return None if has_outlines else "no tumour in its annotation"


def _usable(store: TileStore, step_px: int, reach_px: int) -> NDArray[np.bool_]:
    """Mark the points of the lattice that lie in tissue on a stored tile, far enough from damaged tiles."""
    width, height = store.size_px
    rows = np.arange(0, height, step_px)
    columns = np.arange(0, width, step_px)
    usable: NDArray[np.bool_] = (
        store.status[np.ix_(rows // store.tile_px, columns // store.tile_px)] == STORED
    )
    mask, scale = store.tissue.mask, store.tissue.scale_px0
    mask_rows = np.minimum((rows * store.scale_px0[1] / scale[1]).astype(np.int64), mask.shape[0] - 1)
    mask_columns = np.minimum((columns * store.scale_px0[0] / scale[0]).astype(np.int64), mask.shape[1] - 1)
    usable &= mask[np.ix_(mask_rows, mask_columns)]
    for row, column in np.argwhere(store.status == DAMAGED):
        top, left = row * store.tile_px, column * store.tile_px
        near_rows = (rows > top - reach_px) & (rows < top + store.tile_px + reach_px)
        near_columns = (columns > left - reach_px) & (columns < left + store.tile_px + reach_px)
        usable[np.ix_(near_rows, near_columns)] = False
    return usable


def _tumour_points(tumour: NDArray[np.bool_], settings: PatchSettings) -> NDArray[np.bool_]:
    if settings.label_rule == "centre" or not tumour.any():
        return tumour
    share = ndimage.uniform_filter(tumour.astype(np.float32), size=_POINTS_PER_PATCH, mode="constant")
    # The filter adds and subtracts along the rows, so a full patch may come out a little below 1.
    enough: NDArray[np.bool_] = share >= settings.tumour_fraction - 1e-4
    return enough


def _grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Mark every point with a marked one at most `radius` rows and columns away."""
    grown = np.zeros_like(mask)
    if mask.any():
        # Tumour covers a small part of a slide; the filter need not see the rest.
        around = tuple(
            slice(max(int(marked[0]) - radius, 0), int(marked[-1]) + radius + 1)
            for marked in (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        )
        part = mask[around].view(np.uint8)
        grown[around] = ndimage.maximum_filter(part, size=2 * radius + 1, mode="constant")
    return grown


def _points(chosen: NDArray[np.bool_], step_px: int, random: np.random.Generator) -> NDArray[np.int32]:
    found = np.flatnonzero(chosen)
    if len(found) > _MOST_POINTS:
        found = np.sort(random.choice(found, _MOST_POINTS, replace=False))
    rows, columns = np.divmod(found, chosen.shape[1])
    return (np.column_stack((columns, rows)) * step_px).astype(np.int32)


def _hard_points(
    slide: TrainingSlide, is_normal: NDArray[np.bool_], step_px0: tuple[float, float], step_px: int
) -> NDArray[np.int32]:
    """Move hard negatives to the lattice, where it is known what is normal."""
    points_px0 = np.array(slide.hard_negatives_px0, dtype=np.float64).reshape(-1, 2)
    limits = (is_normal.shape[1] - 1, is_normal.shape[0] - 1)
    places = np.clip(np.rint(points_px0 / step_px0), 0, limits).astype(np.int64)
    chosen = np.zeros_like(is_normal)
    chosen[places[:, 1], places[:, 0]] = True
    rows, columns = np.nonzero(chosen & is_normal)
    return (np.column_stack((columns, rows)) * step_px).astype(np.int32)


def common_pixel_size(slides: Sequence[SlidePoints]) -> tuple[float, tuple[float, float]]:
    """Check that the slides can be trained on together, and say at which pixel size.

    Parameters
    ----------
    slides
        At least one.

    Returns
    -------
    tuple
        Geometric mean of the slides' pixels in µm, and the smallest and the largest.

    Raises
    ------
    ModelError
        If they differ by more than `PIXEL_SIZE_TOLERANCE`.
    """
    sides = sorted((slide.pixel_size.mean_um, slide.slide_id) for slide in slides)
    (least, finest), (most, coarsest) = sides[0], sides[-1]
    if most / least > 1 + PIXEL_SIZE_TOLERANCE:
        raise ModelError(
            f"the tile stores have different pixels, {least:.4g} µm on {finest} and {most:.4g} µm on {coarsest}, "
            f"more than {PIXEL_SIZE_TOLERANCE:.0%} apart: tile all slides at one mpp, {most:.4g} or more"
        )
    return math.exp(sum(math.log(side) for side, _ in sides) / len(sides)), (least, most)
