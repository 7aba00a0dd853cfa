import numpy as np
import pytest

from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.detection import LesionSettings, detect_lesions

LONG = [[0.0, 0.6, 0.7, 0.6, 0.6, 0.6, 0.95, 0.0], [0.0] * 8, [0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, np.nan]]


def test_nms_may_put_several_lesions_on_one_region_and_each_carries_its_size(draw_heatmap):
    lesions = detect_lesions(draw_heatmap(LONG), LesionSettings(radius_um=100.0))
    assert [(lesion.number, lesion.x_px0, lesion.y_px0) for lesion in lesions] == [
        (1, 650, 50),
        (2, 150, 250),
        (3, 350, 50),
    ]
    assert [lesion.probability for lesion in lesions] == [float(np.float32(p)) for p in (0.95, 0.8, 0.6)]
    assert lesions[0].area_um2 == lesions[2].area_um2 == 6 * 50 * 50
    assert lesions[1].area_um2 == 50 * 50


def test_components_put_one_lesion_on_each_region(draw_heatmap):
    lesions = detect_lesions(draw_heatmap(LONG), LesionSettings(method="components"))
    assert [(lesion.x_px0, lesion.y_px0) for lesion in lesions] == [(650, 50), (150, 250)]


@pytest.mark.parametrize("method", ["nms", "components"])
def test_small_regions_are_dropped_and_the_rest_is_numbered_without_gaps(draw_heatmap, method):
    settings = LesionSettings(method=method, radius_um=100.0, min_area_um2=2501.0)
    lesions = detect_lesions(draw_heatmap(LONG), settings)
    assert [lesion.number for lesion in lesions] == list(range(1, len(lesions) + 1))
    assert {lesion.y_px0 for lesion in lesions} == {50}


def test_the_default_radius_is_the_twelve_cells_of_ncrf():
    probability = np.full((40, 40), 0.6, np.float32)
    heatmap = Heatmap("level_6", probability, (64.0, 64.0), PixelSize(0.243, 0.243), (2560, 2560))
    columns = sorted({(lesion.x_px0 - 32) // 64 for lesion in detect_lesions(heatmap, LesionSettings())})
    assert columns == [0, 12, 24, 36]


@pytest.mark.parametrize("method", ["nms", "components"])
def test_a_slide_where_nothing_was_looked_at_has_no_lesion(draw_heatmap, method):
    heatmap = draw_heatmap(np.full((3, 4), np.nan))
    assert detect_lesions(heatmap, LesionSettings(method=method, threshold=0.0)) == ()


def test_a_cell_that_reaches_over_the_edge_has_its_point_on_the_slide(draw_heatmap):
    heatmap = draw_heatmap([[0.0, 0.9]], size_px0=(120, 100))
    (lesion,) = detect_lesions(heatmap, LesionSettings())
    assert (lesion.x_px0, lesion.y_px0) == (119, 50)
