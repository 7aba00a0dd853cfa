"""The FROC and ROC curves of the report as plain SVG geometry: from curve numbers to points on the page.

Nothing is computed about the results here; rules, intervals and bands come with the numbers. Coordinates are those of
a drawing of ``WIDTH`` × ``HEIGHT`` units, written by the template.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 560, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 544, 14, 326

FROC_TARGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per slide at which CAMELYON16 reads the sensitivity."""
FROC_TARGET_NAMES = ("¼", "½", "1", "2", "4", "8")

_FROC_START = 0.125
_FROC_POINTS = 193


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve, and the band that holds it with the stated confidence."""

    x: Sequence[float]
    """Rising; may repeat where the curve goes straight up."""
    y: Sequence[float]
    """As many values as `x`, 0 to 1."""
    band_x: Sequence[float] = ()
    """Where the band is known; empty without one."""
    band_low: Sequence[float] = ()
    """Lower edge at each of `band_x`."""
    band_high: Sequence[float] = ()
    """Upper edge at each of `band_x`."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid and its number."""

    at: float
    """Position on the drawing, along the axis."""
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A dot on the chart, with its interval."""

    x: float
    y: float
    low: float | None
    """Lower end of the interval on the drawing; None without one."""
    high: float | None
    text: str
    """What the dot says, in words."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the template needs to draw a chart."""

    name: str
    """Short word, used to build element ids."""
    title: str
    summary: str
    """What the chart shows, for those who cannot see it."""
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curve: str
    """Points of the curve, ``x,y x,y``."""
    band: str
    """Points of the band's polygon; empty without one."""
    chance: str
    """Points of the line of pure chance; empty where there is none."""
    marks: tuple[Mark, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def froc_chart(
    curve: Curve,
    sensitivity_at: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    summary: str,
) -> Chart:
    """Lay out a FROC curve, false positives per slide on a doubling axis from ⅛ to 8.

    Parameters
    ----------
    curve
        False positives per slide (x) and sensitivity (y). Between two points the line is straight on a plain axis,
        as the public rule reads it, and therefore bent on this one.
    sensitivity_at
        Sensitivity at ¼, ½, 1, 2, 4 and 8 false positives, by the rule in use; None where there is none.
    intervals
        Confidence interval of each of them, None where there is none.
    summary
        The same in words.

    Returns
    -------
    Chart
        Curve and band begin at ⅛ with the value they have there.
    """
    axis = np.geomspace(_FROC_START, FROC_TARGETS[-1], _FROC_POINTS)
    marks = tuple(
        Mark(
            _froc_x(target),
            _unit_y(value),
            None if interval is None else _unit_y(interval[0]),
            None if interval is None else _unit_y(interval[1]),
            f"{value:.3f} at {name} false positives per slide" + _in_words(interval),
        )
        for target, name, value, interval in zip(
            FROC_TARGETS, FROC_TARGET_NAMES, sensitivity_at, intervals, strict=True
        )
        if value is not None
    )
    low = _on_axis(curve.band_x, curve.band_low, axis)
    high = _on_axis(curve.band_x, curve.band_high, axis)
    return Chart(
        name="froc",
        title="Lesions: FROC",
        summary=summary,
        x_label="false positives per slide",
        y_label="lesions found (sensitivity)",
        x_ticks=tuple(
            Tick(_froc_x(value), name)
            for value, name in zip((_FROC_START, *FROC_TARGETS), ("⅛", *FROC_TARGET_NAMES), strict=True)
        ),
        y_ticks=_unit_ticks_y(),
        curve=_points([(_froc_x(x), _unit_y(y)) for x, y in _on_axis(curve.x, curve.y, axis)]),
        band=_points([(_froc_x(x), _unit_y(y)) for x, y in [*low, *reversed(high)]]),
        chance="",
        marks=marks,
    )


def roc_chart(curve: Curve, summary: str) -> Chart:
    """Lay out a ROC curve.

    Parameters
    ----------
    curve
        False-positive rate (x) and sensitivity (y), both 0 to 1.
    summary
        The same in words.

    Returns
    -------
    Chart
        With the diagonal of pure chance.
    """
    edge = [*zip(curve.band_x, curve.band_low, strict=True)]
    edge += [*zip(reversed(curve.band_x), reversed(curve.band_high), strict=True)]
    fifths = [step / 5 for step in range(6)]
    return Chart(
        name="roc",
        title="Slides: ROC",
        summary=summary,
        x_label="normal slides called tumour (1 − specificity)",
        y_label="tumour slides found (sensitivity)",
        x_ticks=tuple(Tick(_unit_x(value), f"{value:g}") for value in fifths),
        y_ticks=_unit_ticks_y(),
        curve=_points([(_unit_x(x), _unit_y(y)) for x, y in zip(curve.x, curve.y, strict=True)]),
        band=_points([(_unit_x(x), _unit_y(y)) for x, y in edge]),
        chance=_points([(_unit_x(0), _unit_y(0)), (_unit_x(1), _unit_y(1))]),
        marks=(),
    )


def _on_axis(x: Sequence[float], y: Sequence[float], axis: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Follow a curve along an axis that bends its straight lines: through its own points and many between them.

    Beyond its last point the curve goes on level, as every rule reads it.
    """
    if not len(x):
        return []
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    order = np.lexsort((ys, xs))
    xs, ys = xs[order], ys[order]
    between = axis[~np.isin(axis, xs)]
    on_axis = (xs >= axis[0]) & (xs <= axis[-1])
    all_x = np.concatenate([xs[on_axis], between])
    all_y = np.concatenate([ys[on_axis], np.interp(between, xs, ys)])
    order = np.lexsort((all_y, all_x))
    return [*zip(all_x[order].tolist(), all_y[order].tolist(), strict=True)]


def _unit_ticks_y() -> tuple[Tick, ...]:
    return tuple(Tick(_unit_y(step / 5), f"{step / 5:g}") for step in range(6))


def _froc_x(value: float) -> float:
    share = math.log2(value / _FROC_START) / math.log2(FROC_TARGETS[-1] / _FROC_START)
    return round(_LEFT + (_RIGHT - _LEFT) * share, 1)


def _unit_x(value: float) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * value, 1)


def _unit_y(value: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value, 1)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _in_words(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f", interval {interval[0]:.3f} to {interval[1]:.3f}"
