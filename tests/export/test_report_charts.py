"""Curves laid out on a drawing: where points, bands and dots fall."""

from itertools import pairwise

import pytest

from slidepipe.export.report_charts import Curve, froc_chart, roc_chart

NOTHING = (None,) * 6


def _points(text: str) -> list[tuple[float, float]]:
    pairs = [point.split(",") for point in text.split()]
    return [(float(x), float(y)) for x, y in pairs]


def _y(chart_y: float) -> float:
    """From the drawing back to sensitivity."""
    return (326 - chart_y) / (326 - 14)


def test_the_froc_axis_doubles_from_an_eighth_to_eight() -> None:
    chart = froc_chart(Curve([0, 1], [0, 1]), NOTHING, NOTHING, "")
    assert [tick.text for tick in chart.x_ticks] == ["⅛", "¼", "½", "1", "2", "4", "8"]
    steps = [after.at - before.at for before, after in pairwise(chart.x_ticks)]
    assert steps == pytest.approx([81.0] * 6, abs=0.11)
    assert (chart.x_ticks[0].at, chart.x_ticks[-1].at) == (chart.left, chart.right)


def test_a_jump_of_the_froc_curve_stays_a_jump() -> None:
    chart = froc_chart(Curve([0, 0, 1, 1, 2], [0, 0.25, 0.25, 0.75, 0.75]), NOTHING, NOTHING, "")
    at_one = [_y(y) for x, y in _points(chart.curve) if x == 301.0]
    assert at_one == pytest.approx([0.25, 0.75], abs=1e-3)
    assert all(x0 <= x1 and y0 >= y1 for (x0, y0), (x1, y1) in pairwise(_points(chart.curve)))


def test_the_froc_curve_starts_and_ends_at_the_edges_with_its_values_there() -> None:
    points = _points(froc_chart(Curve([0, 0.25, 3], [0, 0.5, 0.9]), NOTHING, NOTHING, "").curve)
    assert points[0][0] == 58.0
    assert _y(points[0][1]) == pytest.approx(0.25, abs=1e-3)
    assert points[-1][0] == 544.0
    assert _y(points[-1][1]) == pytest.approx(0.9, abs=1e-3)


def test_a_band_goes_out_along_its_lower_and_back_along_its_upper_edge() -> None:
    curve = Curve([0, 8], [0.5, 0.5], [0, 8], [0.4, 0.4], [0.6, 0.6])
    points = _points(froc_chart(curve, NOTHING, NOTHING, "").band)
    half = len(points) // 2
    assert {round(_y(y), 2) for _, y in points[:half]} == {0.4}
    assert {round(_y(y), 2) for _, y in points[half:]} == {0.6}
    assert points[0][0] == points[-1][0] == 58.0


def test_without_a_band_none_is_drawn() -> None:
    assert froc_chart(Curve([0, 8], [0, 1]), NOTHING, NOTHING, "").band == ""
    assert roc_chart(Curve([0, 1], [0, 1]), "").band == ""


def test_dots_stand_at_the_six_rates_with_their_intervals_and_words() -> None:
    at = (0.1, 0.2, 0.3, 0.4, 0.5, None)
    intervals = (None, None, (0.25, 0.35), None, None, None)
    marks = froc_chart(Curve([0, 8], [0, 1]), at, intervals, "").marks
    assert len(marks) == 5
    assert marks[2].x == 301.0
    assert _y(marks[2].y) == pytest.approx(0.3, abs=1e-3)
    assert marks[2].low is not None
    assert marks[2].high is not None
    assert _y(marks[2].low) == pytest.approx(0.25, abs=1e-3)
    assert _y(marks[2].high) == pytest.approx(0.35, abs=1e-3)
    assert marks[2].text == "0.300 at 1 false positives per slide, interval 0.250 to 0.350"
    assert marks[0].low is None
    assert marks[0].text == "0.100 at ¼ false positives per slide"


def test_the_roc_curve_keeps_its_points_and_gets_the_line_of_chance() -> None:
    chart = roc_chart(Curve([0, 0, 0.5, 1], [0, 0.5, 1, 1]), "in words")
    assert _points(chart.curve) == [(58.0, 326.0), (58.0, 170.0), (301.0, 14.0), (544.0, 14.0)]
    assert _points(chart.chance) == [(58.0, 326.0), (544.0, 14.0)]
    assert chart.summary == "in words"


def test_the_roc_band_closes() -> None:
    chart = roc_chart(Curve([0, 1], [0, 1], [0, 1], [0, 0.8], [0.2, 1]), "")
    ys = [round(_y(y), 2) for _, y in _points(chart.band)]
    assert ys == [0.0, 0.8, 1.0, 0.2]
