"""Heatmaps with lesions, drawn cell by cell."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.geometry import PixelSize, Scale
from slidepipe.heatmaps.heatmap import Heatmap


@pytest.fixture
def draw_heatmap() -> Callable[..., Heatmap]:
    """Return a function that makes a heatmap of cells of 100 px and 50 µm on a slide of just that size."""

    def draw(
        cells: Sequence[Sequence[float]] | NDArray[np.float32],
        *,
        cell_px0: Scale = (100.0, 100.0),
        size_px0: tuple[int, int] | None = None,
    ) -> Heatmap:
        probability = np.array(cells, dtype=np.float32)
        rows, columns = probability.shape
        whole = (round(columns * cell_px0[0]), round(rows * cell_px0[1]))
        return Heatmap("drawn", probability, cell_px0, PixelSize(0.5, 0.5), size_px0 or whole)

    return draw
