"""The lesion score of a set of slides by one rule, with its intervals and all that has to be said with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.evaluation.bootstrap import (
    Interval,
    bootstrap_intervals,
    froc_statistic,
    percentile_interval,
    resampled_weights,
    score_statistic,
)
from slidepipe.evaluation.froc import FrocCurve, count_hits, froc_curve
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.rules import FROC_RATES, FrocRule, RuleName
from slidepipe.evaluation.settings import EvaluationSettings

_BAND_RATES = np.arange(65) / 8


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Pointwise confidence band of a curve."""

    x: NDArray[np.float64]
    """Where the curve was read: false positives per slide, or false positive rate."""
    low: NDArray[np.float64]
    """Lower ends, percentile method."""
    high: NDArray[np.float64]
    """Upper ends."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A slide that was left out, and why."""

    slide_id: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class FrocResult:
    """The FROC score by one rule."""

    rule: RuleName
    compat: bool
    """Whether artefacts of the rule's script were imitated."""
    curve: FrocCurve
    score: float
    """Mean of `sensitivity_at`."""
    sensitivity_at: tuple[float, ...]
    """Sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false positives per slide."""
    score_interval: Interval | None
    """Interval of the score; None without resampling."""
    sensitivity_intervals: tuple[Interval, ...]
    """Interval of each sensitivity; empty without resampling."""
    band: Band | None
    """Band of the curve; None without resampling."""
    hits: tuple[SlideHits, ...]
    """Hits of each slide that was scored."""
    excluded: tuple[Exclusion, ...]
    """Slides that were not."""

    @property
    def n_slides(self) -> int:
        """Number of slides scored."""
        return len(self.hits)

    @property
    def n_normal(self) -> int:
        """Number of tumour-free slides scored."""
        return sum(not hits.is_tumour for hits in self.hits)

    @property
    def n_targets(self) -> int:
        """Number of lesions that should be found."""
        return sum(hits.n_targets for hits in self.hits)

    @property
    def n_itc(self) -> int:
        """Number of lesions of isolated tumour cells, which are ignored."""
        return sum(hits.n_itc for hits in self.hits)


def score_froc(
    hits: Sequence[SlideHits],
    rule: FrocRule,
    settings: EvaluationSettings,
    excluded: Sequence[Exclusion] = (),
) -> FrocResult:
    """Compute the FROC score of a set of slides, with intervals.

    Parameters
    ----------
    hits
        Hits of each slide, matched by `rule`.
    rule
        The rule.
    settings
        Resamples, seed, confidence, and whether artefacts are imitated. The dropped threshold is then the same one in
        every resample.
    excluded
        Slides left out, to be told with the score.

    Returns
    -------
    FrocResult
        Without intervals if ``settings.resamples`` is 0 or there is no target lesion.

    Raises
    ------
    EvaluationError
        See `slidepipe.evaluation.froc.count_hits`.
    """
    curve = froc_curve(hits, rule, compat=settings.compat)
    intervals: tuple[Interval, ...] = ()
    band = None
    if settings.resamples and any(each.n_targets for each in hits):
        counter = count_hits(hits, rule, compat=settings.compat)
        weights = resampled_weights(len(hits), settings.resamples, settings.seed)
        intervals = bootstrap_intervals(score_statistic(counter), weights, settings.confidence)
        band = make_band(
            _BAND_RATES, froc_statistic(counter, _BAND_RATES.tolist())(weights), settings.confidence
        )
    return FrocResult(
        rule=rule.name,
        compat=settings.compat,
        curve=curve,
        score=curve.score,
        sensitivity_at=tuple(curve.sensitivity_at(FROC_RATES).tolist()),
        score_interval=intervals[0] if intervals else None,
        sensitivity_intervals=intervals[1:],
        band=band,
        hits=tuple(hits),
        excluded=tuple(excluded),
    )


def make_band(x: NDArray[np.float64], values: NDArray[np.float64], confidence: float) -> Band:
    """Make the confidence band of a resampled curve.

    Parameters
    ----------
    x
        Where the curves were read, shape (n,).
    values
        What was read, shape (n_resamples, n); resamples with NaN are left out.
    confidence
        Share of the resamples inside the band at every point.

    Returns
    -------
    Band
        Percentiles, point by point.
    """
    ends = np.array([percentile_interval(column, confidence) for column in values.T])
    return Band(x, ends[:, 0], ends[:, 1])
