"""Where a slide has tissue: found on an overview, or read from a file that a person or another program drew.

The rules that look at pixels stand in `slidepipe.tiles.tissue_pixels`. Every length and area here is in µm,
so that settings mean the same on slides of every scanner.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import ArrayLike, NDArray

from slidepipe.geometry import PixelSize, Scale
from slidepipe.slides.reader import SlideReader
from slidepipe.slides.resample import read_overview
from slidepipe.tiles.tissue_pixels import find_ink, grow, majority, otsu_threshold, remove_small, saturation

_log = logging.getLogger(__name__)

_NOISE = 1e-9
"""Shares below this are rounding errors of the sums behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueSettings:
    """How tissue is told from glass."""

    method: Literal["otsu", "ncrf"] = "otsu"
    """Rule for single pixels. ``otsu``: saturation. ``ncrf``: saturation and brightness, as the NCRF baseline
    does; its own mask had pixels of 15.5 µm and was not cleaned (`median_um`, `min_object_um2` and
    `min_hole_um2` 0, `ink` false)."""
    mpp: Annotated[float, Gt(0)] = 8.0
    """Pixel size of the mask in µm. At 8 µm a lymph node slide has about 20 million pixels and the outline of
    a 200 µm metastasis is still round; a slide without such fine pixels uses its own."""
    black_guard: Annotated[int, Ge(0), Le(255)] = 50
    """Black is background: pixels below this in all of red, green and blue (``otsu``), or not above it in any
    of them (``ncrf``). 50 as in NCRF; haematoxylin is brighter at this pixel size."""
    min_saturation: Annotated[float, Ge(0), Le(1)] = 0.05
    """Lowest saturation that can be tissue, whatever Otsu's threshold says. The glass of a CAMELYON16 slide
    has 0.03, nearly all of it less than 0.04; without this, an empty slide would be full of tissue."""
    ink: bool = True
    """Whether blue, green and black pen marks are taken out. Black pigment in tissue goes with them where it
    fills an area larger than `min_hole_um2`."""
    median_um: Annotated[float, Ge(0)] = 24.0
    """Side of the median filter in µm, 3 pixels by default: removes dust, keeps strands. 0 leaves it out."""
    min_object_um2: Annotated[float, Ge(0)] = 2_500.0
    """Smaller pieces of tissue are dropped, in µm². The default is a square of 50 µm: dust, not a strand."""
    min_hole_um2: Annotated[float, Ge(0)] = 40_000.0
    """Smaller holes in tissue are filled, in µm². The default is a square of 200 µm: vessels and fat
    cells."""
    margin_um: Annotated[float, Ge(0)] = 64.0
    """How far around tissue tiles are stored, in µm, so that a patch centred on its edge finds pixels: half a
    patch of 256 px at 0.5 µm. The mask itself is kept without the margin."""


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """Where a slide has tissue."""

    mask: NDArray[np.bool_]
    """True is tissue, shape (rows, columns). Covers the whole slide; without any true pixel on an empty
    one."""
    scale_px0: Scale
    """Level-0 pixels per pixel of the mask, along x and y."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """What the rule decided by, for the record: ``saturation`` from 0 to 1, ``red``, ``green`` and ``blue``
    from 0 to 255. Empty where the mask was given."""

    def fraction(
        self, x_px0: ArrayLike, y_px0: ArrayLike, width_px0: float, height_px0: float
    ) -> NDArray[np.float64]:
        """Return how much of each of many rectangles is tissue.

        Parameters
        ----------
        x_px0, y_px0
            Top-left corners in level-0 pixels, arrays that broadcast against each other.
        width_px0, height_px0
            Size of every rectangle in level-0 pixels, more than 0.

        Returns
        -------
        ndarray
            float64, 0 to 1, in the broadcast shape: tissue area over the area of the part of the rectangle
            that lies on the slide; 0 where none of it does. Mask pixels count by the part of them that the
            rectangle covers.
        """
        rows, columns = self.mask.shape
        left, top = np.broadcast_arrays(np.asarray(x_px0, np.float64), np.asarray(y_px0, np.float64))
        right, bottom = (left + width_px0) / self.scale_px0[0], (top + height_px0) / self.scale_px0[1]
        left, right = np.clip(left / self.scale_px0[0], 0, columns), np.clip(right, 0, columns)
        top, bottom = np.clip(top / self.scale_px0[1], 0, rows), np.clip(bottom, 0, rows)
        sums = np.zeros((rows + 1, columns + 1), dtype=np.int64)
        np.cumsum(self.mask, axis=0, out=sums[1:, 1:])
        np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
        tissue = (
            _interpolate(sums, bottom, right)
            - _interpolate(sums, top, right)
            - _interpolate(sums, bottom, left)
            + _interpolate(sums, top, left)
        )
        area = (right - left) * (bottom - top)
        share = np.divide(tissue, area, out=np.zeros_like(area), where=area > _NOISE)
        return np.where(share > _NOISE, np.minimum(share, 1.0), 0.0)

    def grown(self, margin_um: float, pixel_size0: PixelSize) -> TissueMask:
        """Return this mask with a margin around the tissue.

        Parameters
        ----------
        margin_um
            Width of the margin; counted in whole pixels of the mask, rounded up.
        pixel_size0
            Size of a level-0 pixel.

        Returns
        -------
        TissueMask
            True within a square of `margin_um` around tissue.
        """
        size = pixel_size0.scaled(self.scale_px0)
        radius_px = (math.ceil(margin_um / size.x_um), math.ceil(margin_um / size.y_um))
        return TissueMask(grow(self.mask, radius_px), self.scale_px0, self.thresholds)

    def with_rectangles(self, rectangles_px0: Iterable[tuple[int, int, int, int]]) -> TissueMask:
        """Return this mask with rectangles added to it.

        Parameters
        ----------
        rectangles_px0
            Left, top, right and bottom of each, in level-0 pixels.

        Returns
        -------
        TissueMask
            True also in every pixel that a rectangle touches.
        """
        mask = self.mask.copy()
        for left, top, right, bottom in rectangles_px0:
            rows = slice(
                math.floor(max(top, 0) / self.scale_px0[1]), math.ceil(max(bottom, 0) / self.scale_px0[1])
            )
            columns = slice(
                math.floor(max(left, 0) / self.scale_px0[0]), math.ceil(max(right, 0) / self.scale_px0[0])
            )
            mask[rows, columns] = True
        return TissueMask(mask, self.scale_px0, self.thresholds)


def _interpolate(
    sums: NDArray[np.int64], row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read a summed-area table between its nodes, which is exact: within a mask pixel the sum is bilinear."""
    r = np.minimum(row.astype(np.int64), sums.shape[0] - 2)
    c = np.minimum(column.astype(np.int64), sums.shape[1] - 2)
    fr, fc = row - r, column - c
    upper = sums[r, c] * (1 - fc) + sums[r, c + 1] * fc
    lower = sums[r + 1, c] * (1 - fc) + sums[r + 1, c + 1] * fc
    return np.asarray(upper * (1 - fr) + lower * fr)


