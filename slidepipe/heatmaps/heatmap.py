"""The heatmap: tumour probability as an image of the slide. What the lesion room takes over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.geometry import PixelSize, Scale


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Tumour probability of a slide on a regular grid of cells.

    Cell (row r, column c) covers the level-0 rectangle from (c · cx, r · cy) to ((c + 1) · cx, (r + 1) · cy), with
    (cx, cy) = `cell_px0`. Cells at the right and lower edge may reach beyond the slide.

    Raises
    ------
    StoreError
        If the probabilities are not a two-dimensional array of float32.
    """

    slide_id: str
    """Name of the slide."""
    probability: NDArray[np.float32]
    """Shape (rows, columns), 0 to 1. NaN means that nothing was looked at there, never that there is no tumour."""
    cell_px0: Scale
    """Level-0 pixels that a cell spans along x and y; not always whole numbers."""
    pixel_size0: PixelSize
    """Size of a level-0 pixel."""
    size_px0: tuple[int, int]
    """Width and height of the slide."""

    def __post_init__(self) -> None:
        if self.probability.ndim != 2 or self.probability.dtype != np.float32:
            raise StoreError(
                f"{self.slide_id}: a heatmap is float32 of two dimensions, got {self.probability.dtype} of shape "
                f"{self.probability.shape}"
            )

    @property
    def cell_um(self) -> PixelSize:
        """Width and height of a cell in µm."""
        return self.pixel_size0.scaled(self.cell_px0)
