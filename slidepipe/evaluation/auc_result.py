"""The slide-level result: AUC with its intervals, and what a threshold makes of the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.evaluation.auc import RocCurve, auc, delong_interval, roc_curve
from slidepipe.evaluation.bootstrap import (
    Interval,
    Statistic,
    auc_statistic,
    bootstrap_intervals,
    resampled_weights,
)
from slidepipe.evaluation.calibration import Calibration, calibration
from slidepipe.evaluation.froc_result import Band, Exclusion, make_band
from slidepipe.evaluation.operating_point import Confusion, confusion
from slidepipe.evaluation.rules import interpolated
from slidepipe.evaluation.settings import EvaluationSettings

_BAND_RATES = np.arange(51) / 50


@dataclass(frozen=True, slots=True, eq=False)
class AucResult:
    """How well slide probabilities separate slides with tumour from those without."""

    value: float
    """Area under the ROC curve, ties counted one half."""
    interval: Interval | None
    """Bootstrap interval; None without resampling."""
    delong: tuple[float, float]
    """DeLong's interval."""
    average_precision: float
    sensitivity_at_specificity: tuple[tuple[float, float], ...]
    """Specificity asked for, and the sensitivity there."""
    calibration: Calibration | None
    """None if some number is no probability."""
    confusion: Confusion
    """Slides by label and call at the operating point."""
    curve: RocCurve
    band: Band | None
    """Band of the ROC curve; None without resampling."""
    slide_ids: tuple[str, ...]
    labels: NDArray[np.bool_]
    """True for slides with tumour, in the order of `slide_ids`."""
    probabilities: NDArray[np.float64]
    """Predicted probabilities, in the order of `slide_ids`."""
    excluded: tuple[Exclusion, ...]
    """Slides that were left out."""


def score_auc(
    predictions: Sequence[tuple[str, bool, float]],
    threshold: float,
    settings: EvaluationSettings,
    excluded: Sequence[Exclusion] = (),
) -> AucResult:
    """Judge slide probabilities.

    Parameters
    ----------
    predictions
        Name, whether the slide holds tumour, and the predicted probability, one for each slide.
    threshold
        Probability from which a slide is called positive.
    settings
        Resamples, seed, confidence and the specificities to report.
    excluded
        Slides left out, to be told with the result.

    Returns
    -------
    AucResult
        Without bootstrap intervals if ``settings.resamples`` is 0.

    Raises
    ------
    EvaluationError
        If there is only one class of slides, or a number is not finite.
    """
    labels = np.array([label for _, label, _ in predictions], dtype=np.bool_)
    values = np.array([value for _, _, value in predictions], dtype=np.float64)
    curve = roc_curve(labels, values)
    interval, band = None, None
    if settings.resamples:
        weights = resampled_weights(len(labels), settings.resamples, settings.seed)
        interval = bootstrap_intervals(auc_statistic(labels, values), weights, settings.confidence)[0]
        band = make_band(_BAND_RATES, roc_statistic(labels, values)(weights), settings.confidence)
    are_probabilities = bool(((values >= 0) & (values <= 1)).all())
    return AucResult(
        value=auc(labels, values),
        interval=interval,
        delong=delong_interval(labels, values, settings.confidence),
        average_precision=curve.average_precision,
        sensitivity_at_specificity=tuple(
            (wanted, curve.sensitivity_at_specificity(wanted)) for wanted in settings.specificities
        ),
        calibration=calibration(labels, values) if are_probabilities else None,
        confusion=confusion(labels, values, threshold),
        curve=curve,
        band=band,
        slide_ids=tuple(slide_id for slide_id, _, _ in predictions),
        labels=labels,
        probabilities=values,
        excluded=tuple(excluded),
    )


def roc_statistic(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> Statistic:
    """Make a function that reads the ROC curves of weighted slides.

    Parameters
    ----------
    labels
        True for slides with tumour, shape (n_slides,).
    probabilities
        Predicted probability of tumour, shape (n_slides,).

    Returns
    -------
    Statistic
        True positive rates at false positive rates of 0, 0.02, ... 1, shape (n_resamples, 51); NaN where a class was
        not drawn.
    """
    thresholds = np.unique(probabilities)[::-1]
    called = np.concatenate(
        [np.zeros((len(labels), 1)), (probabilities[:, None] >= thresholds[None, :]).astype(np.float64)],
        axis=1,
    )

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with_tumour, without = weights * labels, weights * ~labels
        n_tumour, n_normal = with_tumour.sum(axis=1, keepdims=True), without.sum(axis=1, keepdims=True)
        rates = (without @ called) / np.maximum(n_normal, 1)
        values = interpolated(rates, (with_tumour @ called) / np.maximum(n_tumour, 1), _BAND_RATES)
        values[(n_tumour[:, 0] == 0) | (n_normal[:, 0] == 0)] = np.nan
        return values

    return statistic
