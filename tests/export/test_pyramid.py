import numpy as np
import pytest

from slidepipe.errors import ExportError
from slidepipe.export.pyramid import halve, heatmap_levels


def test_each_four_cells_give_their_largest_and_odd_edges_are_kept():
    nan = np.nan
    cells = np.array([[0.1, 0.9, nan], [nan, 0.2, nan], [0.3, nan, 0.4]], dtype=np.float32)
    expected = np.array([[0.9, nan], [0.3, 0.4]], dtype=np.float32)
    np.testing.assert_array_equal(halve(cells), expected)
    assert halve(cells).dtype == np.float32


def test_levels_end_with_the_first_that_is_small_enough(draw_heatmap):
    levels = heatmap_levels(draw_heatmap(np.zeros((9, 16))), 4)
    assert [level.shape for level in levels] == [(9, 16), (5, 8), (3, 4)]
    assert len(heatmap_levels(draw_heatmap(np.zeros((4, 4))), 4)) == 1


def test_a_heatmap_without_cells_has_no_levels(draw_heatmap):
    with pytest.raises(ExportError, match="no cell"):
        heatmap_levels(draw_heatmap(np.empty((0, 4))), 4)
