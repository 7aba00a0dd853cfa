"""How well probabilities of single patches tell the classes apart, with 95 % intervals.

The intervals take every patch for itself. Patches of one slide resemble each other, so where a set holds many per slide
the truth is less certain than they say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from slidepipe.errors import ModelError

_Z95 = 1.959963984540054
"""Standard deviations of a normal distribution that hold 95 % of it."""


@dataclass(frozen=True, slots=True)
class PatchMetrics:
    """Results on labelled patches."""

    count: int
    """Number of patches."""
    tumour: int
    """How many of them are tumour."""
    auc: float
    """Area under the ROC curve."""
    auc_interval: tuple[float, float]
    """95 % interval (DeLong et al. 1988, symmetric on the logit scale)."""
    accuracy: float
    """Share of patches on the right side of the threshold."""
    accuracy_interval: tuple[float, float]
    """95 % interval (Wilson 1927)."""


def measure_patches(
    is_tumour: NDArray[np.bool_], probability: NDArray[np.floating], threshold: float = 0.5
) -> PatchMetrics:
    """Compare probabilities with labels.

    Parameters
    ----------
    is_tumour
        Labels, shape (n,), of both classes.
    probability
        Shape (n,), 0 to 1; equal values count half in the AUC.
    threshold
        From here on a patch is called tumour, for the accuracy.

    Returns
    -------
    PatchMetrics
        AUC and accuracy. Where no pair is ranked wrongly, or none rightly, the interval of the AUC has no width.

    Raises
    ------
    ModelError
        If one class is missing.
    """
    positive, negative = probability[is_tumour], probability[~is_tumour]
    if not len(positive) or not len(negative):
        raise ModelError(f"{len(positive)} tumour and {len(negative)} normal patches: an AUC needs both")
    auc, deviation = _delong(positive, negative)
    right = int(((probability >= threshold) == is_tumour).sum())
    return PatchMetrics(
        count=len(is_tumour),
        tumour=len(positive),
        auc=auc,
        auc_interval=_logit_interval(auc, deviation),
        accuracy=right / len(is_tumour),
        accuracy_interval=_wilson(right, len(is_tumour)),
    )


def _delong(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> tuple[float, float]:
    """Return the AUC and its standard error, by ranks (Sun and Xu 2014)."""
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    # Share of the other class that each patch is ranked rightly against.
    of_positive = (ranks[:m] - rankdata(positive)) / n
    of_negative = 1 - (ranks[m:] - rankdata(negative)) / m
    variance = sum(
        float(np.var(share, ddof=1)) / len(share) for share in (of_positive, of_negative) if len(share) > 1
    )
    return float(of_positive.mean()), math.sqrt(variance)


def _logit_interval(share: float, deviation: float) -> tuple[float, float]:
    if not 0 < share < 1:
        return share, share
    centre, width = math.log(share / (1 - share)), _Z95 * deviation / (share * (1 - share))
    return 1 / (1 + math.exp(width - centre)), 1 / (1 + math.exp(-width - centre))


def _wilson(right: int, count: int) -> tuple[float, float]:
    share, z2 = right / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    width = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(centre - width, 0.0), min(centre + width, 1.0)
