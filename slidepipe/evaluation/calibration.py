"""Whether a slide probability can be taken at its word: Brier score and reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import EvaluationError

N_BINS = 10
"""Bins of the reliability curve, of equal width."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Slides whose predicted probabilities lie close together."""

    low: float
    """Lower end of the bin, included."""
    high: float
    """Upper end of the bin, left out except at 1."""
    n_slides: int
    """Slides in the bin, at least 1."""
    mean_probability: float
    """What was predicted for them on average."""
    tumour_share: float
    """Share of them that hold tumour."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities match outcomes."""

    brier: float
    """Mean squared difference of probability and outcome, 0 is best."""
    expected_error: float
    """Mean distance of predicted and true share over the bins, weighted by their slides."""
    bins: tuple[ReliabilityBin, ...]
    """The reliability curve; bins without slides are left out."""


def calibration(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> Calibration:
    """Compare predicted probabilities with outcomes.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n,), n at least 1.
    probabilities
        Predicted probability of tumour, shape (n,), 0 to 1.

    Returns
    -------
    Calibration
        Brier score and reliability curve.

    Raises
    ------
    EvaluationError
        If a number is no probability, or there is none.

    References
    ----------
    .. [1] G. W. Brier, Monthly Weather Review 78(1), 1950.
    """
    if not (len(probabilities) and ((probabilities >= 0) & (probabilities <= 1)).all()):
        raise EvaluationError(
            f"calibration needs probabilities between 0 and 1, got {len(probabilities)} numbers"
        )
    outcome = labels.astype(np.float64)
    index = np.minimum((probabilities * N_BINS).astype(np.int64), N_BINS - 1)
    bins = tuple(
        ReliabilityBin(
            low=number / N_BINS,
            high=(number + 1) / N_BINS,
            n_slides=int(np.count_nonzero(index == number)),
            mean_probability=float(probabilities[index == number].mean()),
            tumour_share=float(outcome[index == number].mean()),
        )
        for number in np.unique(index).tolist()
    )
    error = sum(each.n_slides * abs(each.mean_probability - each.tumour_share) for each in bins)
    return Calibration(
        brier=float(np.mean((probabilities - outcome) ** 2)),
        expected_error=float(error / len(probabilities)),
        bins=bins,
    )
