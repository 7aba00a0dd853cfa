"""Thresholds are chosen on training slides and nowhere else."""

import numpy as np
import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.operating_point import choose_slide_threshold, confusion, wilson_interval

TRAINING = {
    "tumor_001": (True, 0.9),
    "tumor_002": (True, 0.7),
    "tumor_003": (True, 0.4),
    "normal_001": (False, 0.6),
    "normal_002": (False, 0.3),
    "normal_003": (False, 0.2),
    "normal_004": (False, 0.1),
}


def test_youden_takes_the_largest_sum_half_way_to_the_next_slide() -> None:
    # From 0.4 on, 3 of 3 and 3 of 4 are right; from 0.7 on, 2 of 3 and 4 of 4.
    assert choose_slide_threshold(TRAINING, ["test_001"], "youden", 0.9) == pytest.approx(0.35)


def test_a_wanted_specificity_is_kept() -> None:
    assert choose_slide_threshold(TRAINING, [], "specificity", 1.0) == pytest.approx(0.65)
    assert choose_slide_threshold(TRAINING, [], "specificity", 0.75) == pytest.approx(0.35)


def test_where_calling_nothing_is_best_nothing_is_called() -> None:
    training = {"a": (False, 0.9), "b": (True, 0.5), "c": (False, 0.8)}
    assert choose_slide_threshold(training, [], "specificity", 1.0) > 0.9


def test_slides_that_are_judged_must_not_choose() -> None:
    with pytest.raises(EvaluationError, match="tumor_002"):
        choose_slide_threshold(TRAINING, ["test_001", "tumor_002"], "youden", 0.9)


def test_confusion_counts_slides_at_the_threshold_as_positive() -> None:
    counts = confusion(np.array([True, True, False, False]), np.array([0.5, 0.4, 0.5, 0.1]), 0.5)
    assert (counts.true_positives, counts.false_negatives) == (1, 1)
    assert (counts.false_positives, counts.true_negatives) == (1, 1)
    assert (counts.sensitivity, counts.specificity) == (0.5, 0.5)


def test_wilsons_interval_has_its_published_value() -> None:
    # Newcombe 1998, table I: 81 of 263.
    assert wilson_interval(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20, 0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert np.isnan(wilson_interval(0, 0, 0.95)).all()
