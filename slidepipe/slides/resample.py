"""A slide at any pixel size, averaged over area, the same however it is cut into rectangles.

A pixel of the result is the mean of the part of the slide that it covers; source pixels at its border count by the
share of them that it covers. Borders are placed to a 65,536th of a source pixel (coarser where a result pixel spans
more than 32 of them) by the pixel's number alone, counted from the slide's corner, and all sums are of whole numbers.
So they are exact, the order of adding does not matter, and a pixel comes out the same whichever rectangle it is asked
for in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from slidepipe.geometry import NATIVE_TOLERANCE, Scale
from slidepipe.slides.levels import level_origin_px0
from slidepipe.slides.reader import SlideLevel, SlideReader

_BLOCK_PX = 2048
"""Side of the source read at once: 12 MB of pixels, whatever the size of the result."""

_BAND_PX = 48
"""Rows of the source summed at once, so that the sums (a few MB) stay in the processor's cache."""

_FINEST_SHARE_BITS = 16
_EXACT_BITS = 53 - 8
"""Weights up to this many bits times 8-bit pixels have exact sums in float64."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """How the pixels of one axis of the result lie on those of the level read."""

    ratio: float
    """Level pixels per result pixel."""

    @property
    def shares(self) -> int:
        """Parts that a level pixel is divided into: so few that sums over both axes are exact."""
        bits = _EXACT_BITS // 2 - math.ceil(math.log2(max(self.ratio, 1.0))) - 1
        return int(2 ** max(min(_FINEST_SHARE_BITS, bits), 0))

    def result_px(self, source_px: int) -> int:
        """Count the result pixels that so many source pixels make; at least one."""
        return max(1, int(source_px / self.ratio))

    def borders(self, first: int, count: int) -> NDArray[np.int64]:
        """Place the borders of result pixels, in shares of a level pixel; shape (count + 1,)."""
        places = np.arange(first, first + count + 1) * self.ratio
        return np.asarray(np.rint(places * self.shares), dtype=np.int64)

    def span(self, borders: NDArray[np.int64]) -> tuple[int, int]:
        """Find the first and last (exclusive) level pixel between the outermost borders."""
        return int(borders[0] // self.shares), int(-(-borders[-1] // self.shares))


def read_scaled(
    reader: SlideReader, origin_px: tuple[int, int], size_px: tuple[int, int], scale: Scale
) -> NDArray[np.uint8]:
    """Read a rectangle of a slide at any pixel size.

    Parameters
    ----------
    reader
        The slide.
    origin_px
        Top-left corner (x, y) in pixels of the result, counted from the slide's corner; may lie outside.
    size_px
        Width and height in pixels of the result.
    scale
        Level-0 pixels per pixel of the result, 1 or more.

    Returns
    -------
    ndarray
        uint8 RGB, shape (height, width, 3): area means, halves rounded up, of the coarsest level that is not coarser
        than `scale`. White beyond the slide's edge counts like any other pixel. With a scale of (1, 1), the pixels as
        they are. Any tiling of calls gives the pixels of one call.

    Raises
    ------
    RegionReadError
        If the file is damaged here.
    """
    level = _source_level(reader.info.levels, scale)
    factor = reader.info.levels[level].factor
    x_axis, y_axis = _Axis(scale[0] / factor), _Axis(scale[1] / factor)
    (left, top), (width, height) = origin_px, size_px
    if x_axis.ratio == y_axis.ratio == 1:
        return reader.read_region(_address((left, top), factor), level, (width, height))
    result = np.empty((height, width, 3), dtype=np.uint8)
    for y, rows in _pieces(top, height, y_axis.result_px(_BLOCK_PX)):
        row_borders = y_axis.borders(y, rows)
        for x, columns in _pieces(left, width, x_axis.result_px(_BLOCK_PX)):
            column_borders = x_axis.borders(x, columns)
            (first_x, last_x), (first_y, last_y) = x_axis.span(column_borders), y_axis.span(row_borders)
            source = reader.read_region(
                _address((first_x, first_y), factor), level, (last_x - first_x, last_y - first_y)
            )
            block = result[y - top : y - top + rows, x - left : x - left + columns]
            _average(source, block, (row_borders, y_axis), (column_borders, x_axis))
    return result


def read_overview(reader: SlideReader, mpp: float) -> tuple[NDArray[np.uint8], Scale]:
    """Read a whole slide at a coarse pixel size.

    Parameters
    ----------
    reader
        The slide.
    mpp
        Wanted pixel size in µm; on a slide scanned more coarsely, the slide's own.

    Returns
    -------
    ndarray
        uint8 RGB, shape (rows, columns, 3), covering the slide to its last pixel; white beyond. Besides it, memory is
        needed for one block of the source, also where the slide has a single level.
    Scale
        Level-0 pixels per pixel.

    Raises
    ------
    RegionReadError
        If the file is damaged anywhere.
    """
    pixel_size = reader.info.pixel_size
    scale = pixel_size.scale_to(max(mpp, pixel_size.x_um, pixel_size.y_um))
    width, height = (math.ceil(side / step) for side, step in zip(reader.info.size_px0, scale, strict=True))
    return read_scaled(reader, (0, 0), (width, height), scale), scale


def _source_level(levels: tuple[SlideLevel, ...], scale: Scale) -> int:
    limit = min(scale) * (1 + NATIVE_TOLERANCE)
    return max(number for number, level in enumerate(levels) if level.factor <= max(limit, 1.0))


def _address(position_px: tuple[int, int], factor: float) -> tuple[int, int]:
    return level_origin_px0(position_px[0], factor), level_origin_px0(position_px[1], factor)


def _pieces(start: int, length: int, step: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, length, step):
        yield start + offset, min(step, length - offset)


def _average(
    source: NDArray[np.uint8],
    result: NDArray[np.uint8],
    rows: tuple[NDArray[np.int64], _Axis],
    columns: tuple[NDArray[np.int64], _Axis],
) -> None:
    """Fill `result` with means of `source`, whose first pixel is the first that the borders of both axes touch."""
    (row_borders, y_axis), (column_borders, x_axis) = rows, columns
    width = source.shape[1]
    across = _weights(column_borders, width, x_axis.shares)
    column_widths = np.diff(column_borders)[:, None]
    first_row, _ = y_axis.span(row_borders)
    for start, count in _pieces(0, len(result), y_axis.result_px(_BAND_PX)):
        borders = row_borders[start : start + count + 1]
        first, last = y_axis.span(borders)
        band = source[first - first_row : last - first_row].reshape(last - first, -1).astype(np.float64)
        by_row = (_weights(borders, last - first, y_axis.shares) @ band).reshape(count, width, 3)
        means = (across @ by_row.swapaxes(0, 1).reshape(width, -1)).reshape(-1, count, 3)
        means /= (column_widths * np.diff(borders))[..., None]
        means += 0.5  # rounded down by the conversion to whole numbers below
        result[start : start + count] = means.swapaxes(0, 1)


def _weights(borders: NDArray[np.int64], length: int, shares: int) -> sparse.csr_array:
    """Shares of each source row in each result row, as a sparse matrix of shape (result rows, source rows)."""
    start, end = borders[:-1], borders[1:]
    first, last = start // shares, -(-end // shares)
    counts = last - first
    stops = np.cumsum(counts)
    row = np.repeat(np.arange(len(start)), counts)
    column = np.arange(stops[-1]) - np.repeat(stops - counts - first, counts)
    share = np.minimum(end[row], (column + 1) * shares) - np.maximum(start[row], column * shares)
    pointers = np.concatenate([[0], stops])
    return sparse.csr_array(
        (share.astype(np.float64), column - first[0], pointers), shape=(len(start), length)
    )
