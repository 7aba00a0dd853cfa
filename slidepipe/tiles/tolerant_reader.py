"""A slide reader for overviews of damaged slides.

A slide with one level has its overview computed from level 0, so that a single damaged tile would leave the
whole slide without a tissue mask. Here a region that cannot be read is divided until only the damaged part is
left, which comes out white and is remembered; whoever looks for tissue must count it as tissue, or it would
vanish unseen. Pixels that are analysed are never read this way.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError
from slidepipe.slides.handles import borrow_slide
from slidepipe.slides.levels import level_origin_px0, level_position
from slidepipe.slides.reader import SlideInfo, SlideSource

_PIECE_PX = 256
"""Damage is not narrowed down further than to squares of this side, in pixels of the level read."""
_MOST_PIECES = 256
"""With more damaged pieces the slide is given up: each of them costs several attempts."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom."""


class TolerantReader:
    """A slide of which damaged parts are white; see `slidepipe.slides.reader.SlideReader`.

    Parameters
    ----------
    source
        The slide; borrowed anew for every read.

    Raises
    ------
    SlideError
        If the slide cannot be opened.
    """

    def __init__(self, source: SlideSource) -> None:
        self._source = source
        self._damaged: set[Rectangle] = set()
        with borrow_slide(source) as reader:
            self._info = reader.info

    @property
    def info(self) -> SlideInfo:
        """What is known of the slide."""
        return self._info

    @property
    def damaged_px0(self) -> tuple[Rectangle, ...]:
        """What could not be read so far, in level-0 pixels."""
        return tuple(sorted(self._damaged))

    def read_region(
        self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read one rectangle, white where the file is damaged.

        Parameters
        ----------
        origin_px0
            Top-left corner (x, y) in level-0 pixels; may lie outside the slide.
        level
            Level to read.
        size_px
            Width and height in pixels of that level.

        Returns
        -------
        ndarray
            uint8 RGB, shape (height, width, 3).

        Raises
        ------
        RegionReadError
            If more than 256 pieces of the slide are damaged.
        """
        try:
            with borrow_slide(self._source) as reader:
                return reader.read_region(origin_px0, level, size_px)
        except RegionReadError as error:
            if max(size_px) > _PIECE_PX:
                return self._read_halves(origin_px0, level, size_px)
            self._remember(origin_px0, level, size_px)
            if len(self._damaged) > _MOST_PIECES:
                raise RegionReadError(
                    f"slide {self._info.slide_id}: more than {_MOST_PIECES} pieces are damaged: {error}"
                ) from error
            return np.full((size_px[1], size_px[0], 3), 255, dtype=np.uint8)

    def _read_halves(
        self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        factor = self._info.levels[level].factor
        width, height = size_px
        axis = 0 if width >= height else 1
        half = size_px[axis] // 2
        second = list(origin_px0)
        second[axis] = level_origin_px0(level_position(origin_px0[axis], factor) + half, factor)
        sizes = (
            ((half, height), (width - half, height)) if axis == 0 else ((width, half), (width, height - half))
        )
        parts = (
            self.read_region(origin_px0, level, sizes[0]),
            self.read_region((second[0], second[1]), level, sizes[1]),
        )
        return np.concatenate(parts, axis=1 - axis)

    def _remember(self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]) -> None:
        factor = self._info.levels[level].factor
        left, top = origin_px0
        right, bottom = (
            round(start + length * factor) for start, length in zip(origin_px0, size_px, strict=True)
        )
        self._damaged.add((left, top, right, bottom))

    def close(self) -> None:
        """Do nothing: the slide was only borrowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
