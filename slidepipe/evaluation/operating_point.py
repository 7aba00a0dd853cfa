"""Thresholds at which a method would be used: chosen on training slides, applied to test slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.auc import roc_curve


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The thresholds from which something counts as found."""

    slide_threshold: float
    """Probability from which a slide is called positive."""
    lesion_threshold: float
    """Probability from which a detection is shown to a reader."""
    source: str
    """Where the thresholds come from, in words for the report."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Slides by label and call at one threshold."""

    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def sensitivity(self) -> float:
        """Share of the tumour slides that are called positive; NaN without tumour slides."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float:
        """Share of the normal slides that are called negative; NaN without normal slides."""
        return _share(self.true_negatives, self.true_negatives + self.false_positives)

    def sensitivity_interval(self, confidence: float) -> tuple[float, float]:
        """Compute Wilson's interval of the sensitivity.

        Parameters
        ----------
        confidence
            Coverage, between 0 and 1.

        Returns
        -------
        tuple of float
            Lower and upper end; NaN without tumour slides.
        """
        return wilson_interval(self.true_positives, self.true_positives + self.false_negatives, confidence)

    def specificity_interval(self, confidence: float) -> tuple[float, float]:
        """Compute Wilson's interval of the specificity.

        Parameters
        ----------
        confidence
            Coverage, between 0 and 1.

        Returns
        -------
        tuple of float
            Lower and upper end; NaN without normal slides.
        """
        return wilson_interval(self.true_negatives, self.true_negatives + self.false_positives, confidence)


def confusion(labels: NDArray[np.bool_], probabilities: NDArray[np.float64], threshold: float) -> Confusion:
    """Count slides by label and call.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,).
    probabilities
        Predicted probability of tumour, shape (n,).
    threshold
        Slides at or above it are called positive.

    Returns
    -------
    Confusion
        The four counts.
    """
    called = probabilities >= threshold
    return Confusion(
        threshold=threshold,
        true_positives=int(np.count_nonzero(called & labels)),
        false_positives=int(np.count_nonzero(called & ~labels)),
        true_negatives=int(np.count_nonzero(~called & ~labels)),
        false_negatives=int(np.count_nonzero(~called & labels)),
    )


def choose_slide_threshold(
    training: Mapping[str, tuple[bool, float]],
    evaluated: Sequence[str],
    policy: Literal["youden", "specificity"],
    specificity: float,
) -> float:
    """Choose the threshold for slides from predictions on training slides.

    Parameters
    ----------
    training
        Slide name to whether it holds tumour and the probability predicted for it by a model that was not trained on
        it (its cross-validation fold).
    evaluated
        Names of the slides that the threshold will be applied to.
    policy
        ``youden`` maximises sensitivity + specificity; ``specificity`` maximises sensitivity under `specificity`.
        Of equal thresholds the higher is taken.
    specificity
        Wanted specificity, for the policy of that name.

    Returns
    -------
    float
        The threshold, half way to the next lower training probability, so that new slides just below the last
        positive one are not cut off by the accident of its digits; just above the highest if nothing is best called.

    Raises
    ------
    EvaluationError
        If a slide is in both sets, or the training slides are of one class only.
    """
    both = sorted(set(training) & set(evaluated))
    if both:
        raise EvaluationError(
            f"a threshold must not be chosen on the slides it is judged by, but {len(both)} are in both sets: "
            f"{', '.join(both[:5])}"
        )
    labels = np.array([label for label, _ in training.values()], dtype=np.bool_)
    probabilities = np.array([probability for _, probability in training.values()], dtype=np.float64)
    curve = roc_curve(labels, probabilities)
    gain = curve.true_positive_rate - curve.false_positive_rate
    if policy == "specificity":
        allowed = curve.false_positive_rate <= 1 - specificity + 1e-9
        gain = np.where(allowed, curve.true_positive_rate, -1.0)
    best = int(np.argmax(gain))
    if best == 0:
        return float(np.nextafter(curve.threshold[1], np.inf))
    threshold = float(curve.threshold[best])
    below = float(curve.threshold[best + 1]) if best + 1 < len(curve.threshold) else threshold
    return (threshold + below) / 2


def wilson_interval(found: int, total: int, confidence: float) -> tuple[float, float]:
    """Compute Wilson's confidence interval of a share.

    Parameters
    ----------
    found
        How many of `total`.
    total
        Size of the sample.
    confidence
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end; NaN for an empty sample.

    References
    ----------
    .. [1] E. B. Wilson, Journal of the American Statistical Association 22(158), 1927.
    """
    if total == 0:
        return float("nan"), float("nan")
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share, scale = found / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    reach = z / scale * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def _share(part: int, total: int) -> float:
    return part / total if total else float("nan")
