"""Centres that are worse than the rest, and those that are not."""

from collections.abc import Callable

import numpy as np
import pytest

from slidepipe.evaluation.auc_result import score_auc
from slidepipe.evaluation.froc_result import score_froc
from slidepipe.evaluation.groups import results_by_centre, results_by_size_class
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.rules import RULES
from slidepipe.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=500)


def predictions(
    generator: np.random.Generator, centre: str, separation: float
) -> list[tuple[str, bool, float]]:
    return [
        (
            f"{centre}_{number}",
            number % 2 == 0,
            float(1 / (1 + np.exp(-generator.normal(separation * (1 - number % 2))))),
        )
        for number in range(60)
    ]


def test_a_centre_that_is_clearly_worse_is_flagged_and_no_other() -> None:
    generator = np.random.default_rng(0)
    rows = [
        row
        for centre, gap in (("a", 3.0), ("b", 3.0), ("c", 0.3))
        for row in predictions(generator, centre, gap)
    ]
    result = score_auc(rows, 0.5, SETTINGS)
    groups = results_by_centre({name: name[0] for name, _, _ in rows}, None, result, SETTINGS)
    assert [(group.name, group.is_worse) for group in groups] == [("a", False), ("b", False), ("c", True)]
    worse = groups[2].auc
    assert worse is not None
    assert worse.versus_rest is not None
    assert worse.versus_rest.high < 0
    assert worse.low is not None
    assert worse.low < worse.value < (worse.high or 0)


def test_equal_centres_are_rarely_flagged() -> None:
    flagged = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        rows = [row for centre in "ab" for row in predictions(generator, centre, 1.0)]
        result = score_auc(rows, 0.5, EvaluationSettings(resamples=200))
        groups = results_by_centre(
            {name: name[0] for name, _, _ in rows}, None, result, EvaluationSettings(resamples=200)
        )
        flagged += any(group.is_worse for group in groups)
    assert flagged <= 4


def test_a_centre_that_misses_lesions_is_flagged(make_hits: Callable[..., SlideHits]) -> None:
    slides = []
    for number in range(40):
        centre = "ab"[number % 2]
        found = 0.9 if centre == "a" or number % 8 == 1 else 0.0
        slides.append(make_hits(f"{centre}_{number}", [found, 0.8] if number % 4 < 2 else None, [0.3, 0.4]))
    froc = score_froc(slides, RULES["public"], SETTINGS)
    groups = results_by_centre({hits.slide_id: hits.slide_id[0] for hits in slides}, froc, None, SETTINGS)
    assert [group.is_worse for group in groups] == [False, True]
    assert [group.n_targets for group in groups] == [20, 20]


def test_size_classes_share_the_normal_slides() -> None:
    generator = np.random.default_rng(0)
    rows = predictions(generator, "a", 2.0)
    classes = {
        name: ("micro" if number % 4 == 0 else "macro") if label else "negative"
        for number, (name, label, _) in enumerate(rows)
    }
    groups = results_by_size_class(classes, None, score_auc(rows, 0.5, SETTINGS), SETTINGS)
    assert [(group.name, group.n_slides, group.n_tumour) for group in groups] == [
        ("micro", 45, 15),
        ("macro", 45, 15),
    ]
    assert all(group.auc is not None and group.auc.versus_rest is None for group in groups)


def test_what_is_undefined_in_a_group_is_left_out(make_hits: Callable[..., SlideHits]) -> None:
    slides = [make_hits("a_1", [0.9]), make_hits("b_1", None, [0.5]), make_hits("b_2", None)]
    froc = score_froc(slides, RULES["public"], SETTINGS)
    only_tumour, only_normal = results_by_centre({"a_1": "a", "b_1": "b", "b_2": "b"}, froc, None, SETTINGS)
    assert only_tumour.froc is not None
    assert only_tumour.froc.versus_rest is None
    assert only_normal.froc is None


def test_one_centre_is_no_comparison() -> None:
    rows = predictions(np.random.default_rng(0), "a", 1.0)
    result = score_auc(rows, 0.5, SETTINGS)
    assert results_by_centre({name: "a" for name, _, _ in rows}, None, result, SETTINGS) == ()


def test_without_resampling_there_are_values_and_no_flags() -> None:
    rows = [row for centre in "ab" for row in predictions(np.random.default_rng(0), centre, 1.0)]
    settings = EvaluationSettings(resamples=0)
    groups = results_by_centre(
        {name: name[0] for name, _, _ in rows}, None, score_auc(rows, 0.5, settings), settings
    )
    metrics = [group.auc for group in groups]
    assert all(metric is not None and metric.low is None and metric.versus_rest is None for metric in metrics)
    assert pytest.approx(0.7, abs=0.2) == metrics[0].value
