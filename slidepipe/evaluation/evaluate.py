"""All results of one set of predictions on one set of slides."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.auc_result import AucResult, score_auc
from slidepipe.evaluation.evaluated_slide import EvaluatedSlide, match_by_rules
from slidepipe.evaluation.froc_result import Exclusion, FrocResult, score_froc
from slidepipe.evaluation.groups import GroupResult, results_by_centre, results_by_size_class
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.operating_point import OperatingPoint, choose_slide_threshold
from slidepipe.evaluation.reading_load import ReadingLoad, reading_load
from slidepipe.evaluation.rules import RULES, FrocRule
from slidepipe.evaluation.settings import EvaluationSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything that an evaluation found."""

    settings: EvaluationSettings
    operating_point: OperatingPoint
    slides: tuple[EvaluatedSlide, ...]
    """The slides that were given, in their order, excluded ones too."""
    froc: tuple[FrocResult, ...]
    """Lesion scores, the main rule first; empty without detections or target lesions."""
    auc: AucResult | None
    """Slide-level result; None without probabilities, or with one class of slides."""
    centres: tuple[GroupResult, ...]
    """Results of each centre; empty with fewer than two."""
    size_classes: tuple[GroupResult, ...]
    """Results for micro- and macrometastases."""
    reading: ReadingLoad | None
    """What a pathologist asks, by the main rule; None without a lesion score."""
    notes: tuple[str, ...]
    """What a reader of the results has to know: what was missing, left out or not computed, and why."""


