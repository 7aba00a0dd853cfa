"""Units and points, said once for the whole house.

* Points are (x, y), x to the right and y down. Arrays are [row, column].
* ``_px0`` counts pixels of level 0, the sharpest level of a slide; ``_px`` counts pixels of the array at hand.
* ``_um`` is micrometres. *mpp* means micrometres per pixel.
* A *scale* is the number of level-0 pixels that one pixel of an array spans, as (x, y). Both numbers are given
  because scanners record slightly different pixel sizes along the two axes (0.226321 and 0.226316 µm on one
  CAMELYON16 slide).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from slidepipe.errors import PixelSizeError

Scale = tuple[float, float]
"""Level-0 pixels per pixel of an array, along x and y."""

NATIVE_TOLERANCE = 1e-3
"""Relative difference up to which a wanted pixel size counts as the slide's own, so that no resampling is done
for the sake of the fourth digit. The pixel size that results is always recorded."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Size of a pixel in µm, along x and y."""

    x_um: float
    y_um: float

    def __post_init__(self) -> None:
        for axis, value in (("x", self.x_um), ("y", self.y_um)):
            if not (math.isfinite(value) and value > 0):
                raise PixelSizeError(f"pixel size along {axis} must be a positive number of µm, got {value}")

    @property
    def mean_um(self) -> float:
        """Geometric mean of the two sides, the side of a square of equal area."""
        return math.sqrt(self.x_um * self.y_um)

    def scaled(self, scale: Scale) -> PixelSize:
        """Return the size of a pixel that spans `scale` of these.

        Parameters
        ----------
        scale
            Number of these pixels along x and y.

        Returns
        -------
        PixelSize
            The larger (or smaller) pixel.
        """
        return PixelSize(self.x_um * scale[0], self.y_um * scale[1])

    def scale_to(self, mpp: float | None) -> Scale:
        """Return how many of these pixels one square pixel of `mpp` µm spans.

        Parameters
        ----------
        mpp
            Wanted pixel size in µm; None keeps the pixels as they are.

        Returns
        -------
        tuple of float
            Scale along x and y; exactly (1.0, 1.0) when `mpp` is None or within ``NATIVE_TOLERANCE`` of both
            sides.

        Raises
        ------
        PixelSizeError
            If `mpp` is finer than these pixels: the result would show detail that was never scanned.
        """
        if mpp is None:
            return (1.0, 1.0)
        scale = (mpp / self.x_um, mpp / self.y_um)
        if all(abs(s - 1) <= NATIVE_TOLERANCE for s in scale):
            return (1.0, 1.0)
        if min(scale) < 1 - NATIVE_TOLERANCE:
            raise PixelSizeError(
                f"pixels of {mpp:g} µm were asked for, but the slide was scanned at {self.x_um:g} × {self.y_um:g} µm: "
                f"ask for {max(self.x_um, self.y_um):g} µm or more, or leave mpp out to keep the slide's own"
            )
        return (max(1.0, scale[0]), max(1.0, scale[1]))


def ceil_div(value: int, step: int) -> int:
    """Divide and round up, in integers.

    Parameters
    ----------
    value
        Number to divide, 0 or more.
    step
        Divisor, 1 or more.

    Returns
    -------
    int
        Number of steps that cover `value`.
    """
    return -(-value // step)
