import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

from slidepipe.errors import ConfigError
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.lesions.outlines import lesion_outline, lesion_regions

RING = [
    [0.0, 0.9, 0.8, 0.9, 0.0],
    [0.0, 0.9, 0.1, 0.9, 0.0],
    [0.0, 0.9, 0.9, 0.9, 0.0],
    [0.6, 0.0, 0.0, 0.0, 0.0],
]


def test_the_outline_is_the_union_of_the_cells_with_its_holes(draw_heatmap):
    heatmap = draw_heatmap(RING)
    lesions = detect_lesions(heatmap, LesionSettings(method="components"))
    outline = lesion_outline(heatmap, lesions[0], 0.5)
    corner, hole = shapely.box(0, 300, 100, 400), shapely.box(200, 100, 300, 200)
    assert shapely.equals(outline, shapely.box(100, 0, 400, 300).difference(hole).union(corner))


def test_lesions_of_one_region_share_one_outline(draw_heatmap):
    heatmap = draw_heatmap([[0.9, 0.6, 0.6, 0.6, 0.8, 0.0, 0.7]])
    lesions = detect_lesions(heatmap, LesionSettings(radius_um=100.0))
    regions = lesion_regions(heatmap, lesions, 0.5)
    assert [[lesion.number for lesion in region.lesions] for region in regions] == [[1, 2], [3]]


def test_straight_sides_have_no_points_between_their_corners(draw_heatmap):
    heatmap = draw_heatmap(np.full((6, 9), 0.9))
    (lesion,) = detect_lesions(heatmap, LesionSettings(method="components"))
    assert len(shapely.get_coordinates(lesion_outline(heatmap, lesion, 0.5))) == 5


def test_outlines_end_at_the_edge_of_the_slide(draw_heatmap):
    heatmap = draw_heatmap([[0.0, 0.9], [0.0, 0.9]], size_px0=(130, 155))
    (lesion,) = detect_lesions(heatmap, LesionSettings())
    assert lesion_outline(heatmap, lesion, 0.5).bounds == (100, 0, 130, 155)


def test_another_threshold_than_the_lesions_were_found_with_is_noticed(draw_heatmap):
    heatmap = draw_heatmap([[0.0, 0.6]])
    (lesion,) = detect_lesions(heatmap, LesionSettings())
    with pytest.raises(ConfigError, match=r"does not lie above 0\.7"):
        lesion_outline(heatmap, lesion, 0.7)


def test_a_slide_without_lesions_has_no_outlines(draw_heatmap):
    assert lesion_regions(draw_heatmap([[0.0]]), [], 0.5) == ()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tumour=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_every_outline_is_valid_and_covers_just_its_cells(draw_heatmap, tumour):
    heatmap = draw_heatmap(tumour.astype(np.float32), cell_px0=(56.25, 40.0))
    lesions = detect_lesions(heatmap, LesionSettings(method="components"))
    regions = lesion_regions(heatmap, lesions, 0.5)
    assert all(shapely.is_valid(region.outline) for region in regions)
    assert all(region.outline.geom_type in {"Polygon", "MultiPolygon"} for region in regions)
    rows, columns = np.mgrid[: tumour.shape[0], : tumour.shape[1]]
    centres = shapely.points((columns + 0.5) * 56.25, (rows + 0.5) * 40.0)
    covered = np.zeros(tumour.shape, bool)
    for region in regions:
        covered |= shapely.contains(region.outline, centres)
    np.testing.assert_array_equal(covered, tumour)
