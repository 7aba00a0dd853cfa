"""Results by centre and by size of metastasis: whether a method works everywhere, and for small lesions too.

A centre is compared with all other slides. Both are resampled apart, and the centre is flagged where it is worse in so
many resamples that chance is no explanation, after Bonferroni's correction for the number of centres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.evaluation.auc_result import AucResult
from slidepipe.evaluation.bootstrap import (
    Statistic,
    auc_statistic,
    percentile_interval,
    resampled_weights,
    score_statistic,
)
from slidepipe.evaluation.froc import count_hits
from slidepipe.evaluation.froc_result import FrocResult
from slidepipe.evaluation.rules import RULES
from slidepipe.evaluation.settings import EvaluationSettings

MakeStatistic = Callable[[list[int]], Statistic | None]
"""From slides, given by index, to a statistic of them; None where it is undefined."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group against all other slides."""

    difference: float
    """Group minus rest."""
    low: float
    """Lower end of the interval of the difference, percentile method."""
    high: float
    """Upper end."""
    p_value: float
    """One-sided, that the group is no worse than the rest, times the number of groups, at most 1."""
    is_worse: bool
    """Whether the group is worse beyond chance."""


@dataclass(frozen=True, slots=True)
class GroupMetric:
    """One number for one group of slides."""

    value: float
    low: float | None
    """Lower end of the bootstrap interval, percentile method; None without resampling."""
    high: float | None
    """Upper end."""
    versus_rest: Comparison | None
    """None without resampling, or where the rest is too small or not comparable."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """Results of one group of slides."""

    name: str
    n_slides: int
    n_tumour: int
    n_targets: int | None
    """Target lesions of its slides by the main rule; None without a lesion score."""
    froc: GroupMetric | None
    """FROC score by the main rule; None where it is undefined."""
    auc: GroupMetric | None
    """Slide-level AUC; None where it is undefined."""

    @property
    def is_worse(self) -> bool:
        """Whether the group is worse than the rest beyond chance, in either number."""
        metrics = (self.froc, self.auc)
        return any(metric and metric.versus_rest and metric.versus_rest.is_worse for metric in metrics)


def results_by_centre(
    centres: Mapping[str, str | None],
    froc: FrocResult | None,
    auc: AucResult | None,
    settings: EvaluationSettings,
) -> tuple[GroupResult, ...]:
    """Compute the results of each centre.

    Parameters
    ----------
    centres
        Slide name to centre; None where it is unknown.
    froc
        Lesion score of all slides, by the main rule.
    auc
        Slide-level result of all slides.
    settings
        Resamples, seed and confidence.

    Returns
    -------
    tuple of GroupResult
        By name of the centre; empty if there are fewer than two.
    """
    names = sorted({centre for centre in centres.values() if centre is not None})
    if len(names) < 2:
        return ()

    def members(name: str) -> Callable[[str, bool], bool]:
        return lambda slide_id, _: centres.get(slide_id) == name

    return tuple(_group(name, members(name), froc, auc, settings, n_groups=len(names)) for name in names)


def results_by_size_class(
    size_classes: Mapping[str, str | None],
    froc: FrocResult | None,
    auc: AucResult | None,
    settings: EvaluationSettings,
) -> tuple[GroupResult, ...]:
    """Compute the results for slides with micro- and with macrometastases.

    Parameters
    ----------
    size_classes
        Slide name to size class; None where it is unknown.
    froc
        Lesion score of all slides, by the main rule.
    auc
        Slide-level result of all slides.
    settings
        Resamples, seed and confidence.

    Returns
    -------
    tuple of GroupResult
        ``micro`` and ``macro``, each together with all normal slides; without those that no slide belongs to. They
        share the normal slides and are not compared with each other.
    """

    def members(name: str) -> Callable[[str, bool], bool]:
        return lambda slide_id, is_tumour: not is_tumour or size_classes.get(slide_id) == name

    return tuple(
        _group(name, members(name), froc, auc, settings, n_groups=0)
        for name in ("micro", "macro")
        if name in size_classes.values()
    )


def _group(
    name: str,
    belongs: Callable[[str, bool], bool],
    froc: FrocResult | None,
    auc: AucResult | None,
    settings: EvaluationSettings,
    *,
    n_groups: int,
) -> GroupResult:
    froc_slides = [(hits.slide_id, hits.is_tumour) for hits in froc.hits] if froc else []
    auc_slides = list(zip(auc.slide_ids, auc.labels.tolist(), strict=True)) if auc else []
    slides = {
        slide_id: is_tumour
        for slide_id, is_tumour in (*froc_slides, *auc_slides)
        if belongs(slide_id, is_tumour)
    }

    def metric(make: MakeStatistic, among: Sequence[tuple[str, bool]]) -> GroupMetric | None:
        inside = [index for index, slide in enumerate(among) if belongs(*slide)]
        outside = [index for index, slide in enumerate(among) if not belongs(*slide)]
        return _metric(make, inside, outside, settings, n_groups)

    return GroupResult(
        name=name,
        n_slides=len(slides),
        n_tumour=sum(slides.values()),
        n_targets=sum(hits.n_targets for hits in froc.hits if hits.slide_id in slides) if froc else None,
        froc=metric(_froc_maker(froc), froc_slides) if froc else None,
        auc=metric(_auc_maker(auc), auc_slides) if auc else None,
    )


def _froc_maker(froc: FrocResult) -> MakeStatistic:
    rule = RULES[froc.rule]

    def make(index: list[int]) -> Statistic | None:
        hits = [froc.hits[number] for number in index]
        is_counted = any(not (rule.normal_slides_only and each.is_tumour) for each in hits)
        if not (is_counted and any(each.n_targets for each in hits)):
            return None
        scores = score_statistic(count_hits(hits, rule, compat=froc.compat))
        return lambda weights: scores(weights)[:, 0]

    return make


def _auc_maker(auc: AucResult) -> MakeStatistic:
    def make(index: list[int]) -> Statistic | None:
        labels = auc.labels[index]
        return auc_statistic(labels, auc.probabilities[index]) if labels.any() and not labels.all() else None

    return make


def _metric(
    make: MakeStatistic, inside: list[int], outside: list[int], settings: EvaluationSettings, n_groups: int
) -> GroupMetric | None:
    statistic = make(inside)
    if statistic is None:
        return None
    value = float(statistic(np.ones((1, len(inside))))[0])
    if not settings.resamples:
        return GroupMetric(value, None, None, None)
    values = statistic(resampled_weights(len(inside), settings.resamples, [settings.seed, 1]))
    low, high = percentile_interval(values, settings.confidence)
    rest = make(outside) if n_groups else None
    comparison = None
    if rest is not None:
        rest_value = float(rest(np.ones((1, len(outside))))[0])
        rest_values = rest(resampled_weights(len(outside), settings.resamples, [settings.seed, 2]))
        comparison = _compare(value - rest_value, values - rest_values, settings.confidence, n_groups)
    return GroupMetric(value, low, high, comparison)


def _compare(
    difference: float, resampled: NDArray[np.float64], confidence: float, n_groups: int
) -> Comparison:
    low, high = percentile_interval(resampled, confidence)
    known = resampled[~np.isnan(resampled)]
    p_value = min(1.0, n_groups * float(1 + np.count_nonzero(known >= 0)) / (1 + len(known)))
    return Comparison(difference, low, high, p_value, is_worse=p_value < 1 - confidence)
