"""DICOM slides through wsidicom, for what OpenSlide does not read: RLE, JPEG-LS, JPEG XL, and tiles placed at will.

Chosen by itself where OpenSlide refuses a DICOM file, if the extra ``dicom`` is installed.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from wsidicom import WsiDicom
from wsidicom.errors import (
    WsiDicomError,
    WsiDicomFileError,
    WsiDicomMatchError,
    WsiDicomNoResolutionError,
    WsiDicomNotFoundError,
    WsiDicomNotSupportedError,
    WsiDicomOutOfBoundsError,
    WsiDicomStrictRequirementError,
    WsiDicomUidDuplicateError,
)

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.slides.companions import slide_files
from slidepipe.slides.levels import damaged_region, pyramid, read_padded
from slidepipe.slides.pixel_sizes import choose_pixel_size
from slidepipe.slides.reader import SlideInfo, SlideSource

_FAILURES = (
    WsiDicomError, WsiDicomFileError, WsiDicomMatchError, WsiDicomNoResolutionError, WsiDicomNotFoundError,
    WsiDicomNotSupportedError, WsiDicomOutOfBoundsError, WsiDicomStrictRequirementError, WsiDicomUidDuplicateError,
    EOFError, OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
)  # fmt: skip
"""What wsidicom, whose errors have no common base, and the libraries below it raise on files they cannot read."""


class WsiDicomReader:
    """A slide that wsidicom reads; see `slidepipe.slides.reader.SlideReader`.

    Parameters
    ----------
    source
        The slide; any file of its series, a local path.

    Raises
    ------
    SlideFormatError
        If it is not a slide in DICOM, or has levels of anything but 8-bit RGB or grey.
    PixelSizeError
        If neither the files nor `source` give a pixel size.
    """

    def __init__(self, source: SlideSource) -> None:
        self._source = source
        self._is_closed = False
        self._slide = _open(source)
        with ExitStack() as on_error:
            on_error.callback(self._slide.close)
            stored = list(self._slide.levels)
            # wsidicom numbers levels by powers of two, and a pyramid may leave some out.
            self._numbers = tuple(level.level for level in stored)
            levels = pyramid(
                source.slide_id, [(int(level.size.width), int(level.size.height)) for level in stored]
            )
            tile, spacing = stored[0].tile_size, stored[0].mpp
            self._info = SlideInfo(
                slide_id=source.slide_id,
                size_px0=levels[0].size_px,
                pixel_size=choose_pixel_size(source, (float(spacing.width), float(spacing.height))),
                levels=levels,
                tile_px=(int(tile.width), int(tile.height)),
                vendor="dicom",
                reader="wsidicom",
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
        """Close the files."""
        if not self._is_closed:
            self._slide.close()
        self._is_closed = True

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
        try:
            image = self._slide.read_region(origin_px, self._numbers[level], size_px)
        except _FAILURES as error:
            raise damaged_region(self._source.slide_id, level, origin_px, size_px, error) from error
        return np.array(image.convert("RGB"))


def _open(source: SlideSource) -> WsiDicom:
    try:
        return WsiDicom.open(slide_files(Path(source.path)))
    except _FAILURES as error:
        raise SlideFormatError(f"slide {source.slide_id}: wsidicom cannot open it: {error}") from error
