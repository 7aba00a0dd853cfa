"""Two runs on the same slides: how far apart they are, and whether that can be chance.

The slides are resampled once and both runs are scored on the same resamples, so that what makes a slide hard for both
drops out of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.auc import PairedTest, delong_test
from slidepipe.evaluation.bootstrap import (
    Statistic,
    auc_statistic,
    bootstrap_intervals,
    resampled_weights,
    score_statistic,
    two_sided_p_value,
)
from slidepipe.evaluation.evaluate import Evaluation
from slidepipe.evaluation.froc import count_hits
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.rules import FROC_RATES, RULES, RuleName
from slidepipe.evaluation.settings import EvaluationSettings


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """What is needed of a run to compare it."""

    name: str
    """How it is called in the result."""
    hits: Mapping[RuleName, Sequence[SlideHits]]
    """Hits of each slide, by rule; empty without a lesion score."""
    predictions: Mapping[str, tuple[bool, float]]
    """Slide name to whether it holds tumour and its predicted probability; empty without a slide-level result."""
    compat: bool = False
    """Whether the artefacts of the organisers' scripts were imitated."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of two runs."""

    first: float
    second: float
    difference: float
    """First minus second."""
    low: float
    """Lower end of the interval of the difference, percentile method."""
    high: float
    """Upper end."""
    bca_low: float
    """Lower end, bias-corrected and accelerated."""
    bca_high: float
    """Upper end."""
    p_value: float
    """Two-sided, from the resampled differences."""


@dataclass(frozen=True, slots=True)
class FrocComparison:
    """Lesion scores of two runs by one rule."""

    rule: RuleName
    n_slides: int
    score: Difference
    sensitivity_at: tuple[Difference, ...]
    """At 1/4, 1/2, 1, 2, 4 and 8 false positives per slide."""


@dataclass(frozen=True, slots=True)
class AucComparison:
    """Slide-level results of two runs."""

    n_slides: int
    auc: Difference
    delong: PairedTest
    """DeLong's test of the same difference."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on the same slides."""

    first: str
    second: str
    froc: tuple[FrocComparison, ...]
    """One for each rule that both runs were scored by."""
    auc: AucComparison | None
    """None if a run has no slide-level result."""
    confidence: float
    n_resamples: int


def as_run(evaluation: Evaluation, name: str) -> ComparedRun:
    """Take from an evaluation what a comparison needs.

    Parameters
    ----------
    evaluation
        What was found.
    name
        How the run is to be called.

    Returns
    -------
    ComparedRun
        By all rules of the evaluation.
    """
    result = evaluation.auc
    predictions = {}
    if result is not None:
        rows = zip(result.slide_ids, result.labels.tolist(), result.probabilities.tolist(), strict=True)
        predictions = {slide_id: (label, probability) for slide_id, label, probability in rows}
    return ComparedRun(
        name=name,
        hits={each.rule: each.hits for each in evaluation.froc},
        predictions=predictions,
        compat=evaluation.settings.compat,
    )


def compare(runs: Sequence[ComparedRun], settings: EvaluationSettings) -> tuple[Comparison, ...]:
    """Compare runs on the same slides, each with the first.

    Parameters
    ----------
    runs
        Two or more.
    settings
        Resamples (at least 1), seed and confidence.

    Returns
    -------
    tuple of Comparison
        The first run against the second, the third and so on.

    Raises
    ------
    EvaluationError
        If there are fewer than two runs, they are not on the same slides with the same reference, or they have no
        result in common.
    """
    if len(runs) < 2:
        raise EvaluationError(f"a comparison needs two runs or more, got {len(runs)}")
    if settings.resamples < 1:
        raise EvaluationError("a comparison needs resamples: set evaluate.resamples to 2000")
    return tuple(_compare_two(runs[0], other, settings) for other in runs[1:])


