"""The rules that tell tissue from glass, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu

from slidepipe.tiles.tissue_pixels import find_ink, grow, majority, otsu_threshold, remove_small, saturation


@settings(deadline=None, max_examples=50)
@given(arrays(np.uint8, (3, 4, 3)))
def test_saturation_is_that_of_the_hsv_model(rgb: np.ndarray) -> None:
    np.testing.assert_allclose(saturation(rgb) / 255, rgb2hsv(rgb)[..., 1], atol=0.5 / 255 + 1e-6)


@settings(deadline=None, max_examples=50)
@given(arrays(np.uint8, st.integers(2, 60)).filter(lambda values: np.ptp(values) > 0))
def test_otsu_splits_as_scikit_image_does(values: np.ndarray) -> None:
    counts = np.bincount(values, minlength=256)
    ours = otsu_threshold(values)
    theirs = int(threshold_otsu(hist=(counts, np.arange(256))))
    np.testing.assert_array_equal(values > ours, values > theirs)


@pytest.mark.parametrize(("values", "threshold"), [([], 255), ([9, 9, 9], 9), ([0, 0, 200], 0)])
def test_otsu_has_an_answer_for_every_picture(values: list[int], threshold: int) -> None:
    assert otsu_threshold(np.array(values, np.uint8)) == threshold


@pytest.mark.parametrize(
    ("name", "rgb", "ink"),
    [
        ("blue pen", (40, 70, 160), True),
        ("dark blue pen", (20, 30, 90), True),
        ("pale rim of a blue stroke", (150, 190, 230), True),
        ("green pen", (30, 120, 60), True),
        ("black pen", (60, 60, 65), True),
        ("black", (0, 0, 0), True),
        ("haematoxylin", (90, 40, 120), False),
        ("dense haematoxylin", (60, 40, 90), False),
        ("eosin", (230, 150, 180), False),
        ("erythrocytes", (180, 60, 60), False),
        ("glass", (243, 243, 243), False),
        ("bluish glass", (230, 233, 240), False),
        ("grey dust", (150, 150, 150), False),
    ],
)
def test_ink_is_told_from_stain_and_glass(name: str, rgb: tuple[int, int, int], ink: bool) -> None:
    assert find_ink(np.array([[rgb]], np.uint8))[0, 0] == ink, name


@settings(deadline=None, max_examples=50)
@given(arrays(np.bool_, (7, 9)), st.integers(0, 2))
def test_the_majority_is_the_median_of_the_thresholded_image(mask: np.ndarray, radius: int) -> None:
    median = ndimage.median_filter(mask.astype(np.uint8), 2 * radius + 1, mode="nearest")
    np.testing.assert_array_equal(majority(mask, radius), median == 1)


def test_small_pieces_go_and_small_holes_are_filled() -> None:
    mask = np.zeros((12, 12), bool)
    mask[2:9, 2:9] = True
    mask[4, 4] = False  # a hole of one pixel
    mask[6:8, 5:8] = False  # and one of six
    mask[10, 10] = mask[11, 11] = True  # one piece, although its pixels touch at a corner only
    cleaned = remove_small(mask, min_object_px=3, min_hole_px=2)
    assert cleaned[4, 4]
    assert not cleaned[6, 6]
    assert not cleaned[10:, 10:].any()
    assert remove_small(mask, 2, 0)[10, 10]
    assert remove_small(mask, 0, 7)[6, 6]


def test_an_empty_mask_stays_empty_however_large_a_hole_may_be() -> None:
    empty = np.zeros((5, 5), bool)
    assert not remove_small(empty, 10, 1e9).any()
    assert not remove_small(np.eye(5, dtype=bool), 10, 1e9).any()


def test_a_grown_mask_reaches_as_far_as_asked_for_along_each_axis() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    grown = grow(mask, (1, 3))
    assert grown[1:8, 3:6].all()
    assert grown.sum() == 7 * 3
    np.testing.assert_array_equal(grow(mask, (0, 0)), mask)
