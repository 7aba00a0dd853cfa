"""What the report reads out of an evaluation, by hand and from a real one."""

from typing import Any

import numpy as np
import pytest

from slidepipe.errors import ExportError
from slidepipe.evaluation.evaluate import evaluate
from slidepipe.evaluation.evaluated_slide import EvaluatedSlide
from slidepipe.evaluation.result_json import to_json
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.export.report_results import Results, read_results
from slidepipe.export.report_tables import Table
from slidepipe.slides.annotations import Outline, SlideAnnotation


def froc(**changes: object) -> dict[str, Any]:
    return {
        "rule": "public",
        "compat": False,
        "score": 0.78125,
        "ci": [0.7, 0.86],
        "confidence": 0.95,
        "sensitivity_at": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        "sensitivity_ci": [[0.4, 0.6]] * 6,
        "n_slides": 129,
        "n_normal": 80,
        "n_targets": 226,
        "n_itc": 39,
        "excluded": [],
        "curve": {"false_positives_per_slide": [0, 8], "sensitivity": [0.4, 1.0]},
        "band": None,
    } | changes


def auc(**changes: object) -> dict[str, Any]:
    return {
        "value": 0.9625,
        "ci": [0.92, 0.99],
        "ci_delong": [0.93, 0.995],
        "confidence": 0.9,
        "n_slides": 129,
        "n_normal": 80,
        "curve": {
            "threshold": [None, 0.5, 0.0],
            "false_positive_rate": [0, 0.1, 1],
            "true_positive_rate": [0, 0.9, 1],
        },
        "confusion": {
            "threshold": 0.25,
            "true_positives": 45,
            "false_negatives": 4,
            "true_negatives": 72,
            "false_positives": 8,
            "sensitivity": 45 / 49,
            "sensitivity_ci": [0.8, 0.97],
            "specificity": 0.9,
            "specificity_ci": None,
        },
    } | changes


def table(results: Results, title: str) -> Table:
    (found,) = [each for each in results.tables if each.title == title]
    return found


def test_an_empty_evaluation_shows_nothing() -> None:
    assert read_results({}) == Results()
    assert (
        read_results({"froc": None, "auc": None, "slides": [], "notes": None, "reading": None}) == Results()
    )


def test_the_froc_score_stands_with_interval_rule_and_counts() -> None:
    (figure,) = read_results({"froc": froc()}).figures
    assert (figure.label, figure.value, figure.interval) == (
        "Lesions: FROC score",
        "0.781",
        "95 %: 0.700 to 0.860",
    )
    assert figure.note == (
        "rule “public”; mean sensitivity at ¼ to 8 false positives per slide; 129 slides, 80 of them normal; "
        "226 target lesions, 39 of isolated tumour cells left out"
    )


def test_a_score_with_artefacts_says_so_and_one_without_interval_has_none() -> None:
    (figure,) = read_results({"froc": froc(compat=True, ci=None, confidence=None)}).figures
    assert figure.interval == ""
    assert "with the artefacts of its script" in figure.note


def test_the_auc_and_the_calls_stand_with_their_intervals_and_threshold() -> None:
    evaluation = {"auc": auc(), "operating_point": {"source": "chosen on training folds"}}
    area, found, cleared = read_results(evaluation).figures
    assert (area.value, area.interval) == ("0.963", "90 %: 0.920 to 0.990")
    assert area.note == "129 slides, 80 of them normal; DeLong’s interval 0.930 to 0.995"
    assert (found.value, found.interval) == ("91.8 %", "90 %: 80.0 to 97.0 %")
    assert found.note == "45 of 49, at probability 0.250 (chosen on training folds)"
    assert (cleared.value, cleared.interval, cleared.note[:8]) == ("90.0 %", "", "72 of 80")