def evaluate(
    slides: Sequence[EvaluatedSlide],
    settings: EvaluationSettings,
    operating_point: OperatingPoint | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Judge predictions against the reference.

    The lesion score is computed if any slide has detections (an empty list counts, None does not), the slide-level
    result if any has a probability. Whichever is begun needs all slides.

    Parameters
    ----------
    slides
        Slides of the test set, excluded ones too; they are listed with their reasons.
    settings
        Rules, intervals, and what to do with missing predictions.
    operating_point
        Thresholds chosen on other slides, see `slidepipe.evaluation.operating_point.choose_slide_threshold`; None for
        those of `settings`.
    notes
        What is to be told with the results, from the caller.

    Returns
    -------
    Evaluation
        Equal inputs give equal results, to the last bit.

    Raises
    ------
    EvaluationError
        If a slide is listed twice, predictions of some slides are missing, detections and reference do not belong
        together, or nothing at all can be computed. The message names the slide.
    """
    _require_unique(slides)
    point = operating_point or _fixed_point(settings)
    told = list(notes)
    froc = _froc_results(slides, settings, told)
    auc = _auc_result(slides, settings, point, told)
    if not froc and auc is None:
        raise EvaluationError(
            "; ".join(told) or f"none of the {len(slides)} slides has predictions to evaluate"
        )
    main = froc[0] if froc else None
    for note in told:
        _log.info(note)
    return Evaluation(
        settings=settings,
        operating_point=point,
        slides=tuple(slides),
        froc=froc,
        auc=auc,
        centres=results_by_centre({each.slide_id: each.centre for each in slides}, main, auc, settings),
        size_classes=results_by_size_class(
            {each.slide_id: each.size_class for each in slides}, main, auc, settings
        ),
        reading=reading_load(main.hits, point.lesion_threshold, settings.wanted_lesion_share)
        if main
        else None,
        notes=tuple(told),
    )


def choose_operating_point(
    training: Mapping[str, tuple[bool, float]], slides: Sequence[EvaluatedSlide], settings: EvaluationSettings
) -> OperatingPoint:
    """Choose the thresholds on training slides, by the policy of the settings.

    Parameters
    ----------
    training
        Training slide to whether it holds tumour and the probability predicted for it by a model that was not trained
        on it (its cross-validation fold).
    slides
        Slides that will be evaluated; none of them may be a training slide.
    settings
        Policy, wanted specificity, and the thresholds of the policy *fixed*.

    Returns
    -------
    OperatingPoint
        The threshold for detections is the one of the settings.

    Raises
    ------
    EvaluationError
        If a slide is in both sets, or the training slides are of one class only.
    """
    if settings.threshold_policy == "fixed":
        return _fixed_point(settings)
    names = [each.slide_id for each in slides]
    threshold = choose_slide_threshold(training, names, settings.threshold_policy, settings.specificity)
    aim = {
        "youden": "largest sensitivity + specificity",
        "specificity": f"largest sensitivity at {settings.specificity:.0%} specificity",
    }[settings.threshold_policy]
    source = f"chosen on {len(training)} training slides, {aim} in their cross-validation folds"
    return OperatingPoint(threshold, settings.lesion_threshold, source)


def _fixed_point(settings: EvaluationSettings) -> OperatingPoint:
    return OperatingPoint(
        settings.slide_threshold, settings.lesion_threshold, "set beforehand, not chosen on any slides"
    )


def _froc_results(
    slides: Sequence[EvaluatedSlide], settings: EvaluationSettings, told: list[str]
) -> tuple[FrocResult, ...]:
    if all(each.detections is None for each in slides):
        return ()
    rules = [RULES[name] for name in settings.rules]
    scored = [each for each in slides if any(_is_scored(each, rule) for rule in rules)]
    _require_complete(
        [each.slide_id for each in scored if each.detections is None], len(scored), "detections", settings
    )
    told.extend(
        f"slide {each.slide_id} has no detections file and counts as one without any detection"
        for each in scored
        if each.detections is None
    )
    hits: dict[str, list[SlideHits]] = {rule.name: [] for rule in rules}
    for each in scored:
        wanted = [rule for rule in rules if _is_scored(each, rule)]
        for rule, found in zip(wanted, match_by_rules(each, wanted, settings), strict=True):
            hits[rule.name].append(found)
            if found.n_dropped:
                told.append(
                    f"slide {each.slide_id}: {found.n_dropped} detections beyond it were dropped by {rule.name}"
                )
    if settings.compat:
        told.append("artefacts of the organisers' scripts are imitated (compat)")
    elif not any(each.n_targets for found in hits.values() for each in found):
        n_itc = sum(each.n_itc for each in hits[rules[0].name])
        told.append(f"no lesion score: no slide has a target lesion ({n_itc} of isolated tumour cells only)")
        return ()
    return tuple(
        score_froc(
            hits[rule.name], rule, settings, _excluded(slides, rule, "exclusion from the lesion score")
        )
        for rule in rules
    )


def _is_scored(slide: EvaluatedSlide, rule: FrocRule) -> bool:
    if "all" in slide.excluded_from:
        return False
    return rule.keeps_incomplete or "lesions" not in slide.excluded_from


def _excluded(slides: Sequence[EvaluatedSlide], rule: FrocRule | None, otherwise: str) -> list[Exclusion]:
    left_out = [
        each
        for each in slides
        if (not _is_scored(each, rule) if rule is not None else "all" in each.excluded_from)
    ]
    return [Exclusion(each.slide_id, each.exclusion_reason or otherwise) for each in left_out]


def _auc_result(
    slides: Sequence[EvaluatedSlide], settings: EvaluationSettings, point: OperatingPoint, told: list[str]
) -> AucResult | None:
    if all(each.probability is None for each in slides):
        return None
    scored = [each for each in slides if "all" not in each.excluded_from]
    _require_complete(
        [each.slide_id for each in scored if each.probability is None],
        len(scored),
        "a slide probability",
        settings,
    )
    told.extend(
        f"slide {each.slide_id} has no slide probability and counts as 0"
        for each in scored
        if each.probability is None
    )
    predictions = [(each.slide_id, each.label == "tumor", each.probability or 0.0) for each in scored]
    n_tumour = sum(label for _, label, _ in predictions)
    if n_tumour in {0, len(predictions)}:
        told.append(f"no AUC: {n_tumour} of {len(predictions)} slides hold tumour, and both kinds are needed")
        return None
    result = score_auc(predictions, point.slide_threshold, settings, _excluded(slides, None, "excluded"))
    if result.calibration is None:
        told.append("no calibration: some slide predictions lie outside 0 to 1 and are no probabilities")
    return result


def _require_unique(slides: Sequence[EvaluatedSlide]) -> None:
    twice = [name for name, times in Counter(each.slide_id for each in slides).items() if times > 1]
    if twice:
        raise EvaluationError(f"slides are listed more than once: {', '.join(sorted(twice))}")


def _require_complete(missing: Sequence[str], total: int, what: str, settings: EvaluationSettings) -> None:
    if missing and not settings.allow_missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise EvaluationError(
            f"{len(missing)} of {total} slides lack {what}: {shown}. Predict them, evaluate another split, or allow "
            "missing slides to count as ones on which nothing was detected"
        )
