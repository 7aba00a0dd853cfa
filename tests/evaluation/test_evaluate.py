"""The whole evaluation: what is scored, what is left out, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from slidepipe.errors import ConfigError, EvaluationError
from slidepipe.evaluation.evaluate import choose_operating_point, evaluate
from slidepipe.evaluation.evaluated_slide import EvaluatedSlide
from slidepipe.evaluation.result_json import to_json
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.slides.annotations import Outline, SlideAnnotation

SETTINGS = EvaluationSettings(rules=("public", "release"), resamples=100)


def lesion(slide_id: str, *corners: tuple[float, float], side: float = 1600.0) -> SlideAnnotation:
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    return SlideAnnotation(slide_id, tuple(Outline(square + corner, True, "_0") for corner in corners))


@pytest.fixture
def slides() -> list[EvaluatedSlide]:
    """Two slides with tumour, one of them not annotated exhaustively, and two without."""
    found = np.array([[0.9, 1000, 1000], [0.4, 9000, 9000]])
    return [
        EvaluatedSlide(
            "test_001",
            "tumor",
            "macro",
            "0",
            found,
            0.9,
            (20_000, 20_000),
            0.243,
            lesion("test_001", (500, 500)),
        ),
        EvaluatedSlide(
            "test_114",
            "tumor",
            "macro",
            "1",
            np.array([[0.8, 5000, 5000]]),
            0.8,
            (20_000, 20_000),
            0.226,
            lesion("test_114", (4500, 4500), (12_000, 4500)),
            ("lesions",),
            "not annotated exhaustively",
        ),
        EvaluatedSlide("test_003", "normal", "negative", "0", np.array([[0.6, 1, 1]]), 0.3, None, 0.243),
        EvaluatedSlide("test_005", "normal", "negative", "1", np.zeros((0, 3)), 0.85, None, 0.226),
    ]


def test_each_rule_scores_the_slides_it_scores(slides: list[EvaluatedSlide]) -> None:
    result = evaluate(slides, SETTINGS)
    public, release = result.froc
    assert (public.n_slides, public.n_normal, public.n_targets) == (3, 2, 1)
    assert [(each.slide_id, each.reason) for each in public.excluded] == [
        ("test_114", "not annotated exhaustively")
    ]
    assert (release.n_slides, release.n_targets, release.excluded) == (4, 3, ())
    assert result.auc is not None
    assert len(result.auc.labels) == 4
    assert result.auc.value == 0.75


def test_a_slide_excluded_from_everything_is_in_no_number(slides: list[EvaluatedSlide]) -> None:
    slides[3] = replace(slides[3], excluded_from=("all",), detections=None, probability=None)
    result = evaluate(slides, SETTINGS)
    assert result.auc is not None
    assert "test_005" not in result.auc.slide_ids
    assert result.froc[0].n_normal == 1
    assert [each.slide_id for each in result.auc.excluded] == ["test_005"]


def test_a_missing_slide_is_an_error_or_counts_as_nothing_found(slides: list[EvaluatedSlide]) -> None:
    slides[0] = replace(slides[0], detections=None)
    slides[3] = replace(slides[3], probability=None)
    with pytest.raises(EvaluationError, match="1 of 4 slides lack detections: test_001"):
        evaluate(slides, SETTINGS)
    with pytest.raises(EvaluationError, match="a slide probability: test_005"):
        evaluate([replace(slides[0], detections=np.zeros((0, 3))), *slides[1:]], SETTINGS)
    result = evaluate(slides, replace(SETTINGS, allow_missing=True))
    assert result.froc[0].score == 0
    assert len([note for note in result.notes if "test_001" in note or "test_005" in note]) == 2


def test_equal_inputs_give_equal_results(slides: list[EvaluatedSlide]) -> None:
    assert to_json(evaluate(slides, SETTINGS)) == to_json(evaluate(list(slides), SETTINGS))


def test_slide_probabilities_alone_and_detections_alone_are_enough(slides: list[EvaluatedSlide]) -> None:
    only_slides = evaluate([replace(each, detections=None) for each in slides], SETTINGS)
    assert (only_slides.froc, only_slides.reading) == ((), None)
    only_lesions = evaluate([replace(each, probability=None) for each in slides], SETTINGS)
    assert only_lesions.auc is None


def test_without_target_lesions_the_slides_are_still_judged(slides: list[EvaluatedSlide]) -> None:
    tiny = [
        replace(each, reference=lesion(each.slide_id, (900, 900), side=64) if each.label == "tumor" else None)
        for each in slides
    ]
    result = evaluate(tiny, SETTINGS)
    assert result.froc == ()
    assert result.auc is not None
    assert any("no slide has a target lesion" in note for note in result.notes)
    with pytest.raises(EvaluationError, match="no slide has a target lesion"):
        evaluate([replace(each, probability=None) for each in tiny], SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": None}, "test_001 is labelled tumor but has neither outlines nor a mask"),
        (
            {"reference": SlideAnnotation("test_001", ())},
            "test_001 is labelled tumor, but its reference holds none",
        ),
        ({"spacing_um": None}, "test_001: the rule release needs the size of its pixels"),
        ({"detections": np.array([[0.5, 20_000, 3]])}, "test_001: 1 of 1 detections lie outside the slide"),
        ({"detections": np.array([[1.5, 20, 3]])}, "test_001, detection 1: confidence 1.5"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    slides: list[EvaluatedSlide], change: dict, message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate([replace(slides[0], **change), *slides[1:]], SETTINGS)


def test_a_slide_listed_twice_and_no_predictions_are_refused(slides: list[EvaluatedSlide]) -> None:
    with pytest.raises(EvaluationError, match="more than once: test_001"):
        evaluate([*slides, slides[0]], SETTINGS)
    with pytest.raises(EvaluationError, match="none of the 4 slides has predictions"):
        evaluate([replace(each, detections=None, probability=None) for each in slides], SETTINGS)


def test_slides_of_another_pixel_size_are_judged_on_the_nearest_level(slides: list[EvaluatedSlide]) -> None:
    """The same lesions, drawn on slides of 0.972 µm, a quarter of the pixels."""
    coarse = []
    for each in slides:
        reference = each.reference
        if isinstance(reference, SlideAnnotation):
            outlines = tuple(replace(one, points_px0=one.points_px0 / 4) for one in reference.outlines)
            reference = replace(reference, outlines=outlines)
        detections = each.detections * [1, 0.25, 0.25]
        coarse.append(
            replace(each, reference=reference, detections=detections, size_px0=None, spacing_um=0.972)
        )
    fine = [replace(each, size_px0=None, spacing_um=0.243) for each in slides]
    hits = [evaluate(each, SETTINGS).froc[0].hits[0] for each in (coarse, fine)]
    np.testing.assert_array_equal(hits[0].lesion_probability, hits[1].lesion_probability)
    np.testing.assert_array_equal(hits[0].diameter_um, hits[1].diameter_um)


def test_the_operating_point_comes_from_training_slides_only(slides: list[EvaluatedSlide]) -> None:
    training = {"tumor_001": (True, 0.9), "tumor_002": (True, 0.7), "normal_001": (False, 0.3)}
    point = choose_operating_point(training, slides, SETTINGS)
    assert point.slide_threshold == pytest.approx(0.5)
    assert "3 training slides" in point.source
    result = evaluate(slides, SETTINGS, point)
    assert result.auc is not None
    assert result.auc.confusion.threshold == point.slide_threshold
    fixed = choose_operating_point(
        training, slides, replace(SETTINGS, threshold_policy="fixed", slide_threshold=0.7)
    )
    assert fixed.slide_threshold == 0.7
    with pytest.raises(EvaluationError, match="test_003"):
        choose_operating_point({**training, "test_003": (False, 0.3)}, slides, SETTINGS)


def test_a_rule_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        EvaluationSettings(rules=("public", "public"))