def test_curves_are_drawn_with_their_bands() -> None:
    band = {"false_positives_per_slide": [0, 8], "low": [0.3, 0.9], "high": [0.5, 1.0]}
    lesions, slides = read_results({"froc": froc(band=band), "auc": auc()}).charts
    assert (lesions.name, slides.name) == ("froc", "roc")
    assert lesions.band
    assert not slides.band
    assert len(lesions.marks) == 6
    assert "0.500 at ¼, 0.600 at ½" in lesions.summary


def test_a_curve_with_points_that_do_not_exist_is_not_drawn() -> None:
    curve = {"false_positives_per_slide": [0, 1], "sensitivity": [None, None]}
    assert read_results({"froc": froc(curve=curve)}).charts == ()


def test_missed_lesions_and_false_positives_are_known_by_slide() -> None:
    evaluation = {
        "slides": [
            {"slide_id": "a", "n_targets": 5, "n_found": 3, "n_false_positives": 2},
            {"slide_id": "b", "n_targets": None, "n_found": None, "n_false_positives": None},
        ]
    }
    slides = read_results(evaluation).slides
    assert (slides["a"].n_missed, slides["a"].n_false_positives) == (2, 2)
    assert (slides["b"].n_missed, slides["b"].n_false_positives) == (None, None)


def test_what_a_reader_meets_is_told_in_words() -> None:
    reading = {
        "threshold": 0.5,
        "n_slides": 10,
        "false_positives_per_slide": 1.25,
        "false_positives_per_normal_slide": None,
        "share_without_false_positive": 0.4,
        "lesions_by_size": [
            {"low_um": 0.0, "high_um": 500.0, "n_lesions": 4, "n_missed": 3},
            {"low_um": 500.0, "high_um": 1000.0, "n_lesions": 0, "n_missed": 0},
            {"low_um": 2000.0, "high_um": None, "n_lesions": 6, "n_missed": 0},
        ],
        "n_targets": 10,
        "n_missed": 3,
        "wanted_share": 0.95,
        "regions_to_look_at": 1234,
        "regions_per_slide": 123.4,
        "threshold_for_share": 0.31,
    }
    results = read_results({"reading": reading})
    assert dict(table(results, "What a reader meets").rows) == {
        "False positives per slide": "1.25",
        "False positives per normal slide": "–",
        "Slides without any false positive": "40.0 %",
        "Normal slides without any false positive": "–",
        "Lesions missed": "3 of 10",
        "of these, shorter than 500 µm": "3 of 4",
        "of these, 2,000 µm and longer": "0 of 6",
        "Regions to look at to find 95 % of the lesions": "1,234, or 123.4 per slide (down to probability 0.310)",
    }
    unreached = {"threshold": 0.5, "wanted_share": 0.95, "regions_to_look_at": None, "reachable_share": 0.8}
    rows = dict(table(read_results({"reading": unreached}), "What a reader meets").rows)
    assert rows["Regions to look at to find 95 % of the lesions"] == (
        "not reached: all detections together find 80.0 %"
    )


def test_a_centre_that_is_worse_than_the_rest_is_flagged() -> None:
    rest = {"difference": -0.2, "ci": [-0.3, -0.1], "p_value": 0.0001, "is_worse": True}
    centre = {
        "name": "1",
        "n_slides": 55,
        "n_tumor": 25,
        "n_targets": None,
        "froc_score": {"value": 0.5, "ci": [0.4, 0.6], "versus_rest": rest},
        "auc": None,
        "is_worse": True,
    }
    (row,) = table(read_results({"centres": [centre]}), "By centre").rows
    assert row == (
        "1", "55", "25", "–", "0.500", "0.400 to 0.600", "–", "–", "worse: FROC −0.200 (p < 0.001)",
    )  # fmt: skip


def test_rules_are_compared_row_by_row() -> None:
    other = froc(rule="leaderboard", score=0.8, sensitivity_at=[None] * 6)
    found = table(read_results({"froc": froc(), "froc_other_rules": [other]}), "Lesions found, by rule")
    assert [row[0] for row in found.rows] == ["public", "leaderboard"]
    assert {len(row) for row in found.rows} == {len(found.columns)}
    assert found.rows[1][3:9] == ("–",) * 6


