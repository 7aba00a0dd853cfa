import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slidepipe.lesions.peaks import find_peaks, rank_cells

CASES = ("blobs", "plateau", "border", "threshold_equal", "radius6_level7", "noise", "empty")


@pytest.mark.parametrize("case", CASES)
def test_peaks_are_those_that_ncrf_wrote(shared_data, case):
    folder = shared_data / "froc" / "nms"
    parameters = json.loads((folder / "index.json").read_text())[case]["params"]
    by_xy = np.load(folder / f"{case}.npy")
    radius, step = parameters["radius"], 2 ** parameters["level"]

    peaks = find_peaks(np.ascontiguousarray(by_xy.T), (radius, radius), parameters["prob_threshold"])

    lines = [
        f"{by_xy[column, row]:0.5f},{int((column + 0.5) * step)},{int((row + 0.5) * step)}\n"
        for row, column in peaks
    ]
    assert "".join(lines) == (folder / f"{case}.csv").read_text()


def scan_again_and_again(probability, radius, threshold):
    """NCRF's rule as it is told: argmax over the map indexed [x, y] until nothing is above the threshold."""
    by_xy = np.where(np.isnan(probability), -1, probability).astype(np.float64).T
    across, down = radius
    found = []
    while by_xy.size and by_xy.max() > threshold:
        x, y = np.unravel_index(np.argmax(by_xy), by_xy.shape)
        found.append((int(y), int(x)))
        by_xy[max(0, x - across) : x + across, max(0, y - down) : y + down] = 0
    return found


FEW_VALUES = st.sampled_from([np.nan, 0.0, 0.25, 0.5, 0.75, 1.0])


@settings(max_examples=150, deadline=None)
@given(
    probability=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=FEW_VALUES
    ),
    radius=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.9]),
)
def test_sorting_once_finds_what_scanning_finds_ties_and_nan_included(probability, radius, threshold):
    found = [tuple(peak) for peak in find_peaks(probability, radius, threshold).tolist()]
    assert found == scan_again_and_again(probability, radius, threshold)


def test_a_map_where_nothing_was_looked_at_has_no_peak():
    assert find_peaks(np.full((4, 5), np.nan, np.float32), (2, 2), 0.0).shape == (0, 2)


def test_the_threshold_is_compared_in_double_precision():
    nearest = np.float32(0.8)
    assert float(nearest) > 0.8
    assert len(rank_cells(np.array([[nearest]]), 0.8)) == 1


def test_a_radius_below_one_cell_is_refused():
    with pytest.raises(ValueError, match="1 or more"):
        find_peaks(np.ones((3, 3), np.float32), (0, 1), 0.5)


def test_a_million_candidates_of_a_gigapixel_slide_take_seconds():
    probability = np.random.default_rng(0).random((3125, 1562), dtype=np.float32)
    start = time.perf_counter()
    peaks = find_peaks(probability, (12, 12), 0.8)
    assert time.perf_counter() - start < 20  # 0.4 s on an idle core; scanning takes minutes
    assert len(peaks) > 10_000
