"""Brier score and reliability."""

import numpy as np
import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.calibration import calibration


def test_certain_and_right_is_perfect() -> None:
    result = calibration(np.array([True, False]), np.array([1.0, 0.0]))
    assert (result.brier, result.expected_error) == (0, 0)
    assert [(each.low, each.high) for each in result.bins] == [(0, 0.1), (0.9, 1)]


def test_bins_hold_what_was_predicted_and_what_came() -> None:
    result = calibration(np.array([True, False, False, True]), np.array([0.22, 0.28, 0.21, 0.8]))
    low, high = result.bins
    assert (low.n_slides, low.mean_probability, low.tumour_share) == pytest.approx((3, 0.71 / 3, 1 / 3))
    assert (high.n_slides, high.mean_probability, high.tumour_share) == pytest.approx((1, 0.8, 1))
    assert result.expected_error == pytest.approx((3 * abs(0.71 / 3 - 1 / 3) + 0.2) / 4)
    assert result.brier == pytest.approx((0.78**2 + 0.28**2 + 0.21**2 + 0.2**2) / 4)


@pytest.mark.parametrize("values", [[1.2, 0.1], [-0.1, 0.5]])
def test_what_is_no_probability_is_refused(values: list[float]) -> None:
    with pytest.raises(EvaluationError):
        calibration(np.array([True, False]), np.array(values))