def comparison_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Lay comparisons out as JSON.

    Parameters
    ----------
    comparisons
        From `compare`.

    Returns
    -------
    dict
        ``format`` is ``slidepipe-comparison``, ``version`` 1; ``comparisons`` holds the fields of each `Comparison` by
        their names, the interval of a difference as ``ci``, and DeLong's test as ``delong``. No NaN: null.
    """
    return {
        "format": "slidepipe-comparison",
        "version": 1,
        "false_positives_per_slide": list(FROC_RATES),
        "comparisons": [
            {
                "first": each.first,
                "second": each.second,
                "confidence": each.confidence,
                "n_resamples": each.n_resamples,
                "froc": [
                    {
                        "rule": froc.rule,
                        "n_slides": froc.n_slides,
                        "score": _difference_json(froc.score),
                        "sensitivity_at": [_difference_json(at) for at in froc.sensitivity_at],
                    }
                    for froc in each.froc
                ],
                "auc": None
                if each.auc is None
                else {
                    "n_slides": each.auc.n_slides,
                    **_difference_json(each.auc.auc),
                    "delong": {
                        "ci": [_finite(end) for end in each.auc.delong.interval],
                        "p_value": _finite(each.auc.delong.p_value),
                    },
                },
            }
            for each in comparisons
        ],
    }


def _compare_two(first: ComparedRun, second: ComparedRun, settings: EvaluationSettings) -> Comparison:
    if first.compat != second.compat:
        raise EvaluationError(
            f"{first.name} and {second.name} were not both evaluated with compat: evaluate one again"
        )
    froc = tuple(_compare_froc(first, second, rule, settings) for rule in first.hits if rule in second.hits)
    auc = _compare_auc(first, second, settings) if first.predictions and second.predictions else None
    if not froc and auc is None:
        raise EvaluationError(
            f"{first.name} and {second.name} have no result in common: neither lesion scores by the same rule nor "
            "slide probabilities in both"
        )
    return Comparison(first.name, second.name, froc, auc, settings.confidence, settings.resamples)


def _compare_froc(
    first: ComparedRun, second: ComparedRun, rule: RuleName, settings: EvaluationSettings
) -> FrocComparison:
    by_name = {hits.slide_id: hits for hits in second.hits[rule]}
    _require_same_slides(first, second, [hits.slide_id for hits in first.hits[rule]], by_name)
    pairs = [(hits, by_name[hits.slide_id]) for hits in first.hits[rule]]
    other = next(
        (a.slide_id for a, b in pairs if (a.is_tumour, a.n_targets) != (b.is_tumour, b.n_targets)), None
    )
    if other is not None:
        raise EvaluationError(
            f"slide {other} has another reference in {first.name} than in {second.name}: evaluate both with one"
        )
    statistics = [
        score_statistic(count_hits(hits, RULES[rule], compat=first.compat))
        for hits in ([a for a, _ in pairs], [b for _, b in pairs])
    ]
    differences = _differences(statistics[0], statistics[1], len(pairs), settings)
    return FrocComparison(rule, len(pairs), differences[0], differences[1:])


def _compare_auc(first: ComparedRun, second: ComparedRun, settings: EvaluationSettings) -> AucComparison:
    names = list(first.predictions)
    _require_same_slides(first, second, names, second.predictions)
    other = next((name for name in names if first.predictions[name][0] != second.predictions[name][0]), None)
    if other is not None:
        raise EvaluationError(f"slide {other} has another label in {first.name} than in {second.name}")
    labels = np.array([first.predictions[name][0] for name in names], dtype=np.bool_)
    values = [np.array([run.predictions[name][1] for name in names]) for run in (first, second)]
    test = delong_test(labels, values[0], values[1], settings.confidence)
    statistics = [auc_statistic(labels, each) for each in values]
    return AucComparison(
        len(names), _differences(statistics[0], statistics[1], len(names), settings)[0], test
    )


def _differences(
    first: Statistic, second: Statistic, n_slides: int, settings: EvaluationSettings
) -> tuple[Difference, ...]:
    weights, everything = (
        resampled_weights(n_slides, settings.resamples, settings.seed),
        np.ones((1, n_slides)),
    )

    def difference(rows: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return first(rows) - second(rows)

    resampled = difference(weights).reshape(len(weights), -1)
    intervals = bootstrap_intervals(difference, weights, settings.confidence)
    values = zip(first(everything).ravel().tolist(), second(everything).ravel().tolist(), strict=True)
    return tuple(
        Difference(
            first=a,
            second=b,
            difference=a - b,
            low=interval.low,
            high=interval.high,
            bca_low=interval.bca_low,
            bca_high=interval.bca_high,
            p_value=two_sided_p_value(resampled[:, index]),
        )
        for index, ((a, b), interval) in enumerate(zip(values, intervals, strict=True))
    )


def _require_same_slides(
    first: ComparedRun, second: ComparedRun, names: Sequence[str], others: Mapping[str, object]
) -> None:
    different = sorted(set(names) ^ set(others))
    if different:
        raise EvaluationError(
            f"{first.name} and {second.name} are not on the same slides: {len(different)} are in one of them only "
            f"({', '.join(different[:5])})"
        )


def _difference_json(difference: Difference) -> dict[str, Any]:
    values = {name: _finite(value) for name, value in asdict(difference).items()}
    return {
        **{name: values[name] for name in ("first", "second", "difference", "p_value")},
        "ci": [values["low"], values["high"]],
        "ci_bca": [values["bca_low"], values["bca_high"]],
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
