"""Slides through OpenSlide, the default for every format it knows.

Two habits of OpenSlide are undone here.

*After an error every later read fails.* One damaged tile would take the rest of the slide with it, so the handle is
closed after an error and a fresh one is opened for the next read.

*Between pixels it interpolates.* Regions are addressed in whole level-0 pixels. On a level whose size does not divide
that of level 0 (factor 4.0001, say), most pixels have no such address, and OpenSlide mixes neighbours by an amount that
depends on where the region starts. Such levels are therefore read in cells of a fixed lattice, whose corners are placed
to the nearest level-0 pixel: the image is shifted by half a level-0 pixel at most, and a pixel has the same value in
every region that holds it. Levels with whole factors, CAMELYON16's and most others, are read as stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
import openslide
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.slides.levels import damaged_region, on_white, pyramid, read_padded
from slidepipe.slides.pixel_sizes import choose_pixel_size, resolution_um
from slidepipe.slides.reader import SlideInfo, SlideSource

_CELL_PX = 2048
"""Side of the cells that regions are read in, which bounds the memory that OpenSlide and Pillow need besides ours."""

_LATTICE_PX = 512
"""Side of the cells where the factor is not whole and a cell has to be read from its corner."""


class OpenSlideReader:
    """A slide that OpenSlide reads; see `slidepipe.slides.reader.SlideReader`.

    Parameters
    ----------
    source
        The slide; a local path.

    Raises
    ------
    SlideFormatError
        If OpenSlide does not know the file or cannot open it.
    PixelSizeError
        If neither the file nor `source` gives a pixel size.
    """

    def __init__(self, source: SlideSource) -> None:
        self._source = source
        self._is_closed = False
        self._handle: openslide.OpenSlide | None = _open(source)
        with ExitStack() as on_error:
            on_error.callback(self._handle.close)
            self._info = _describe(self._handle, source)
            self._factors = tuple(float(factor) for factor in self._handle.level_downsamples)
            on_error.pop_all()

    @property
    def info(self) -> SlideInfo:
        """What is known of the slide."""
        return self._info

    def read_region(
        self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read one rectangle; see `SlideReader.read_region`."""
        return read_padded(self._info, origin_px0, level, size_px, self._read_level)

    def close(self) -> None:
        """Close the file."""
        self._is_closed = True
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_level(
        self, level: int, origin_px: tuple[int, int], size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        if self._is_closed:
            raise RegionReadError(f"slide {self._source.slide_id}: its reader was closed: open it again")
        if self._handle is None:
            self._handle = _open(self._source)
        factor = self._factors[level]
        cell_px = _CELL_PX if factor.is_integer() else _LATTICE_PX
        (left, top), (width, height) = origin_px, size_px
        region = np.empty((height, width, 3), dtype=np.uint8)
        try:
            for y, bottom in _cuts(top, top + height, cell_px):
                for x, right in _cuts(left, left + width, cell_px):
                    part = _read_cell(self._handle, level, factor, (x, y, right, bottom))
                    region[y - top : bottom - top, x - left : right - left] = part
        except openslide.OpenSlideError as error:
            self._handle.close()
            self._handle = None
            raise damaged_region(self._source.slide_id, level, origin_px, size_px, error) from error
        return region


def _open(source: SlideSource) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(source.path)
    except openslide.OpenSlideError as error:
        raise SlideFormatError(f"slide {source.slide_id}: OpenSlide cannot open it: {error}") from error


def _describe(handle: openslide.OpenSlide, source: SlideSource) -> SlideInfo:
    properties = handle.properties
    levels = pyramid(source.slide_id, handle.level_dimensions)
    vendor = properties.get("openslide.vendor", "unknown")
    tile = [_number(properties, f"openslide.level[0].tile-{side}") for side in ("width", "height")]
    bounds = [_number(properties, f"openslide.bounds-{part}") for part in ("x", "y", "width", "height")]
    return SlideInfo(
        slide_id=source.slide_id,
        size_px0=levels[0].size_px,
        pixel_size=choose_pixel_size(source, _recorded_um(properties, vendor)),
        levels=levels,
        tile_px=None if tile[0] is None or tile[1] is None else (int(tile[0]), int(tile[1])),
        vendor=vendor,
        reader="openslide",
        objective_power=_number(properties, "openslide.objective-power"),
        bounds_px0=_bounds(bounds),
    )


def _bounds(values: list[float | None]) -> tuple[int, int, int, int] | None:
    known = [int(value) for value in values if value is not None]
    return (known[0], known[1], known[2], known[3]) if len(known) == 4 else None


def _recorded_um(properties: Mapping[str, str], vendor: str) -> tuple[float, float] | None:
    x, y = _number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y")
    if x is not None and y is not None:
        return (x, y)
    # OpenSlide leaves out resolutions in inches, also where they are meant.
    x, y = _number(properties, "tiff.XResolution"), _number(properties, "tiff.YResolution")
    if vendor == "generic-tiff" and x is not None and y is not None:
        return resolution_um(x, y, properties.get("tiff.ResolutionUnit", "none"))
    return None


def _number(properties: Mapping[str, str], name: str) -> float | None:
    try:
        return float(properties[name])
    except (KeyError, ValueError):
        return None


def _cuts(start: int, end: int, cell_px: int) -> Iterator[tuple[int, int]]:
    """Cut a stretch of a level where the cells meet: start and end of each part."""
    while start < end:
        cut = min((start // cell_px + 1) * cell_px, end)
        yield start, cut
        start = cut


def _read_cell(
    handle: openslide.OpenSlide, level: int, factor: float, box_px: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Read (left, top, right, bottom), which lies within one cell; `factor` is the one that OpenSlide goes by."""
    left, top, right, bottom = box_px
    skip_x, skip_y = (0, 0) if factor.is_integer() else (left % _LATTICE_PX, top % _LATTICE_PX)
    address = (round((left - skip_x) * factor), round((top - skip_y) * factor))
    image = handle.read_region(address, level, (right - left + skip_x, bottom - top + skip_y))
    return on_white(np.asarray(image)[skip_y:, skip_x:])