def test_slides_left_out_are_listed_once_with_the_reason() -> None:
    both = {"slide_id": "test_049", "reason": "duplicate"}
    one = {"slide_id": "test_114", "reason": "not exhaustively annotated"}
    results = read_results({"froc": froc(excluded=[one, both]), "auc": auc(excluded=[both])})
    assert table(results, "Left out of the evaluation").rows == (
        ("test_049", "lesions and slides", "duplicate"),
        ("test_114", "lesions", "not exhaustively annotated"),
    )


@pytest.mark.parametrize(
    ("evaluation", "key"),
    [
        ({"froc": [1]}, "froc"),
        ({"froc": froc(score="high")}, "score"),
        ({"froc": froc(ci=[0.1])}, "ci"),
        ({"froc": froc(n_slides=1.5)}, "n_slides"),
        ({"froc": froc(rule=1)}, "rule"),
        ({"froc": froc(sensitivity_at=[0.5])}, "sensitivities"),
        ({"froc": froc(sensitivity_ci=0.5)}, "sensitivity_ci"),
        ({"centres": {"a": 1}}, "centres"),
        ({"auc": auc(curve={"false_positive_rate": 1})}, "false_positive_rate"),
    ],
)
def test_a_document_of_another_shape_is_refused_by_key(evaluation: dict[str, Any], key: str) -> None:
    with pytest.raises(ExportError, match=key):
        read_results(evaluation)


def test_a_real_evaluation_is_shown_whole() -> None:
    settings = EvaluationSettings(rules=("public", "leaderboard"), resamples=50)
    results = read_results(to_json(evaluate([_evaluated(number) for number in range(12)], settings)))
    assert [figure.label for figure in results.figures] == [
        "Lesions: FROC score",
        "Slides: area under the ROC",
        "Tumour slides found",
        "Normal slides cleared",
        "False positives per slide",
    ]
    assert all(figure.interval.startswith("95 %: ") for figure in results.figures[:4])
    assert [bool(chart.curve and chart.band) for chart in results.charts] == [True, True]
    assert [found.title for found in results.tables] == [
        "What a reader meets",
        "Slides, further figures",
        "By centre",
        "By size of the largest metastasis",
        "Lesions found, by rule",
        "Left out of the evaluation",
    ]
    assert all(len(row) == len(found.columns) for found in results.tables for row in found.rows)
    assert len(results.slides) == 12
    assert results.slides["slide_1"].n_missed == 0
    assert results.slides["slide_0"].n_false_positives == 1


def _evaluated(number: int) -> EvaluatedSlide:
    """A slide of 2 × 2 mm, with tumour if its number is odd, found or not by one of two detections."""
    is_tumour = number % 2 == 1
    square = np.array([(2000, 2000), (5000, 2000), (5000, 5000), (2000, 5000)], dtype=np.float64)
    slide_id = f"slide_{number}"
    detections = np.array([(0.9 - number / 40, 3000, 3000), (0.2 + number / 60, 7000, 7000)])
    return EvaluatedSlide(
        slide_id=slide_id,
        label="tumor" if is_tumour else "normal",
        size_class=("micro", "macro")[number // 2 % 2] if is_tumour else "negative",
        centre=str(number // 4 % 2),
        detections=detections,
        probability=(0.9 if is_tumour else 0.3) - number / 100 - (0.5 if number == 3 else 0),
        size_px0=(8192, 8192),
        spacing_um=0.243,
        reference=SlideAnnotation(slide_id, (Outline(square, True, "Tumor"),)) if is_tumour else None,
        excluded_from=("lesions",) if number == 11 else (),
        exclusion_reason="not exhaustively annotated" if number == 11 else "",
    )