def detect_tissue(reader: SlideReader, settings: TissueSettings) -> TissueMask:
    """Find the tissue on a slide.

    Parameters
    ----------
    reader
        An open slide. Its overview is read in strips.
    settings
        How tissue is told from glass. `TissueSettings.margin_um` is not applied here.

    Returns
    -------
    TissueMask
        With the thresholds that were used. An empty slide has an empty mask, which is no error.

    Raises
    ------
    RegionReadError
        If the overview cannot be read.
    """
    rgb, scale = read_overview(reader, settings.mpp)
    pixel_size = reader.info.pixel_size.scaled(scale)
    area_um2 = pixel_size.x_um * pixel_size.y_um
    mask, thresholds = _classify(rgb, settings)
    mask = majority(mask, round(settings.median_um / pixel_size.mean_um / 2 - 0.5))
    mask = remove_small(mask, settings.min_object_um2 / area_um2, settings.min_hole_um2 / area_um2)
    if not mask.any():
        _log.warning(
            "slide %s: no tissue found (saturation up to %.3f is glass)",
            reader.info.slide_id,
            thresholds["saturation"],
        )
    return TissueMask(mask, scale, thresholds)


def _classify(rgb: NDArray[np.uint8], settings: TissueSettings) -> tuple[NDArray[np.bool_], dict[str, float]]:
    colour = saturation(rgb)
    ignored = (rgb < settings.black_guard).all(axis=2)
    if settings.ink:
        ignored |= find_ink(rgb)
    threshold = max(otsu_threshold(colour[~ignored]), math.ceil(255 * settings.min_saturation) - 1)
    mask = (colour > threshold) & ~ignored
    thresholds = {"saturation": threshold / 255}
    if settings.method == "ncrf":
        bright = np.ones_like(mask)
        for name, channel in zip(("red", "green", "blue"), np.moveaxis(rgb, 2, 0), strict=True):
            limit = otsu_threshold(channel[~ignored])
            bright &= channel > limit
            thresholds[name] = float(limit)
        mask &= ~bright & (rgb > settings.black_guard).all(axis=2)
    return mask, thresholds
