"""Resampling by weights must be resampling of slides, and intervals must cover."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slidepipe.evaluation.auc import auc
from slidepipe.evaluation.bootstrap import (
    auc_statistic,
    bootstrap_intervals,
    froc_statistic,
    percentile_interval,
    resampled_weights,
    score_statistic,
    two_sided_p_value,
)
from slidepipe.evaluation.froc import count_hits, froc_curve
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.rules import RULES

Draw = Callable[..., list[SlideHits]]


def drawn(slides: list[SlideHits], weights: np.ndarray) -> list[SlideHits]:
    return [
        replace(hits, slide_id=f"{hits.slide_id}_{time}")
        for hits, times in zip(slides, weights, strict=True)
        for time in range(int(times))
    ]


@pytest.mark.parametrize("rule_name", list(RULES))
@pytest.mark.parametrize(("n_false", "digits"), [(30, 6), (30, 1), (3, 6), (60, 2)])
def test_weighted_slides_score_as_repeated_slides_do(
    draw_hits: Draw, rule_name: str, n_false: int, digits: int
) -> None:
    slides, rule = draw_hits(n_false, n_false=n_false, digits=digits), RULES[rule_name]
    weights = resampled_weights(len(slides), 25, seed=1)
    values = froc_statistic(count_hits(slides, rule))(weights)
    for row, found in zip(weights, values, strict=True):
        expected = froc_curve(drawn(slides, row), rule).sensitivity_at()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_equal_weights_give_the_score_itself(draw_hits: Draw) -> None:
    for compat in (False, True):
        for rule in RULES.values():
            slides = draw_hits(4, digits=1)
            value = score_statistic(count_hits(slides, rule, compat=compat))(np.ones((1, len(slides))))
            assert value[0, 0] == pytest.approx(froc_curve(slides, rule, compat=compat).score, abs=1e-12)


def test_weighted_aucs_are_those_of_repeated_slides() -> None:
    generator = np.random.default_rng(0)
    labels, values = generator.random(30) < 0.4, generator.random(30).round(1)
    weights = resampled_weights(30, 20, seed=2)
    for row, found in zip(weights, auc_statistic(labels, values)(weights), strict=True):
        index = np.repeat(np.arange(30), row.astype(int))
        assert found == pytest.approx(auc(labels[index], values[index]), abs=1e-12)


def test_a_resample_without_a_class_is_left_out_and_counted() -> None:
    labels, values = np.array([True, False, False]), np.array([0.9, 0.1, 0.95])
    interval = bootstrap_intervals(auc_statistic(labels, values), resampled_weights(3, 200, seed=0), 0.95)[0]
    assert 0 < interval.n_resamples < 200
    assert 0 <= interval.low <= interval.high <= 1


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    assert (resampled_weights(9, 50, 3) == resampled_weights(9, 50, 3)).all()
    assert (resampled_weights(9, 50, 3) != resampled_weights(9, 50, 4)).any()
    assert (resampled_weights(9, 50, 3).sum(axis=1) == 9).all()


def test_intervals_of_a_mean_agree_with_theory() -> None:
    values = np.random.default_rng(1).normal(size=200)
    weights = resampled_weights(200, 4000, seed=0)
    interval = bootstrap_intervals(lambda rows: rows @ values / rows.sum(axis=1), weights, 0.9)[0]
    error = values.std(ddof=1) / np.sqrt(200)
    expected = values.mean() + 1.6449 * error * np.array([-1, 1])
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.1 * error)
    np.testing.assert_allclose([interval.bca_low, interval.bca_high], expected, atol=0.15 * error)


def test_bca_moves_the_interval_of_a_skewed_statistic_outwards() -> None:
    # Variance of an exponential sample: percentile intervals are known to lie too low.
    values = np.random.default_rng(5).exponential(size=40)

    def variance(rows: np.ndarray) -> np.ndarray:
        total = rows.sum(axis=1)
        return (rows @ values**2) / total - (rows @ values / total) ** 2

    interval = bootstrap_intervals(variance, resampled_weights(40, 4000, seed=0), 0.95)[0]
    assert interval.bca_low > interval.low
    assert interval.bca_high > interval.high


def test_a_statistic_that_never_changes_has_a_point_as_its_interval() -> None:
    interval = bootstrap_intervals(lambda rows: np.ones(len(rows)), resampled_weights(5, 100, 0), 0.95)[0]
    assert (interval.low, interval.high, interval.bca_low, interval.bca_high) == (1, 1, 1, 1)


def test_p_values() -> None:
    assert two_sided_p_value(np.zeros(99)) == 1
    assert two_sided_p_value(np.full(99, 0.5)) == pytest.approx(0.02)
    assert two_sided_p_value(np.array([np.nan, -1.0, 1.0, 1.0, 1.0])) == pytest.approx(2 * 2 / 5)
    assert two_sided_p_value(np.array([np.nan])) == 1


def test_no_value_has_no_interval() -> None:
    assert np.isnan(percentile_interval(np.array([np.nan]), 0.95)).all()
