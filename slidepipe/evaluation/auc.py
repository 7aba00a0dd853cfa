"""Slide-level ROC: the curve, the area under it, and DeLong's variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slidepipe.errors import EvaluationError


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """True against false positives, from the strictest threshold to the loosest."""

    threshold: NDArray[np.float64]
    """Probability from which a slide counts as positive, falling; infinity at the first point."""
    false_positive_rate: NDArray[np.float64]
    """Share of the normal slides called positive, rises from 0 to 1."""
    true_positive_rate: NDArray[np.float64]
    """Share of the tumour slides called positive, rises from 0 to 1."""
    positive_predictive_value: NDArray[np.float64]
    """Share of the slides called positive that hold tumour; 1 at the first point, where none is called."""

    @property
    def average_precision(self) -> float:
        """Mean precision over the steps in recall, without interpolation."""
        steps = np.diff(self.true_positive_rate)
        return float(np.sum(steps * self.positive_predictive_value[1:]))

    def sensitivity_at_specificity(self, specificity: float) -> float:
        """Read the highest sensitivity that leaves at least this specificity.

        Parameters
        ----------
        specificity
            Wanted share of the normal slides called negative, 0 to 1.

        Returns
        -------
        float
            True positive rate at the loosest threshold that still allows it; ties are never split.
        """
        # The tolerance keeps 0.1 of 80 slides at 8 although 1 - 0.9 is a little below 0.1.
        allowed = self.false_positive_rate <= 1 - specificity + 1e-9
        return float(self.true_positive_rate[allowed].max())


class PairedTest(NamedTuple):
    """Comparison of two AUCs on the same slides."""

    difference: float
    """First minus second."""
    interval: tuple[float, float]
    """Confidence interval of the difference."""
    p_value: float
    """Two-sided; 1 if the two rank all slides alike."""


def roc_curve(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> RocCurve:
    """Compute the ROC curve.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,).
    probabilities
        Predicted probability of tumour, shape (n,); any finite numbers will do.

    Returns
    -------
    RocCurve
        One point for every distinct probability, and (0, 0).

    Raises
    ------
    EvaluationError
        If there is only one class of slides, or a probability is not finite.
    """
    labels, probabilities = _checked(labels, probabilities)
    order = np.argsort(-probabilities, kind="stable")
    ranked, values = labels[order], probabilities[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    true = np.concatenate([[0], np.cumsum(ranked)[last_of_tie]])
    called = np.concatenate([[0], last_of_tie + 1])
    return RocCurve(
        threshold=np.concatenate([[np.inf], values[last_of_tie]]),
        false_positive_rate=(called - true) / np.count_nonzero(~labels),
        true_positive_rate=true / np.count_nonzero(labels),
        positive_predictive_value=np.where(called > 0, true / np.maximum(called, 1), 1.0),
    )


def auc(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """Compute the area under the ROC curve.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,).
    probabilities
        Predicted probability of tumour, shape (n,).

    Returns
    -------
    float
        Probability that a slide with tumour is ranked above one without, ties counted one half.

    Raises
    ------
    EvaluationError
        If there is only one class of slides, or a probability is not finite.
    """
    labels, probabilities = _checked(labels, probabilities)
    return float(placements(labels, probabilities).mean())


def placements(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compare every slide with tumour to every slide without.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,).
    probabilities
        Predicted probability of tumour, shape (n,).

    Returns
    -------
    ndarray
        Shape (n_tumour, n_normal): 1 where the slide with tumour is ranked higher, 1/2 in a tie, else 0.
    """
    with_tumour, without = probabilities[labels][:, None], probabilities[~labels][None, :]
    return np.asarray((with_tumour > without) + 0.5 * (with_tumour == without))


def delong_interval(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float64], confidence: float
) -> tuple[float, float]:
    """Compute DeLong's confidence interval of the AUC.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,).
    probabilities
        Predicted probability of tumour, shape (n,).
    confidence
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end, normal approximation cut to 0 and 1. A single point where the AUC is 0 or 1, because
        the estimated variance is 0 there. NaN with fewer than two slides of a class.

    Raises
    ------
    EvaluationError
        If there is only one class of slides, or a probability is not finite.

    References
    ----------
    .. [1] DeLong, DeLong & Clarke-Pearson, Biometrics 44(3), 1988. doi:10.2307/2531595
    """
    labels, probabilities = _checked(labels, probabilities)
    scores = placements(labels, probabilities)
    reach = _normal_quantile(confidence) * np.sqrt(_delong_variance(scores))
    area = float(scores.mean())
    return float(np.clip(area - reach, 0, 1)), float(np.clip(area + reach, 0, 1))


def delong_test(
    labels: NDArray[np.bool_], first: NDArray[np.float64], second: NDArray[np.float64], confidence: float
) -> PairedTest:
    """Test whether two sets of predictions on the same slides differ in AUC.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,).
    first
        Predicted probabilities, shape (n,).
    second
        Predicted probabilities on the same slides, in the same order.
    confidence
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    PairedTest
        Difference, its interval and two-sided p-value; NaN with fewer than two slides of a class.

    Raises
    ------
    EvaluationError
        If there is only one class of slides, or a probability is not finite.

    References
    ----------
    .. [1] DeLong, DeLong & Clarke-Pearson, Biometrics 44(3), 1988. doi:10.2307/2531595
    """
    labels, first = _checked(labels, first)
    _, second = _checked(labels, second)
    # The variance of a difference is the variance of the differences of the placements, pair by pair.
    gaps = placements(labels, first) - placements(labels, second)
    difference, deviation = float(gaps.mean()), float(np.sqrt(_delong_variance(gaps)))
    reach = _normal_quantile(confidence) * deviation
    if deviation == 0:
        p_value = 1.0 if difference == 0 else 0.0
    else:
        p_value = float(2 * stats.norm.sf(abs(difference) / deviation))
    return PairedTest(difference, (difference - reach, difference + reach), p_value)


def _delong_variance(scores: NDArray[np.float64]) -> float:
    n_tumour, n_normal = scores.shape
    if min(n_tumour, n_normal) < 2:
        return float("nan")
    return float(scores.mean(axis=1).var(ddof=1) / n_tumour + scores.mean(axis=0).var(ddof=1) / n_normal)


def _normal_quantile(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))


def _checked(
    labels: NDArray[np.bool_], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, probabilities = np.asarray(labels, dtype=np.bool_), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape:
        raise EvaluationError(
            f"{len(labels)} labels and {len(probabilities)} probabilities do not belong together"
        )
    if not np.isfinite(probabilities).all():
        raise EvaluationError(
            f"{np.count_nonzero(~np.isfinite(probabilities))} slide probabilities are not finite"
        )
    n_tumour = int(np.count_nonzero(labels))
    if n_tumour in {0, len(labels)}:
        raise EvaluationError(
            f"an AUC needs slides with and without tumour, but {n_tumour} of {len(labels)} slides have tumour"
        )
    return labels, probabilities
