"""What every slide reader promises, whichever library it stands on.

Coordinates follow OpenSlide: origins in level-0 pixels, sizes in pixels of the level that is read, counted from the
corner of the stored image. ``openslide.bounds-*`` are reported in `SlideInfo.bounds_px0` and never subtracted here;
QuPath crops to them, so the export to QuPath subtracts them.

Unlike OpenSlide, no reader interpolates: an origin between two pixels of a level means the pixel it falls on, rounded
down, so that a region read in parts equals the region read at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import SlideFormatError
from slidepipe.geometry import PixelSize
from slidepipe.storage.access import BY_ENVIRONMENT, StoreAccess
from slidepipe.storage.locations import location

ReaderName = Literal["auto", "openslide", "tiffslide", "tiff", "wsidicom"]
"""``auto`` is OpenSlide for every file that OpenSlide reads, else the TIFF reader, or wsidicom for DICOM."""


@dataclass(frozen=True, slots=True)
class SlideSource:
    """Where a slide lies and how to open it: all that a task needs to carry."""

    slide_id: str
    """Name of the slide in every output; the file's name without its suffix unless the cohort says otherwise."""
    path: str
    """Local path, or a URL for the readers that take one (tiff, tiffslide)."""
    reader: ReaderName = "auto"
    """Which reader opens it."""
    mpp: float | None = None
    """Side of a level-0 pixel in µm, for files that do not record it or record it wrongly; replaces the file's."""
    access: StoreAccess = BY_ENVIRONMENT
    """How the object store is reached that a URL names."""

    @property
    def place(self) -> Path:
        """Where the slide lies, to be read from."""
        return location(self.path, self.access)


LONGEST_PX = 2**20
"""Longest side of a slide: 26 cm at 0.25 µm."""
MOST_PX = 2**38
"""Largest slide: 274 gigapixels, a plate of 150 × 100 mm at 0.25 µm is 240."""
MOST_MM2 = 20_000
"""Largest slide on the glass; masks and overviews have pixels of a fixed size on it."""


@dataclass(frozen=True, slots=True)
class SlideLevel:
    """One level of a slide's pyramid."""

    size_px: tuple[int, int]
    """Width and height without padding."""
    factor: float
    """Level-0 pixels per pixel of this level, exact: 2^level where the format fixes it, never a ratio of padded
    sizes."""


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What is known of a slide once it is open. An allow-list: nothing here can identify a patient."""

    slide_id: str
    size_px0: tuple[int, int]
    """Width and height of level 0."""
    pixel_size: PixelSize
    """Size of a level-0 pixel."""
    levels: tuple[SlideLevel, ...]
    """Sharpest first."""
    tile_px: tuple[int, int] | None
    """Width and height of the file's own tiles at level 0, where it has them."""
    vendor: str
    """As OpenSlide names it: ``aperio``, ``philips``, ``generic-tiff``, ``dicom``."""
    reader: str
    """Name of the reader that opened it: ``openslide``, ``tiffslide``, ``tiff`` or ``wsidicom``."""
    objective_power: float | None = None
    """Nominal magnification, where the file tells. Never used to compute anything."""
    bounds_px0: tuple[int, int, int, int] | None = None
    """Left, top, width and height of the scanned area, where the format tells (``openslide.bounds-*``)."""

    def __post_init__(self) -> None:
        """Refuse what no glass slide is: a damaged size would have arrays made to match.

        Raises
        ------
        SlideFormatError
            If the slide is larger than `LONGEST_PX`, `MOST_PX` or `MOST_MM2`, or its tiles have no pixels.
        """
        if self.tile_px is not None and min(self.tile_px) < 1:
            raise SlideFormatError(
                f"slide {self.slide_id}: the file has tiles of {self.tile_px[0]} × {self.tile_px[1]} px: it is damaged"
            )
        width, height = self.size_px0
        area_mm2 = width * height * self.pixel_size.x_um * self.pixel_size.y_um / 1e6
        if max(width, height) > LONGEST_PX or width * height > MOST_PX or area_mm2 > MOST_MM2:
            raise SlideFormatError(
                f"slide {self.slide_id}: {width} × {height} px of {self.pixel_size.x_um:g} × "
                f"{self.pixel_size.y_um:g} µm, {area_mm2:,.0f} mm², is more than a glass slide holds "
                f"({LONGEST_PX} px a side, {MOST_PX} px, {MOST_MM2} mm²): the file is damaged, or its pixel size is "
                "wrong, which slides.mpp mends"
            )


class SlideReader(Protocol):
    """An open slide. Belongs to one thread; open one per worker, or borrow one from `slidepipe.slides.handles`."""

    @property
    def info(self) -> SlideInfo:
        """What is known of the slide."""
        ...

    def read_region(
        self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read one rectangle.

        Parameters
        ----------
        origin_px0
            Top-left corner (x, y) in level-0 pixels; may lie outside the slide. On level l it means the pixel
            (floor(x / factor), floor(y / factor)).
        level
            Level to read, 0 is the sharpest.
        size_px
            Width and height in pixels of that level.

        Returns
        -------
        ndarray
            uint8 RGB, shape (height, width, 3), white (255) beyond the slide's edge and where the file has no tile.

        Raises
        ------
        RegionReadError
            If the file is damaged here.
        """
        ...

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        ...

    def __enter__(self) -> Self:
        """Return the reader itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        ...
