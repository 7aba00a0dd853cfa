"""The FROC curve: sensitivity for lesions against false positives per slide.

Hits are counted at every threshold for each slide apart, so that a curve of any resample of the slides is a weighted
sum of the same counts (`slidepipe.evaluation.bootstrap`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.rules import FROC_RATES, FrocRule


@dataclass(frozen=True, slots=True, eq=False)
class FrocCurve:
    """Sensitivity against false positives per slide, from the strictest threshold to the loosest."""

    rule: FrocRule
    threshold: NDArray[np.float64]
    """Probability from which detections count, falling; infinity at the first point."""
    false_positives_per_slide: NDArray[np.float64]
    """Rises from 0, shape (n_thresholds + 1,)."""
    sensitivity: NDArray[np.float64]
    """Share of the target lesions found, rises from 0, same shape. NaN if there are none (only with *compat*)."""

    def sensitivity_at(self, rates: Sequence[float] = FROC_RATES) -> NDArray[np.float64]:
        """Read the curve as its rule does.

        Parameters
        ----------
        rates
            False positives per slide, 0 or more.

        Returns
        -------
        ndarray
            Sensitivity at each rate.
        """
        wanted = np.asarray(rates, dtype=np.float64)
        values = self.rule.read(self.false_positives_per_slide[None], self.sensitivity[None], wanted)
        return np.asarray(values[0])

    @property
    def score(self) -> float:
        """The FROC score: mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false positives per slide."""
        return float(np.mean(self.sensitivity_at()))


@dataclass(frozen=True, slots=True, eq=False)
class HitCounter:
    """The hits of all slides, ready to be counted at any threshold."""

    rule: FrocRule
    thresholds: NDArray[np.float64]
    """Thresholds of the curve, falling; every value at which a count changes."""
    n_targets: NDArray[np.float64]
    """Target lesions of each slide, shape (n_slides,)."""
    is_counted: NDArray[np.float64]
    """1 for slides whose false positives count, else 0, shape (n_slides,)."""
    false_positives: tuple[NDArray[np.float64], ...]
    """Probabilities of the false positives that count, rising, slide by slide."""
    lesions: tuple[NDArray[np.float64], ...]
    """Probabilities of the lesions, rising, slide by slide."""
    rounds_lesions: bool
    """Whether lesions are compared with thresholds rounded to float32, as NumPy did in the scripts' time."""

    def counts(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Count false positives and found lesions of each slide at some of the thresholds.

        Parameters
        ----------
        start
            First threshold, an index.
        stop
            One past the last.

        Returns
        -------
        false_positives : ndarray
            Shape (n_slides, stop - start).
        found : ndarray
            Same shape.
        """
        wanted = self.thresholds[start:stop]
        for_lesions = wanted.astype(np.float32).astype(np.float64) if self.rounds_lesions else wanted
        return _count_at_or_above(self.false_positives, wanted), _count_at_or_above(self.lesions, for_lesions)


def count_hits(slides: Sequence[SlideHits], rule: FrocRule, *, compat: bool = False) -> HitCounter:
    """Sort the hits of all slides for counting.

    Parameters
    ----------
    slides
        One entry per slide of the test set, including slides without any detection, matched by `rule`.
    rule
        Which false positives count.
    compat
        Whether to imitate the artefacts of the rule's script: see `slidepipe.evaluation.rules`.

    Returns
    -------
    HitCounter
        Thresholds are all probabilities but 0, which stands for "missed". With *compat* and a script that has
        artefacts they are all probabilities, 0 among them, but the lowest.

    Raises
    ------
    EvaluationError
        If a slide is listed twice; if no slide has a target lesion or, for *leaderboard*, no slide is tumour-free,
        unless *compat* is asked for and the rule's script goes on with NaN.
    """
    twice = [name for name, times in Counter(hits.slide_id for hits in slides).items() if times > 1]
    if twice:
        raise EvaluationError(f"slides are listed more than once: {', '.join(sorted(twice))}")
    _require_denominators(slides, rule, compat=compat)
    counted = [not (rule.normal_slides_only and hits.is_tumour) for hits in slides]
    false_positives = tuple(
        np.sort(hits.false_positive_probability) if use else np.zeros(0)
        for hits, use in zip(slides, counted, strict=True)
    )
    lesions = tuple(np.sort(hits.lesion_probability) for hits in slides)
    imitates = compat and rule.has_artefacts
    values = np.unique(np.concatenate([*false_positives, *lesions, np.zeros(0)]))
    values = values[1:] if imitates else values[values != 0]
    return HitCounter(
        rule=rule,
        thresholds=values[::-1],
        n_targets=np.array([hits.n_targets for hits in slides], dtype=np.float64),
        is_counted=np.array(counted, dtype=np.float64),
        false_positives=false_positives,
        lesions=lesions,
        rounds_lesions=imitates,
    )


def froc_curve(slides: Sequence[SlideHits], rule: FrocRule, *, compat: bool = False) -> FrocCurve:
    """Compute the FROC curve of a set of slides.

    Parameters
    ----------
    slides
        One entry per slide of the test set, including slides without any detection, matched by `rule`.
    rule
        Which false positives count, and how the curve is read.
    compat
        Whether to imitate the artefacts of the rule's script, to the last digit.

    Returns
    -------
    FrocCurve
        Points rise together from (0, 0), one for every threshold.

    Raises
    ------
    EvaluationError
        See `count_hits`.

    Notes
    -----
    Equal to ``computeFROC`` of the organisers' scripts with *compat*. Without it, lesions and false positives of
    equal probability enter at the same threshold, and no threshold is dropped.

    References
    ----------
    .. [1] https://github.com/computationalpathologygroup/Camelyon16 (Python/Evaluation_FROC.py)
    .. [2] Ehteshami Bejnordi et al., JAMA 318(22), 2017. doi:10.1001/jama.2017.14585

    Examples
    --------
    >>> from slidepipe.evaluation.rules import RULES
    >>> def hits(name, lesions, false_positives):
    ...     return SlideHits(name, bool(lesions), np.array(lesions), np.zeros(len(lesions), bool),
    ...                      np.full(len(lesions), 500.0), np.array(false_positives), np.array(lesions))
    >>> curve = froc_curve([hits("test_001", [0.9, 0.0], [0.4]), hits("test_003", [], [0.6])], RULES["public"])
    >>> curve.sensitivity.tolist(), curve.false_positives_per_slide.tolist()
    ([0.0, 0.5, 0.5, 0.5], [0.0, 0.0, 0.5, 1.0])
    >>> curve.score
    0.5
    """
    counter = count_hits(slides, rule, compat=compat)
    false_positives, found = counter.counts(0, len(counter.thresholds))
    with np.errstate(invalid="ignore"):
        sensitivity = np.concatenate([[0.0], found.sum(axis=0)]) / counter.n_targets.sum()
        rate = np.concatenate([[0.0], false_positives.sum(axis=0)]) / counter.is_counted.sum()
    return FrocCurve(rule, np.concatenate([[np.inf], counter.thresholds]), rate, sensitivity)


def _require_denominators(slides: Sequence[SlideHits], rule: FrocRule, *, compat: bool) -> None:
    has_tumour = any(hits.is_tumour for hits in slides)
    if rule.normal_slides_only and all(hits.is_tumour for hits in slides):
        raise EvaluationError(
            f"the rule {rule.name} counts false positives on tumour-free slides only, and none of the {len(slides)} "
            "slides is tumour-free: use another rule"
        )
    if any(hits.n_targets for hits in slides):
        return
    script_goes_on = has_tumour or rule.has_artefacts
    if not (compat and slides and script_goes_on):
        itc = sum(hits.n_itc for hits in slides)
        raise EvaluationError(
            f"none of the {len(slides)} slides has a target lesion ({itc} lesions hold isolated tumour cells only), so "
            "there is no sensitivity for lesions"
        )


def _count_at_or_above(
    values: tuple[NDArray[np.float64], ...], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    counts = np.zeros((len(values), len(thresholds)))
    for row, sorted_values in zip(counts, values, strict=True):
        row[:] = len(sorted_values) - np.searchsorted(sorted_values, thresholds, side="left")
    return counts
