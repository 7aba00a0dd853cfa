"""Slides through tiffslide, for TIFF slides that lie on a server: ``s3://``, ``https://`` and whatever fsspec knows.

Never chosen by itself. What it reads is put right in three ways: tiffslide pads black beyond the slide, leaves tiles
that the file does not have black, and knows no pixel size where it cannot parse the description. It is known to garble
some slides in JPEG 2000 (tiffslide issue 86 names two of CAMELYON16), which cannot be noticed here.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
import tifffile
from numpy.typing import NDArray
from tiffslide import TiffSlide

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.geometry import ceil_div
from slidepipe.slides.levels import WHITE, damaged_region, level_origin_px0, on_white, pyramid, read_padded
from slidepipe.slides.pixel_sizes import choose_pixel_size
from slidepipe.slides.reader import SlideInfo, SlideSource
from slidepipe.slides.tiff_metadata import read_tiff_facts
from slidepipe.storage.locations import as_remote

_FAILURES = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    StopIteration,
    SyntaxError,
)
"""What tiffslide and the libraries below it raise on files that they cannot read."""


class TiffSlideReader:
    """A slide that tiffslide reads; see `slidepipe.slides.reader.SlideReader`.

    Parameters
    ----------
    source
        The slide; a local path or an fsspec URL.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SlideFormatError
        If it is not a tiled TIFF file of 8-bit grey, RGB or RGBA.
    PixelSizeError
        If neither the file nor `source` gives a pixel size.
    """

    def __init__(self, source: SlideSource) -> None:
        self._source = source
        self._is_closed = False
        self._slide = _open(source)
        with ExitStack() as on_error:
            on_error.callback(self._slide.close)
            try:
                self._pages = _level_pages(self._slide)
                sizes = list(self._slide.level_dimensions)
                self._factors = tuple(self._slide.level_downsamples)
                facts = read_tiff_facts(self._pages[0])
            except _FAILURES as error:
                raise SlideFormatError(
                    f"slide {source.slide_id}: tiffslide cannot open it: {error}"
                ) from error
            first = self._pages[0]
            if first.dtype != np.uint8 or first.samplesperpixel not in {1, 3, 4} or not first.is_tiled:
                raise SlideFormatError(
                    f"slide {source.slide_id}: tiffslide is used for tiles of 8-bit grey, RGB or RGBA; this file has "
                    f"{first.samplesperpixel} × {first.bitspersample} bits{'' if first.is_tiled else ' and no tiles'}"
                )
            levels = pyramid(source.slide_id, sizes)
            self._info = SlideInfo(
                slide_id=source.slide_id,
                size_px0=levels[0].size_px,
                pixel_size=choose_pixel_size(source, facts.recorded_um),
                levels=levels,
                tile_px=(first.tilewidth, first.tilelength),
                vendor=facts.vendor,
                reader="tiffslide",
                objective_power=facts.objective_power,
            )
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
        self._slide.close()

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
        factor = self._factors[level]
        address = (level_origin_px0(origin_px[0], factor), level_origin_px0(origin_px[1], factor))
        try:
            pixels = np.asarray(
                self._slide.read_region(address, level, size_px, as_array=True), dtype=np.uint8
            )
        except _FAILURES as error:
            raise damaged_region(self._source.slide_id, level, origin_px, size_px, error) from error
        region = _rgb_on_white(pixels)
        _whiten_missing_tiles(region, self._pages[level], origin_px)
        return region


def _open(source: SlideSource) -> TiffSlide:
    try:
        # tiffslide would open a URL itself, and fetch fifty megabytes at a time.
        return TiffSlide(source.path if as_remote(source.place) is None else source.place.open("rb"))
    except FileNotFoundError:
        raise
    except _FAILURES as error:
        raise SlideFormatError(f"slide {source.slide_id}: tiffslide cannot open it: {error}") from error


def _level_pages(slide: TiffSlide) -> list[tifffile.TiffPage]:
    series = slide.ts_tifffile.series[slide.properties["tiffslide.series-index"]]
    return [level.keyframe for level in series.levels]


def _rgb_on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn grey, RGB or RGBA into RGB that may be written to."""
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.array(on_white(pixels) if pixels.shape[2] == 4 else pixels[..., :3])


def _whiten_missing_tiles(
    region: NDArray[np.uint8], page: tifffile.TiffPage, origin_px: tuple[int, int]
) -> None:
    byte_counts = np.asarray(page.databytecounts)
    if byte_counts.all():
        return
    (left, top), (height, width) = origin_px, region.shape[:2]
    columns = ceil_div(page.imagewidth, page.tilewidth)
    tile_rows = np.arange(top, top + height) // page.tilelength
    tile_columns = np.arange(left, left + width) // page.tilewidth
    region[byte_counts[tile_rows[:, None] * columns + tile_columns] == 0] = WHITE
