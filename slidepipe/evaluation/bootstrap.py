"""Confidence intervals and p-values by resampling slides.

Slides, not lesions or detections, are drawn with replacement: lesions of one slide are not independent. A resample is
a row of weights, how often each slide was drawn, and every statistic is computed for all rows at once. FROC scores
need curves only up to 8 false positives per slide, so that of tens of thousands of thresholds a few thousand remain.

The same seed gives the same weights for the same number of slides, so that two runs on the same slides are compared
resample by resample (paired).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slidepipe.evaluation.auc import placements
from slidepipe.evaluation.froc import HitCounter
from slidepipe.evaluation.rules import FROC_RATES

_ROWS_AT_ONCE = 256
"""Resamples whose curves are in memory together."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A statistic of weighted slides: weights (n_resamples, n_slides) to values (n_resamples, ...); NaN where a resample
lacks what the statistic needs."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Confidence interval of one number, two ways."""

    low: float
    """Lower end by the percentile method, as the organisers computed theirs."""
    high: float
    """Upper end by the percentile method."""
    bca_low: float
    """Lower end, bias-corrected and accelerated."""
    bca_high: float
    """Upper end, bias-corrected and accelerated."""
    confidence: float
    """Coverage, between 0 and 1."""
    n_resamples: int
    """Resamples used. Those that lack a class of slides, or any target lesion, are left out."""


def resampled_weights(n_slides: int, n_resamples: int, seed: int | Sequence[int]) -> NDArray[np.float64]:
    """Draw slides with replacement.

    Parameters
    ----------
    n_slides
        Number of slides.
    n_resamples
        Number of resamples.
    seed
        Seed of the generator (PCG64); sequences that differ give independent draws.

    Returns
    -------
    ndarray
        How often each slide was drawn, shape (n_resamples, n_slides); rows sum to `n_slides`.
    """
    draws = np.random.default_rng(seed).multinomial(
        n_slides, np.full(n_slides, 1 / n_slides), size=n_resamples
    )
    return draws.astype(np.float64)


def froc_statistic(counter: HitCounter, rates: Sequence[float] = FROC_RATES) -> Statistic:
    """Make a function that reads the FROC curves of weighted slides.

    Parameters
    ----------
    counter
        Hits of all slides.
    rates
        False positives per slide at which sensitivity is read.

    Returns
    -------
    Statistic
        Sensitivities of shape (n_resamples, n_rates). False positives are divided by the number of counted slides
        *in the resample*; the organisers' own bootstrap kept the original number.
    """
    wanted = np.asarray(rates, dtype=np.float64)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        stop = _needed_thresholds(counter, weights, float(wanted.max()))
        false_positives, found = counter.counts(0, stop)
        parts = [
            _read_curves(counter, rows, false_positives, found, wanted)
            for rows in np.split(weights, range(_ROWS_AT_ONCE, len(weights), _ROWS_AT_ONCE))
        ]
        return np.concatenate(parts)

    return statistic


def score_statistic(counter: HitCounter) -> Statistic:
    """Make a function that computes the FROC score of weighted slides.

    Parameters
    ----------
    counter
        Hits of all slides.

    Returns
    -------
    Statistic
        Seven values a resample: the score, then the sensitivity at each of the six rates.
    """
    sensitivities = froc_statistic(counter)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        values = sensitivities(weights)
        return np.concatenate([values.mean(axis=1, keepdims=True), values], axis=1)

    return statistic


