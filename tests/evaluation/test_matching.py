"""Which detection hits which lesion."""

import numpy as np
import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.matching import Matching, match_normal_slide, match_tumour_slide
from slidepipe.evaluation.reference import ReferenceLesions, find_reference_lesions
from slidepipe.evaluation.rules import OFFICIAL_PIXEL_UM, RULES


@pytest.fixture(scope="module")
def lesions() -> ReferenceLesions:
    """A large lesion around row 40, column 40, and one of isolated tumour cells at row 100, column 100."""
    mask = np.zeros((120, 160), dtype=np.bool_)
    mask[20:60, 20:60] = True
    mask[100:104, 100:104] = True
    return find_reference_lesions(mask, OFFICIAL_PIXEL_UM)


PUBLIC = Matching(RULES["public"], 32)


def test_a_lesion_counts_once_and_itc_not_at_all(lesions: ReferenceLesions) -> None:
    detections = np.array(
        [[0.6, 1280, 1280], [0.8, 1300, 1300], [0.9, 3232, 3232], [0.7, 64, 64], [0.5, 4000, 100]]
    )
    hits = match_tumour_slide("slide", detections, lesions, PUBLIC)
    assert hits.lesion_probability.tolist() == [0.8, 0.0]
    assert hits.is_itc.tolist() == [False, True]
    assert hits.false_positive_probability.tolist() == [0.7, 0.5]
    assert sorted(hits.detection_probability.tolist()) == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert (hits.n_targets, hits.n_itc) == (1, 1)


def test_on_a_normal_slide_everything_is_a_false_positive() -> None:
    hits = match_normal_slide("slide", np.array([[0.6, 1, 1], [0.2, 9, 9]]))
    assert hits.false_positive_probability.tolist() == [0.6, 0.2]
    assert (hits.is_tumour, hits.n_targets) == (False, 0)


def test_no_detection_misses_every_lesion(lesions: ReferenceLesions) -> None:
    hits = match_tumour_slide("slide", np.zeros((0, 3)), lesions, PUBLIC)
    assert hits.lesion_probability.tolist() == [0.0, 0.0]


def test_outside_a_bounded_mask_is_an_error_that_names_the_place(lesions: ReferenceLesions) -> None:
    outside = np.array([[0.6, 100, 100], [0.5, 5120, 100]])
    with pytest.raises(EvaluationError, match=r"slide_8: 1 of 2 detections .*column 160"):
        match_tumour_slide("slide_8", outside, lesions, PUBLIC)
    loose = match_tumour_slide("slide_8", outside, lesions, Matching(RULES["public"], 32, is_bounded=False))
    assert loose.false_positive_probability.tolist() == [0.6, 0.5]


def test_the_last_half_pixel_is_outside_for_the_rule_that_rounds(lesions: ReferenceLesions) -> None:
    last = np.array([[0.5, 5119.0, 100.0]])
    assert match_tumour_slide("slide", last, lesions, PUBLIC).false_positive_probability.tolist() == [0.5]
    with pytest.raises(EvaluationError, match="rounds to the nearest"):
        match_tumour_slide("slide", last, lesions, Matching(RULES["release"], 32))


def test_compat_counts_negative_pixels_from_the_end_and_drops_what_leaderboard_drops(
    lesions: ReferenceLesions,
) -> None:
    detections = np.array([[0.9, -3840, -2560], [0.5, 5120, 100]])
    hits = match_tumour_slide("slide", detections, lesions, Matching(RULES["leaderboard"], 32, compat=True))
    assert hits.lesion_probability.tolist() == [float(np.float32(0.9)), 0.0]
    assert hits.n_dropped == 1
    with pytest.raises(EvaluationError):
        match_tumour_slide("slide", detections, lesions, Matching(RULES["public"], 32, compat=True))


def test_compat_bends_nothing_where_the_mask_does_not_end_with_the_slide(lesions: ReferenceLesions) -> None:
    far = np.array([[0.5, 5120, 100]])
    matching = Matching(RULES["leaderboard"], 32, is_bounded=False, compat=True)
    assert match_tumour_slide("slide", far, lesions, matching).n_dropped == 0
