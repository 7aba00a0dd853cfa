import math

import numpy as np
import pytest

from slidepipe.geometry import PixelSize
from slidepipe.lesions.components import find_components, label_regions, measure_regions

MAP = np.array(
    [
        [0.9, 0.2, 0.0, 0.0, 0.6],
        [0.0, 0.95, 0.0, 0.0, 0.6],
        [0.0, 0.0, np.nan, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.5, 0.51],
    ],
    dtype=np.float32,
)
CELL = PixelSize(10.0, 20.0)


def test_cells_that_touch_at_a_corner_are_one_region_and_the_threshold_itself_is_outside():
    assert label_regions(MAP, 0.5).tolist() == [
        [1, 0, 0, 0, 2],
        [0, 1, 0, 0, 2],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 3],
    ]


def test_each_region_gives_its_most_probable_cell_strongest_first():
    assert find_components(MAP, 0.5).tolist() == [[1, 1], [0, 4], [3, 4]]


def test_nothing_above_the_threshold_gives_no_component():
    assert find_components(MAP, 0.99).shape == (0, 2)


def test_area_counts_cells_and_the_diameter_joins_the_farthest_corners():
    regions = measure_regions(label_regions(MAP, 0.5), [1, 2, 3, 2], CELL)
    assert {number: region.area_um2 for number, region in regions.items()} == {1: 400, 2: 400, 3: 200}
    assert regions[1].diameter_um == pytest.approx(math.hypot(20, 40))
    assert regions[2].diameter_um == pytest.approx(math.hypot(10, 40))
    assert regions[3].diameter_um == pytest.approx(math.hypot(10, 20))


def test_the_diameter_of_a_round_region_is_that_of_the_circle():
    rows, columns = np.mgrid[:201, :201]
    disc = (np.hypot(rows - 100, columns - 100) <= 90).astype(np.float32)
    region = measure_regions(label_regions(disc, 0.5), [1], PixelSize(1.0, 1.0))[1]
    assert region.diameter_um == pytest.approx(181, abs=1)
    assert region.area_um2 == pytest.approx(math.pi * 90**2, rel=0.01)