def auc_statistic(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> Statistic:
    """Make a function that computes the AUC of weighted slides.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n_slides,).
    probabilities
        Predicted probability of tumour, shape (n_slides,).

    Returns
    -------
    Statistic
        AUC, shape (n_resamples,); NaN where a class was not drawn.
    """
    scores = placements(labels, probabilities)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with_tumour, without = weights[:, labels], weights[:, ~labels]
        pairs = with_tumour.sum(axis=1) * without.sum(axis=1)
        ranked = ((with_tumour @ scores) * without).sum(axis=1)
        return np.where(pairs > 0, ranked / np.maximum(pairs, 1), np.nan)

    return statistic


def bootstrap_intervals(
    statistic: Statistic, weights: NDArray[np.float64], confidence: float
) -> tuple[Interval, ...]:
    """Compute the confidence intervals of a statistic.

    Parameters
    ----------
    statistic
        What to compute.
    weights
        Resamples, from `resampled_weights`.
    confidence
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of Interval
        One for each value the statistic has.

    References
    ----------
    .. [1] B. Efron & R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14.
    """
    n_slides = weights.shape[1]
    everything = np.ones((1, n_slides))
    values = _two_dimensional(statistic(weights))
    estimate = _two_dimensional(statistic(everything))[0]
    left_out = _two_dimensional(statistic(everything - np.eye(n_slides)))
    return tuple(
        _interval(values[:, index], float(estimate[index]), left_out[:, index], confidence)
        for index in range(values.shape[1])
    )


def percentile_interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Cut the same share off both ends of resampled values.

    Parameters
    ----------
    values
        Values of a statistic; NaN is left out.
    confidence
        Share that is kept.

    Returns
    -------
    tuple of float
        Lower and upper end; NaN without values.
    """
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def two_sided_p_value(differences: NDArray[np.float64]) -> float:
    """Compute the p-value of resampled differences against no difference.

    Parameters
    ----------
    differences
        Resampled differences; NaN is left out.

    Returns
    -------
    float
        Twice the smaller share of resamples on one side of 0, 0 included on both, each with one added so that it is
        never 0; at most 1, and 1 without any resample.
    """
    values = differences[~np.isnan(differences)]
    below, above = np.count_nonzero(values <= 0), np.count_nonzero(values >= 0)
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(values))))


def _interval(
    values: NDArray[np.float64], estimate: float, left_out: NDArray[np.float64], confidence: float
) -> Interval:
    low, high = percentile_interval(values, confidence)
    values, left_out = values[~np.isnan(values)], left_out[~np.isnan(left_out)]
    bca_low, bca_high = (
        _bca(values, estimate, left_out, confidence) if len(values) and len(left_out) else (low, high)
    )
    return Interval(low, high, bca_low, bca_high, confidence, len(values))


def _bca(
    values: NDArray[np.float64], estimate: float, left_out: NDArray[np.float64], confidence: float
) -> tuple[float, float]:
    # Ties count half, and the share stays off 0 and 1, where the correction would be infinite.
    below = np.count_nonzero(values < estimate) + np.count_nonzero(values == estimate) / 2
    bias = stats.norm.ppf(np.clip(below, 0.5, len(values) - 0.5) / len(values))
    gaps = left_out.mean() - left_out
    spread = float(np.sum(gaps**2)) ** 1.5
    acceleration = float(np.sum(gaps**3)) / (6 * spread) if spread > 0 else 0.0
    quantiles = stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    shifted = bias + (bias + quantiles) / (1 - acceleration * (bias + quantiles))
    low, high = (float(np.quantile(values, share)) for share in np.asarray(stats.norm.cdf(shifted)))
    return low, high


def _needed_thresholds(counter: HitCounter, weights: NDArray[np.float64], rate: float) -> int:
    """Count the thresholds after which no resample's curve below `rate` changes any more."""
    slides = weights @ counter.is_counted

    def false_positives(index: int) -> NDArray[np.float64]:
        return weights @ counter.counts(index, index + 1)[0][:, 0]

    def first(is_enough: Callable[[int], bool]) -> int:
        low, high = 0, len(counter.thresholds)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
        return low

    total = len(counter.thresholds)
    beyond = first(lambda index: bool((false_positives(index) > rate * slides).all()))
    if beyond == total:
        return total
    # Thresholds that add no false positive to a point still raise its sensitivity, and one rule reads the last of them.
    reached = false_positives(beyond)
    return min(first(lambda index: bool((false_positives(index) > reached).all())) + 1, total)


def _read_curves(
    counter: HitCounter,
    weights: NDArray[np.float64],
    false_positives: NDArray[np.float64],
    found: NDArray[np.float64],
    wanted: NDArray[np.float64],
) -> NDArray[np.float64]:
    slides, targets = weights @ counter.is_counted, weights @ counter.n_targets
    origin = np.zeros((len(weights), 1))
    rate = np.concatenate([origin, weights @ false_positives], axis=1) / np.maximum(slides, 1)[:, None]
    sensitivity = np.concatenate([origin, weights @ found], axis=1) / np.maximum(targets, 1)[:, None]
    values = counter.rule.read(rate, sensitivity, wanted)
    values[(slides == 0) | (targets == 0)] = np.nan
    return values


def _two_dimensional(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[:, None] if values.ndim == 1 else values
