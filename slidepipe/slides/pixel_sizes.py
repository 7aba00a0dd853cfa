"""The size of a level-0 pixel: what the caller says, else what the file says, never a guess.

Files lie in known ways. TIFF writers that know nothing of microscopes fill the resolution tags with "1 per inch"
(25,400 µm), "1 per centimetre" (10,000 µm) or the dots per inch of a screen or printer (72 to 2400 dpi: 353 to 11 µm).
So a pixel size outside ``PLAUSIBLE_UM`` is refused, whatever recorded it; and tags in inches, which no slide writer
uses on purpose, count only below ``FINEST_DPI_UM``, where no print resolution lies.
"""

from __future__ import annotations

import math

from slidepipe.errors import PixelSizeError
from slidepipe.geometry import PixelSize
from slidepipe.slides.reader import SlideSource

PLAUSIBLE_UM = (0.01, 50.0)
"""Range of pixel sizes that a file is believed: from far below the limit of light microscopes to a slide's overview."""

FINEST_DPI_UM = 10.0
"""Side of a pixel at the finest print resolution in use (2400 dpi), rounded down."""


def choose_pixel_size(source: SlideSource, recorded_um: tuple[float, float] | None) -> PixelSize:
    """Decide on the size of a level-0 pixel.

    Parameters
    ----------
    source
        The slide; its ``mpp`` replaces what the file says.
    recorded_um
        What the file says along x and y, in µm; None if it says nothing.

    Returns
    -------
    PixelSize
        Never guessed.

    Raises
    ------
    PixelSizeError
        If neither the caller nor the file gives a size, or the file's is one that no slide has.
    """
    if source.mpp is not None:
        return PixelSize(source.mpp, source.mpp)
    remedy = "set mpp for it in the section slides of the configuration"
    if recorded_um is None:
        raise PixelSizeError(
            f"slide {source.slide_id}: the file does not record the size of its pixels: {remedy}"
        )
    low, high = PLAUSIBLE_UM
    if not all(low <= side <= high for side in recorded_um):
        raise PixelSizeError(
            f"slide {source.slide_id}: the file records pixels of {recorded_um[0]:g} × {recorded_um[1]:g} µm, outside "
            f"the {low:g} to {high:g} µm that slides have: {remedy}"
        )
    return PixelSize(*recorded_um)


def resolution_um(x: float, y: float, unit: str) -> tuple[float, float] | None:
    """Turn TIFF resolution tags into the size of a pixel.

    Parameters
    ----------
    x, y
        ``XResolution`` and ``YResolution``, pixels per unit.
    unit
        ``ResolutionUnit`` in words: ``centimeter``, ``inch`` or anything else, in any case.

    Returns
    -------
    tuple of float or None
        µm along x and y; None if the tags say nothing: no unit, no positive number, or inches that are the
        resolution of a printer.
    """
    um_per_unit = {"centimeter": 10_000.0, "inch": 25_400.0}.get(unit.lower())
    if um_per_unit is None or not all(math.isfinite(value) and value > 0 for value in (x, y)):
        return None
    size = (um_per_unit / x, um_per_unit / y)
    if unit.lower() == "inch" and max(size) > FINEST_DPI_UM:
        return None
    return size
