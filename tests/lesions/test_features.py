import csv
import math

import numpy as np
import pytest

from slidepipe.lesions.features import FEATURE_NAMES, heatmap_features, largest_probability


def named(heatmap):
    return dict(zip(FEATURE_NAMES, heatmap_features(heatmap).tolist(), strict=True))


@pytest.fixture(scope="module")
def published(shared_data):
    with (shared_data / "camelyon16" / "heatmap-features-train.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    return rows[0], np.array([row[2:] for row in rows[1:]], dtype=float)


def test_names_and_order_are_those_of_the_published_table(published):
    assert tuple(published[0][2:]) == FEATURE_NAMES


def test_the_published_numbers_obey_our_definitions(published):
    table = dict(zip(FEATURE_NAMES, published[1].T, strict=True))
    for percent in (50, 60, 70, 80, 90):
        excess = table[f"ratio_sum_tissue{percent}"] / table[f"ratio_cancer_tissue{percent}"]
        assert (
            excess.max() < 1 - percent / 100
        )  # a mean of probabilities themselves would be above the threshold
    for which in ("largest", "second_largest"):
        area, box = table[f"{which}_area"], table[f"area_bbox_{which}"]
        np.testing.assert_allclose(table[f"extend_{which}"], area / box, rtol=1e-12)
        height = np.sqrt(box * table[f"aspect_ratio_bbox_{which}"])
        np.testing.assert_allclose(height, np.round(height), atol=1e-6)
        assert table[f"minprob_{which}"].min() >= 0.5


def test_each_feature_of_a_drawn_slide_is_what_can_be_counted(draw_heatmap):
    cells = np.full((10, 12), np.nan, np.float32)
    cells[1:9, 1:11] = 0.1
    cells[2:4, 2:6] = 0.75
    cells[2, 2] = 1.0
    cells[7, 8:10] = 0.625
    values = named(draw_heatmap(cells))

    assert values["ratio_cancer_tissue50"] == pytest.approx(10 / 80)
    assert values["ratio_cancer_tissue70"] == pytest.approx(8 / 80)
    assert values["ratio_cancer_tissue90"] == pytest.approx(1 / 80)
    assert values["ratio_sum_tissue50"] == pytest.approx((7 * 0.25 + 0.5 + 2 * 0.125) / 80)
    assert values["ratio_sum_tissue90"] == pytest.approx(0.1 / 80)

    assert values["largest_area"] == 8
    assert values["area_bbox_largest"] == 8
    assert values["extend_largest"] == values["solidity_largest"] == 1
    assert values["aspect_ratio_bbox_largest"] == 2 / 4
    assert values["major_axis_length_largest"] == pytest.approx(4 * math.sqrt((4**2 - 1) / 12))
    assert (values["maxprob_largest"], values["minprob_largest"]) == (1.0, 0.75)
    assert values["aveprob_largest"] == pytest.approx((7 * 0.75 + 1) / 8)

    assert values["second_largest_area"] == 2
    assert values["aspect_ratio_bbox_second_largest"] == 1 / 2
    assert values["maxprob_second_largest"] == 0.625


def test_a_slide_without_a_cell_above_half_is_all_zeros(draw_heatmap):
    assert not heatmap_features(draw_heatmap([[0.5, np.nan, 0.2]])).any()


def test_a_slide_where_nothing_was_looked_at_is_all_zeros(draw_heatmap):
    assert not heatmap_features(draw_heatmap(np.full((3, 3), np.nan))).any()


def test_a_missing_second_region_is_ten_zeros(draw_heatmap):
    features = heatmap_features(draw_heatmap([[0.9, 0.8, 0.1], [0.1, 0.9, 0.1]]))
    assert features[10:20].all()
    assert not features[20:].any()


@pytest.mark.parametrize("cells", [[[0.9]], [[0.9, 0.9, 0.9, 0.0, 0.8]], [[0.9, 0.0], [0.0, 0.9]]])
def test_regions_too_thin_for_an_ellipse_still_have_finite_features(draw_heatmap, cells):
    assert np.isfinite(heatmap_features(draw_heatmap(cells))).all()


def test_of_two_equal_regions_the_first_is_the_largest(draw_heatmap):
    values = named(draw_heatmap([[0.6, 0.0, 0.0], [0.0, 0.0, 0.9]]))
    assert (values["maxprob_largest"], values["maxprob_second_largest"]) == pytest.approx((0.6, 0.9))


def test_the_largest_probability_ignores_what_nobody_looked_at(draw_heatmap):
    assert largest_probability(draw_heatmap([[np.nan, 0.25], [0.75, 0.5]])) == 0.75
    assert largest_probability(draw_heatmap([[np.nan, np.nan]])) == 0.0
