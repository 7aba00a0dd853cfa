"""ROC and AUC against scikit-learn's recorded answers, DeLong against the definition."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.auc import auc, delong_interval, delong_test, roc_curve

PUBLISHED = {
    "pred_I": 0.8821428571428571,
    "pred_II": 0.7914540816326531,
    "Method_II_noise_norm": 0.9839285714285715,
    "Method_II_noise_only": 0.9420918367346939,
    "Method_I": 0.9155612244897959,
}
"""AUC of the published slide scores, from scikit-learn 1.9.1."""


def real_case(shared_data: Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    with (shared_data / "camelyon16" / "reference.csv").open() as file:
        labels = {row["image"].removesuffix(".tif"): row["type"] == "tumor" for row in csv.DictReader(file)}
    with (shared_data / "camelyon16" / "slide-predictions-test.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([labels[row["image"]] for row in rows]), np.array([float(row[column]) for row in rows])


def test_the_recorded_aucs_and_curves_are_reproduced(shared_data: Path) -> None:
    for case in json.loads((shared_data / "froc" / "auc_vectors.json").read_text())["cases"]:
        labels, values = np.array(case["labels"], dtype=np.bool_), np.array(case["scores"], dtype=np.float64)
        if case["name"] == "one_class":
            with pytest.raises(EvaluationError, match="with and without tumour"):
                auc(labels, values)
            continue
        assert auc(labels, values) == pytest.approx(case["auc"], abs=1e-12), case["name"]
        curve = roc_curve(labels, values)
        np.testing.assert_allclose(curve.false_positive_rate, case["fpr"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(curve.true_positive_rate, case["tpr"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("column", list(PUBLISHED))
def test_the_published_slide_scores_give_their_aucs(shared_data: Path, column: str) -> None:
    labels, values = real_case(shared_data, column)
    assert auc(labels, values) == pytest.approx(PUBLISHED[column], abs=1e-12)


def test_average_precision_equals_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    for digits in (1, 8):
        labels, values = generator.random(80) < 0.3, generator.random(80).round(digits)
        expected = metrics.average_precision_score(labels, values)
        assert roc_curve(labels, values).average_precision == pytest.approx(expected, abs=1e-12)


def test_sensitivity_at_a_specificity_never_splits_ties() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=np.bool_)
    values = np.array([0.9, 0.6, 0.3, 0.6, 0.2, 0.1, 0.1, 0.0])
    curve = roc_curve(labels, values)
    assert curve.sensitivity_at_specificity(1.0) == pytest.approx(1 / 3)
    assert curve.sensitivity_at_specificity(0.8) == 1.0


def delong_variance_by_definition(labels: np.ndarray, values: np.ndarray) -> float:
    with_tumour, without = values[labels], values[~labels]

    def kernel(x: float, y: float) -> float:
        return float(x > y) + 0.5 * float(x == y)

    area = np.mean([[kernel(x, y) for y in without] for x in with_tumour])
    m, n = len(with_tumour), len(without)
    tumour = sum((np.mean([kernel(x, y) for y in without]) - area) ** 2 for x in with_tumour) / (m - 1)
    normal = sum((np.mean([kernel(x, y) for x in with_tumour]) - area) ** 2 for y in without) / (n - 1)
    return float(tumour / m + normal / n)


def test_delongs_interval_follows_its_definition(shared_data: Path) -> None:
    labels, values = real_case(shared_data, "pred_I")
    low, high = delong_interval(labels, values, 0.95)
    reach = 1.959963984540054 * np.sqrt(delong_variance_by_definition(labels, values))
    assert (low, high) == pytest.approx((PUBLISHED["pred_I"] - reach, PUBLISHED["pred_I"] + reach), abs=1e-12)


def test_delongs_interval_stays_between_0_and_1_and_needs_two_of_a_kind() -> None:
    perfect = delong_interval(np.array([True, True, False, False]), np.array([0.9, 0.8, 0.2, 0.1]), 0.95)
    assert perfect == (1, 1)
    alone = delong_interval(np.array([True, False, False]), np.array([0.9, 0.95, 0.1]), 0.95)
    assert np.isnan(alone).all()


def test_delongs_test_is_paired(shared_data: Path) -> None:
    labels, first = real_case(shared_data, "Method_II_noise_norm")
    _, second = real_case(shared_data, "pred_II")
    test = delong_test(labels, first, second, 0.95)
    assert test.difference == pytest.approx(PUBLISHED["Method_II_noise_norm"] - PUBLISHED["pred_II"])
    assert test.interval[0] > 0
    assert test.p_value < 0.001
    mirrored = delong_test(labels, second, first, 0.95)
    assert mirrored.p_value == pytest.approx(test.p_value)
    assert delong_test(labels, first, first * 0.5, 0.95).p_value == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(EvaluationError, match="not finite"):
        auc(np.array([True, False]), np.array([bad, 0.1]))
    with pytest.raises(EvaluationError, match="do not belong together"):
        auc(np.array([True, False]), np.array([0.1]))
