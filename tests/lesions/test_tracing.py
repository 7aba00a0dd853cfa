import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slidepipe.lesions.tracing import trace_cells


def squares(mask):
    rows, columns = np.nonzero(mask)
    return shapely.union_all(shapely.box(columns, rows, columns + 1, rows + 1))


@settings(max_examples=200, deadline=None)
@given(
    mask=hnp.arrays(
        np.bool_,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=10),
        elements=st.sampled_from([True, True, False]),
    ).filter(np.any)
)
def test_any_set_of_cells_is_outlined_as_the_union_of_its_squares(mask):
    outline = trace_cells(mask)
    assert shapely.is_valid(outline), shapely.is_valid_reason(outline)
    assert shapely.equals(outline, squares(mask))
    assert outline.area == mask.sum()


def test_a_hole_that_touches_the_outside_at_a_corner_is_still_a_hole():
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1]], dtype=bool)
    outline = trace_cells(mask)
    assert outline.geom_type == "Polygon"
    assert shapely.is_valid(outline)
    assert len(outline.interiors) == 1


def test_pieces_that_touch_at_a_corner_are_polygons_of_their_own():
    outline = trace_cells(np.eye(3, dtype=bool))
    assert outline.geom_type == "MultiPolygon"
    assert [part.bounds for part in outline.geoms] == [(0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)]


def test_there_are_points_only_where_the_outline_turns():
    mask = np.ones((50, 70), dtype=bool)
    mask[20:30, 20:40] = False
    assert len(shapely.get_coordinates(trace_cells(mask))) == 10
