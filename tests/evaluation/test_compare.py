"""Two runs on the same slides."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.compare import ComparedRun, compare, comparison_json
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.evaluation.tables import comparison_text

SETTINGS = EvaluationSettings(resamples=400)
Draw = Callable[..., list[SlideHits]]


def run(name: str, slides: list[SlideHits], noise: float = 0.0) -> ComparedRun:
    generator = np.random.default_rng(0)
    predictions = {
        hits.slide_id: (hits.is_tumour, float(0.3 * hits.is_tumour + generator.random() * (0.6 + noise)))
        for hits in slides
    }
    return ComparedRun(name, {"public": slides, "leaderboard": slides}, predictions)


def weaker(slides: list[SlideHits]) -> list[SlideHits]:
    """The same detections, with half of the lesions found less surely than the strongest false positives."""
    return [
        replace(
            hits,
            lesion_probability=hits.lesion_probability * np.where(np.arange(len(hits.is_itc)) % 2, 1, 0.2),
        )
        for hits in slides
    ]


def test_a_run_does_not_differ_from_itself(draw_hits: Draw) -> None:
    slides = draw_hits(0)
    (result,) = compare([run("a", slides), run("b", slides)], SETTINGS)
    assert [(each.rule, each.score.difference, each.score.p_value) for each in result.froc] == [
        ("public", 0, 1),
        ("leaderboard", 0, 1),
    ]
    assert result.auc is not None
    assert (result.auc.auc.difference, result.auc.auc.p_value, result.auc.delong.p_value) == (0, 1, 1)


def test_a_clear_difference_is_found_and_has_its_sign(draw_hits: Draw) -> None:
    slides = draw_hits(1, n_slides=60)
    (result,) = compare([run("good", slides), run("weak", weaker(slides))], SETTINGS)
    score = result.froc[0].score
    assert score.first > score.second
    assert score.difference == pytest.approx(score.first - score.second)
    assert 0 < score.low < score.difference < score.high
    assert score.p_value < 0.02
    assert len(result.froc[0].sensitivity_at) == 6


def test_the_order_of_slides_does_not_matter(draw_hits: Draw) -> None:
    slides = draw_hits(2)
    forwards = compare([run("a", slides), run("b", weaker(slides))], SETTINGS)
    mixed = compare([run("a", slides), run("b", weaker(slides)[::-1])], SETTINGS)
    assert forwards[0].froc == mixed[0].froc


def test_several_runs_are_each_compared_with_the_first(draw_hits: Draw) -> None:
    slides = draw_hits(3)
    results = compare([run("a", slides), run("b", weaker(slides)), run("c", slides, 0.3)], SETTINGS)
    assert [(each.first, each.second) for each in results] == [("a", "b"), ("a", "c")]


def test_runs_on_other_slides_or_another_reference_are_refused(draw_hits: Draw) -> None:
    slides = draw_hits(4)
    with pytest.raises(EvaluationError, match="1 are in one of them only"):
        compare([run("a", slides), run("b", slides[:-1])], SETTINGS)
    other = [replace(slides[0], is_itc=~slides[0].is_itc), *slides[1:]]
    with pytest.raises(EvaluationError, match="slide_000 has another reference"):
        compare([run("a", slides), run("b", other)], SETTINGS)
    mislabelled = replace(
        run("b", slides), hits={}, predictions={**run("b", slides).predictions, "slide_000": (False, 0.5)}
    )
    with pytest.raises(EvaluationError, match="slide_000 has another label"):
        compare([run("a", slides), mislabelled], SETTINGS)


def test_runs_without_a_result_in_common_are_refused(draw_hits: Draw) -> None:
    slides = draw_hits(5)
    lesions_only, slides_only = replace(run("a", slides), predictions={}), replace(run("b", slides), hits={})
    with pytest.raises(EvaluationError, match="no result in common"):
        compare([lesions_only, slides_only], SETTINGS)
    with pytest.raises(EvaluationError, match="two runs or more"):
        compare([lesions_only], SETTINGS)
    with pytest.raises(EvaluationError, match="resamples"):
        compare([lesions_only, lesions_only], EvaluationSettings(resamples=0))
    with pytest.raises(EvaluationError, match="compat"):
        compare([run("a", slides), replace(run("b", slides), compat=True)], SETTINGS)


def test_comparisons_are_told_in_json_and_text(draw_hits: Draw) -> None:
    slides = draw_hits(6)
    results = compare([run("good", slides), run("weak", weaker(slides))], SETTINGS)
    content = comparison_json(results)
    assert content["format"] == "slidepipe-comparison"
    told = content["comparisons"][0]["froc"][0]["score"]
    assert set(told) == {"first", "second", "difference", "p_value", "ci", "ci_bca"}
    assert content["comparisons"][0]["auc"]["delong"]["p_value"] is not None
    text = comparison_text(results)
    assert "A: good" in text
    assert f"{results[0].froc[0].score.difference:+.4f}" in text
