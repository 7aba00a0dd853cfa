"""Pyramids: exact factors of their levels, and rectangles of one level with white where the slide ends.

Stored sizes are rounded or padded, so the ratio of two sizes is not the factor between two levels: a 300 px wide slide
has a level 3 of 37 px, and 300 / 37 = 8.108 would place its last pixel 4 level-0 pixels off. Where all sizes agree
with one whole factor, rounded down or up, that factor is taken; only otherwise the ratio is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.geometry import ceil_div
from slidepipe.slides.reader import SlideInfo, SlideLevel

ReadLevel = Callable[[int, tuple[int, int], tuple[int, int]], NDArray[np.uint8]]
"""Reads a rectangle (level, origin, size), all in pixels of that level, that lies wholly inside the level."""

WHITE = 255


def pyramid(slide_id: str, sizes_px: Sequence[tuple[int, int]]) -> tuple[SlideLevel, ...]:
    """Find the factor of each level from the sizes of all.

    Parameters
    ----------
    slide_id
        Named in messages.
    sizes_px
        Width and height of each level without padding, sharpest first.

    Returns
    -------
    tuple of SlideLevel
        One per size. A factor is a power of two if both sides of the level are those of level 0 divided by it and
        rounded down or up, else a whole number of which that is true, else the mean of the two ratios of sizes.

    Raises
    ------
    SlideFormatError
        If there is no level, one is empty, or one is larger than the level before it.
    """
    if not sizes_px:
        raise SlideFormatError(f"slide {slide_id}: the file holds no level that can be read")
    for level, (width, height) in enumerate(sizes_px):
        if width < 1 or height < 1:
            raise SlideFormatError(f"slide {slide_id}: level {level} has no pixels ({width} × {height})")
        before = sizes_px[max(level - 1, 0)]
        if width > before[0] or height > before[1]:
            raise SlideFormatError(
                f"slide {slide_id}: level {level} ({width} × {height} px) is larger than the level before it "
                f"({before[0]} × {before[1]} px)"
            )
    return tuple(SlideLevel(size, _factor(sizes_px[0], size)) for size in sizes_px)


def _factor(size_px0: tuple[int, int], size_px: tuple[int, int]) -> float:
    ratios = [full / part for full, part in zip(size_px0, size_px, strict=True)]
    # The longer side is rounded by the smaller share, so its ratio is the better guess.
    guess = ratios[size_px0.index(max(size_px0))]
    for factor in (2 ** round(math.log2(guess)), round(guess)):
        sides = zip(size_px0, size_px, strict=True)
        if all(part in (full // factor, ceil_div(full, factor)) for full, part in sides):
            return float(factor)
    return sum(ratios) / 2


def level_position(origin_px0: int, factor: float) -> int:
    """Find the pixel of a level that a level-0 coordinate falls on.

    Parameters
    ----------
    origin_px0
        x or y, in level-0 pixels; may be negative.
    factor
        Level-0 pixels per pixel of the level.

    Returns
    -------
    int
        ``floor(origin_px0 / factor)``.
    """
    return math.floor(origin_px0 / factor)


def level_origin_px0(position: int, factor: float) -> int:
    """Find the first level-0 coordinate that falls on a pixel of a level: what `level_position` undoes.

    Parameters
    ----------
    position
        Column or row in the level; may be negative.
    factor
        Level-0 pixels per pixel of the level, 1 or more.

    Returns
    -------
    int
        The smallest whole number x with ``level_position(x, factor) == position``.
    """
    origin = math.ceil(position * factor)
    while level_position(origin, factor) < position:
        origin += 1
    while level_position(origin - 1, factor) >= position:
        origin -= 1
    return origin


def read_padded(
    info: SlideInfo, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int], read_level: ReadLevel
) -> NDArray[np.uint8]:
    """Read a rectangle that may reach beyond the slide.

    Parameters
    ----------
    info
        The slide.
    origin_px0
        Top-left corner (x, y) in level-0 pixels.
    level
        Level to read.
    size_px
        Width and height in pixels of that level.
    read_level
        Called for the part inside the level, if there is one.

    Returns
    -------
    ndarray
        uint8 RGB, shape (height, width, 3), white outside the level.

    Raises
    ------
    RegionReadError
        If there is no such level, or the size is negative.
    """
    width, height = size_px
    if not 0 <= level < len(info.levels) or width < 0 or height < 0:
        raise RegionReadError(
            f"slide {info.slide_id}: cannot read {width} × {height} px of level {level}: "
            f"the slide has the levels 0 to {len(info.levels) - 1}, and sizes are not negative"
        )
    factor = info.levels[level].factor
    level_width, level_height = info.levels[level].size_px
    left, top = (level_position(value, factor) for value in origin_px0)
    first_x, last_x = max(left, 0), min(left + width, level_width)
    first_y, last_y = max(top, 0), min(top + height, level_height)
    if first_x >= last_x or first_y >= last_y:
        return np.full((height, width, 3), WHITE, dtype=np.uint8)
    inside = read_level(level, (first_x, first_y), (last_x - first_x, last_y - first_y))
    if inside.shape == (height, width, 3):
        return inside
    region = np.full((height, width, 3), WHITE, dtype=np.uint8)
    region[first_y - top : last_y - top, first_x - left : last_x - left] = inside
    return region


def damaged_region(
    slide_id: str, level: int, origin_px: tuple[int, int], size_px: tuple[int, int], reason: object
) -> RegionReadError:
    """Word the error for a rectangle that cannot be read.

    Parameters
    ----------
    slide_id
        The slide.
    level
        The level.
    origin_px
        Top-left corner (x, y) in pixels of that level.
    size_px
        Width and height in pixels of that level.
    reason
        What the library said.

    Returns
    -------
    RegionReadError
        To be raised by the caller.
    """
    return RegionReadError(
        f"slide {slide_id}: {size_px[0]} × {size_px[1]} px at ({origin_px[0]}, {origin_px[1]}) of level {level} "
        f"cannot be read: {reason}"
    )


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a picture on white paper: readers give transparent black where a file has no tile.

    Parameters
    ----------
    rgba
        uint8, shape (height, width, 4), colours not multiplied by alpha.

    Returns
    -------
    ndarray
        uint8 RGB, shape (height, width, 3), rounded to nearest; a view of `rgba` if all of it is opaque.
    """
    alpha = rgba[..., 3:].astype(np.uint32)
    if alpha.min() == WHITE:
        return rgba[..., :3]
    weighted = rgba[..., :3] * alpha + WHITE * (WHITE - alpha)
    return np.asarray((weighted + WHITE // 2) // WHITE, dtype=np.uint8)
