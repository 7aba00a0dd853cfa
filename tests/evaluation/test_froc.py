"""The FROC score must equal the organisers' to the last digit, by every rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.detections import read_detections
from slidepipe.evaluation.froc import FrocCurve, froc_curve
from slidepipe.evaluation.matching import Matching, SlideHits, match_normal_slide, match_tumour_slide
from slidepipe.evaluation.reference import find_reference_lesions
from slidepipe.evaluation.rules import OFFICIAL_PIXEL_UM, RULES

RUNS = {"public": "py36.A_ncrf", "leaderboard": "py27.B", "release": "modern.C"}
CASES = [
    "01", "02", "03", "04", "05", "07", "08", "09", "10", "14", "16", "17", "18", "19", "20", "21", "24", "25", "26",
    "27", "28", "29", "32", "35",
]  # fmt: skip
READ_HERE = {("24", "public"), ("24", "release"), ("25", "public"), ("26", "public")}
"""Files that a script cannot read and that are read here: a header, decimals, a blank line."""


def hits_of(vector: Any, rule_name: str, *, compat: bool) -> list[SlideHits]:
    rule = RULES[rule_name]
    hits = []
    for slide in vector.slides:
        if not slide["has_csv"]:
            # The scripts of the other two rules look at the files there are; this one looks for the table's slides.
            if rule_name == "release":
                raise EvaluationError(f"slide {slide['name']} lacks detections")
            continue
        detections = read_detections(vector.folder / slide["csv"], slide["name"], compat=compat)
        if slide["type"] == "normal":
            hits.append(match_normal_slide(slide["name"], detections))
            continue
        with Image.open(vector.folder / slide["mask"]) as mask:
            is_tumour = np.asarray(mask) == 255
        pixel_um = slide["spacing_um"] * 32 if rule.own_spacing else OFFICIAL_PIXEL_UM
        lesions = find_reference_lesions(is_tumour, pixel_um, phantom=compat)
        hits.append(match_tumour_slide(slide["name"], detections, lesions, Matching(rule, 32, compat=compat)))
    return hits


def numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def assert_same_curve(curve: FrocCurve, recorded: dict[str, Any], rule_name: str) -> None:
    rates, sensitivity = numbers(recorded["total_FPs"]), numbers(recorded["total_sensitivity"])
    if rule_name == "leaderboard" and len(rates) > len(curve.threshold):
        # A point (8, s) for the plot, put in front after the score was computed.
        rates, sensitivity = rates[1:], sensitivity[1:]
    np.testing.assert_allclose(curve.false_positives_per_slide[::-1], rates, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity[::-1], sensitivity, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity_at(), numbers(recorded["sens_at"]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.score, numbers([recorded["froc_score"]])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule_name", list(RUNS))
@pytest.mark.parametrize("case", CASES)
def test_compat_reproduces_the_recorded_scripts(vectors: dict, case: str, rule_name: str) -> None:
    vector, recorded = vectors[case], vectors[case].runs[RUNS[rule_name]]
    if "error" in recorded and (case, rule_name) not in READ_HERE:
        with pytest.raises(EvaluationError):
            froc_curve(hits_of(vector, rule_name, compat=True), RULES[rule_name], compat=True)
        return
    hits = hits_of(vector, rule_name, compat=True)
    curve = froc_curve(hits, RULES[rule_name], compat=True)
    if "error" in recorded:
        assert curve.score == pytest.approx(vector.runs["oracle.public_float64"]["froc_score"], abs=1e-12)
        return
    assert_same_curve(curve, recorded, rule_name)
    for each in hits:
        expected = recorded["per_slide"][each.slide_id]
        assert each.n_targets == expected["num_targets"]
        np.testing.assert_allclose(each.lesion_probability, expected["tp_probs"], rtol=0, atol=1e-12)
        if not (rule_name == "leaderboard" and each.is_tumour):
            np.testing.assert_array_equal(each.false_positive_probability, expected["fp_probs"])


@pytest.mark.parametrize(
    ("rule_name", "run"), [("public", "oracle.public_clean"), ("leaderboard", "oracle.leaderboard_clean")]
)
@pytest.mark.parametrize("case", ["01", "03", "04", "05", "07", "10", "14", "16", "21", "27", "32", "35"])
def test_without_compat_there_are_no_artefacts(vectors: dict, case: str, rule_name: str, run: str) -> None:
    curve = froc_curve(hits_of(vectors[case], rule_name, compat=False), RULES[rule_name])
    assert_same_curve(curve, vectors[case].runs[run], "oracle")


def test_exact_is_public_with_the_slides_own_spacing(vectors: dict) -> None:
    vector = vectors["27"]
    public = hits_of(vector, "public", compat=False)
    exact = hits_of(vector, "exact", compat=False)
    assert [sum(each.n_targets for each in hits) for hits in (public, exact)] == [4, 3]
    same = vectors["32"]
    scores = [
        froc_curve(hits_of(same, name, compat=False), RULES[name]).score for name in ("public", "exact")
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("case", ["02", "20", "28", "29"])
def test_what_the_scripts_pass_over_is_refused_without_compat(vectors: dict, case: str) -> None:
    with pytest.raises(EvaluationError):
        froc_curve(hits_of(vectors[case], "public", compat=False), RULES["public"])


@pytest.mark.parametrize("case", ["08", "09", "17", "18"])
def test_impossible_detections_are_refused_without_compat(vectors: dict, case: str) -> None:
    with pytest.raises(EvaluationError, match="Test_00"):
        hits_of(vectors[case], "public", compat=False)


def test_the_curve_rises_from_the_origin(draw_hits: Callable[..., list[SlideHits]]) -> None:
    curve = froc_curve(draw_hits(0), RULES["public"])
    assert (curve.false_positives_per_slide[0], curve.sensitivity[0]) == (0, 0)
    assert (np.diff(curve.false_positives_per_slide) >= 0).all()
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert (np.diff(curve.threshold) < 0).all()


def test_a_slide_listed_twice_is_refused(make_hits: Callable[..., SlideHits]) -> None:
    with pytest.raises(EvaluationError, match="slide_1"):
        froc_curve([make_hits("slide_1", [0.5]), make_hits("slide_1", None)], RULES["public"])


def test_leaderboard_needs_a_tumour_free_slide(make_hits: Callable[..., SlideHits]) -> None:
    with pytest.raises(EvaluationError, match="tumour-free"):
        froc_curve([make_hits("slide_1", [0.5], [0.4])], RULES["leaderboard"])


def test_hits_on_isolated_tumour_cells_are_neither_right_nor_wrong(
    make_hits: Callable[..., SlideHits],
) -> None:
    with_itc = [make_hits("a", [0.9, None], [0.3]), make_hits("b", None, [0.6])]
    without = [make_hits("a", [0.9], [0.3]), make_hits("b", None, [0.6])]
    assert froc_curve(with_itc, RULES["public"]).score == froc_curve(without, RULES["public"]).score
