"""Three ways to read a curve, and three to place a detection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidepipe.evaluation.rules import (
    RULES,
    first_reached,
    floored,
    interpolated,
    nearest,
    rounded,
    truncated,
)

RATES = np.array([[0.0, 0.0, 0.5, 1.0, 1.0, 4.0]])
SENSITIVITY = np.array([[0.0, 0.2, 0.2, 0.4, 0.6, 0.8]])
WANTED = np.array([0.0, 0.25, 0.75, 1.0, 2.5, 8.0])


def test_interpolation_takes_the_highest_of_equal_rates_and_keeps_the_last() -> None:
    expected = [0.2, 0.2, 0.3, 0.6, 0.7, 0.8]
    np.testing.assert_allclose(interpolated(RATES, SENSITIVITY, WANTED)[0], expected, atol=1e-15)


def test_the_nearest_point_is_that_of_the_lowest_threshold_in_a_tie() -> None:
    # 0.25 and 0.75 are half way between two points, 2.5 between 1 and 4.
    np.testing.assert_array_equal(nearest(RATES, SENSITIVITY, WANTED)[0], [0.2, 0.2, 0.6, 0.6, 0.8, 0.8])


def test_the_first_point_that_reaches_a_rate_is_the_strictest() -> None:
    np.testing.assert_array_equal(
        first_reached(RATES, SENSITIVITY, WANTED)[0], [0.0, 0.2, 0.4, 0.4, 0.8, 0.8]
    )


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20),
    wanted=st.lists(st.floats(0, 12), min_size=1, max_size=6),
)
def test_interpolation_equals_numpys(steps: list[tuple[int, int]], wanted: list[float]) -> None:
    points = np.concatenate([[[0, 0]], np.cumsum(steps, axis=0)]).astype(np.float64)
    expected = np.interp(wanted, points[:, 0] / 4, points[:, 1])
    found = interpolated(points[None, :, 0] / 4, points[None, :, 1], np.array(wanted))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_each_curve_of_several_is_read_by_itself() -> None:
    other = RATES * 2
    both = interpolated(np.concatenate([RATES, other]), np.concatenate([SENSITIVITY] * 2), WANTED)
    np.testing.assert_array_equal(both[0], interpolated(RATES, SENSITIVITY, WANTED)[0])
    np.testing.assert_array_equal(both[1], interpolated(other, SENSITIVITY, WANTED)[0])


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (truncated, [0, 0, 0, 0, 1, 1, 2, 0]),
        (floored, [0, 0, 0, 0, 1, 1, 2, -1]),
        (rounded, [0, 0, 0, 1, 1, 2, 2, 0]),
    ],
)
def test_detections_fall_on_mask_pixels_as_in_the_scripts(place, expected: list[int]) -> None:
    # 16 / 32 is one half, which Python rounds to the even 0; 16.9 is cut to 16 before; 48 / 32 goes to 2.
    values = np.array([0, 15, 16.9, 17, 32, 48, 64, -1.0])
    assert place(values, 32.0).tolist() == expected


def test_the_rules_are_known_by_their_names() -> None:
    assert all(name == rule.name for name, rule in RULES.items())
    assert list(RULES) == ["public", "leaderboard", "release", "exact"]
