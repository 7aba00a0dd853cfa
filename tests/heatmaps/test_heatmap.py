import numpy as np
import pytest

from slidepipe.errors import StoreError
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap


def test_the_size_of_a_cell_is_known_in_micrometres() -> None:
    probability = np.zeros((2, 3), dtype=np.float32)
    heatmap = Heatmap("slide", probability, (100.0, 50.0), PixelSize(0.25, 0.3), (300, 100))
    assert heatmap.cell_um == PixelSize(25.0, 15.0)


@pytest.mark.parametrize("probability", [np.zeros((2, 3)), np.zeros(3, dtype=np.float32)])
def test_another_type_or_shape_is_refused(probability: np.ndarray) -> None:
    with pytest.raises(StoreError, match="slide: a heatmap is float32 of two dimensions"):
        Heatmap("slide", probability, (1.0, 1.0), PixelSize(1, 1), (3, 2))
