import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from slidepipe.classifier.patch_metrics import measure_patches
from slidepipe.errors import ModelError


def drawn(count: int, seed: int, distance: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    is_tumour = np.arange(count) % 3 == 0
    return is_tumour, 1 / (1 + np.exp(-random.normal(is_tumour * distance, 1)))


def test_auc_is_that_of_scikit_learn_also_with_ties() -> None:
    is_tumour, probability = drawn(300, 1)
    for values in (probability, probability.round(1)):
        assert measure_patches(is_tumour, values).auc == pytest.approx(
            roc_auc_score(is_tumour, values), abs=1e-12
        )


def test_intervals_hold_the_truth_in_95_of_100_draws() -> None:
    # Two normal distributions 1.5 apart: AUC = Phi(1.5 / sqrt 2).
    truth = 0.85558
    hits = []
    for seed in range(400):
        low, high = measure_patches(*drawn(150, seed)).auc_interval
        hits.append(low <= truth <= high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_the_interval_is_that_of_delong() -> None:
    # Placements by hand: tumour 0.8, 0.5, 0.9 against normal 0.1, 0.6, 0.4 win 3, 2, 3 of 3; normal lose to 3, 2, 3.
    metrics = measure_patches(
        np.array([True, True, True, False, False, False]), np.array([0.8, 0.5, 0.9, 0.1, 0.6, 0.4])
    )
    assert metrics.auc == pytest.approx(8 / 9)
    placements = np.array([1, 2 / 3, 1])
    error = np.sqrt(2 * placements.var(ddof=1) / 3)
    width = 1.959964 * error / (8 / 9 * 1 / 9)
    centre = np.log(8)
    expected = 1 / (1 + np.exp(-np.array([centre - width, centre + width])))
    assert metrics.auc_interval == pytest.approx(tuple(expected), abs=1e-6)


def test_accuracy_and_its_wilson_interval() -> None:
    # 81 of 263: Newcombe 1998, table I, method 3.
    is_tumour = np.arange(263) < 100
    right = np.isin(np.arange(263), np.concatenate([np.arange(40), np.arange(100, 141)]))
    metrics = measure_patches(is_tumour, np.where(is_tumour == right, 0.9, 0.1))
    assert (metrics.count, metrics.tumour) == (263, 100)
    assert metrics.accuracy == pytest.approx(81 / 263)
    assert metrics.accuracy_interval == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_a_perfect_ranking_has_an_interval_without_width() -> None:
    metrics = measure_patches(np.array([False, False, True]), np.array([0.1, 0.2, 0.9]))
    assert metrics.auc == 1
    assert metrics.auc_interval == (1, 1)
    assert metrics.accuracy == 1
    assert metrics.accuracy_interval[0] == pytest.approx(0.4385, abs=1e-4)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ModelError, match="0 tumour and 2 normal"):
        measure_patches(np.array([False, False]), np.array([0.1, 0.2]))
