"""What is mined from a heatmap of a normal slide."""

import numpy as np

from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.false_positives import MiningSettings, find_false_positives


def heatmap(probability: np.ndarray) -> Heatmap:
    rows, columns = probability.shape
    return Heatmap(
        "normal",
        probability.astype(np.float32),
        (100.0, 100.0),
        PixelSize(0.5, 0.5),
        (columns * 100, rows * 100),
    )


def test_the_most_probable_places_are_taken_and_not_their_neighbours() -> None:
    cells = np.full((20, 20), 0.1)
    cells[3, 3], cells[3, 4], cells[15, 10], cells[10, 2] = 0.9, 0.8, 0.7, 0.5
    found = find_false_positives(heatmap(cells), MiningSettings(radius_um=100))
    assert [(place.x_px0, place.y_px0) for place in found] == [(350, 350), (1050, 1550)]
    assert [round(place.probability, 3) for place in found] == [0.9, 0.7]


def test_one_slide_gives_no_more_than_its_share() -> None:
    found = find_false_positives(heatmap(np.full((20, 20), 0.9)), MiningSettings(per_slide=7, radius_um=50))
    assert len(found) == 7


def test_a_heatmap_without_a_false_positive_gives_nothing() -> None:
    cells = np.full((5, 5), 0.5)
    cells[2, 2] = np.nan
    assert find_false_positives(heatmap(cells), MiningSettings()) == ()
