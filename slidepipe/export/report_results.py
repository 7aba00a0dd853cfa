"""The evaluation as the report shows it: headline figures, curves, tables and what became of each slide.

Everything is read from the evaluation's JSON document by its documented keys, so this room need not know the one that
wrote it. Whatever the document lacks is left out of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from slidepipe.errors import ExportError
from slidepipe.export.report_charts import FROC_TARGET_NAMES, Chart, Curve, froc_chart, roc_chart
from slidepipe.export.report_json import Json, count, interval, intervals, number, numbers, part, parts, text
from slidepipe.export.report_tables import Table, percent, read_tables, span, three_digits

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that stands large, with what it means."""

    label: str
    value: str
    interval: str
    """Confidence interval in words; empty without one."""
    note: str
    """Rule and counts: what the number is about."""


@dataclass(frozen=True, slots=True)
class SlideResult:
    """What became of the lesions of one slide, at the threshold from which detections are shown."""

    n_missed: int | None
    """Target lesions without a hit; None where lesions were not judged."""
    n_false_positives: int | None


@dataclass(frozen=True, slots=True)
class Results:
    """All that was evaluated; everything is empty where nothing was."""

    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    slides: Mapping[str, SlideResult] = field(default_factory=dict)
    """By slide name."""


def read_results(evaluation: Json) -> Results:
    """Read what the report shows of an evaluation.

    Parameters
    ----------
    evaluation
        The evaluation's JSON document, version 1; empty if nothing was evaluated.

    Returns
    -------
    Results
        Without whatever the document lacks.

    Raises
    ------
    ExportError
        If a value is of another kind than it should be.
    """
    froc, auc = part(evaluation, "froc"), part(evaluation, "auc")
    figures = (
        _froc_figure(froc),
        _auc_figure(auc),
        *_call_figures(evaluation),
        _false_positive_figure(evaluation),
    )
    charts = (_froc_chart(froc), _roc_chart(auc))
    notes = evaluation.get("notes") or ()
    return Results(
        figures=tuple(figure for figure in figures if figure is not None),
        notes=tuple(str(note) for note in notes) if isinstance(notes, (list, tuple)) else (str(notes),),
        charts=tuple(chart for chart in charts if chart is not None),
        tables=read_tables(evaluation),
        slides={text(slide, "slide_id"): _slide_result(slide) for slide in parts(evaluation, "slides")},
    )


def _froc_figure(froc: Json) -> Figure | None:
    score = number(froc, "score")
    if score is None:
        return None
    rule = f"rule “{text(froc, 'rule')}”" + (
        " with the artefacts of its script" if froc.get("compat") else ""
    )
    return Figure(
        label="Lesions: FROC score",
        value=three_digits(score),
        interval=_interval_words(froc),
        note=f"{rule}; mean sensitivity at ¼ to 8 false positives per slide; {_counted(froc)}",
    )


def _auc_figure(auc: Json) -> Figure | None:
    value = number(auc, "value")
    if value is None:
        return None
    delong = interval(auc, "ci_delong")
    return Figure(
        label="Slides: area under the ROC",
        value=three_digits(value),
        interval=_interval_words(auc),
        note=_counted(auc) + (f"; DeLong’s interval {span(delong)}" if delong else ""),
    )


def _call_figures(evaluation: Json) -> tuple[Figure, ...]:
    auc = part(evaluation, "auc")
    called = part(auc, "confusion")
    threshold = number(called, "threshold")
    if threshold is None:
        return ()
    source = text(part(evaluation, "operating_point"), "source")
    at = f"at probability {three_digits(threshold)}" + (f" ({source})" if source else "")
    wanted = (
        ("Tumour slides found", "sensitivity", "true_positives", "false_negatives"),
        ("Normal slides cleared", "specificity", "true_negatives", "false_positives"),
    )
    figures = []
    for label, name, right, wrong in wanted:
        share, ends = number(called, name), interval(called, f"{name}_ci")
        n_right, n_wrong = count(called, right) or 0, count(called, wrong) or 0
        if share is not None:
            note = f"{n_right:,} of {n_right + n_wrong:,}, {at}"
            words = "" if ends is None else _coverage(auc) + _percent_span(ends)
            figures.append(Figure(label, percent(share), words, note))
    return tuple(figures)


def _false_positive_figure(evaluation: Json) -> Figure | None:
    reading = part(evaluation, "reading")
    shown, threshold = number(reading, "false_positives_per_slide"), number(reading, "threshold")
    if shown is None or threshold is None:
        return None
    clean = number(reading, "share_without_false_positive")
    note = f"lesions shown in vain, at probability {three_digits(threshold)}"
    return Figure(
        label="False positives per slide",
        value=f"{shown:.2f}",
        interval="",
        note=note + ("" if clean is None else f"; none on {percent(clean)} of the slides"),
    )


def _froc_chart(froc: Json) -> Chart | None:
    curve = _curve(froc, "false_positives_per_slide", "sensitivity")
    if curve is None:
        return None
    at, ends = _six(numbers(froc, "sensitivity_at")), _six(intervals(froc, "sensitivity_ci"))
    read = [
        f"{value:.3f} at {name}"
        for value, name in zip(at, FROC_TARGET_NAMES, strict=True)
        if value is not None
    ]
    summary = (
        f"Sensitivity for lesions by rule {text(froc, 'rule')}: {', '.join(read)} false positives per slide."
    )
    return froc_chart(curve, at, ends, summary)


def _six(values: Sequence[_Value | None]) -> Sequence[_Value | None]:
    if values and len(values) != len(FROC_TARGET_NAMES):
        raise ExportError(
            f"the evaluation has {len(values)} sensitivities, expected {len(FROC_TARGET_NAMES)}"
        )
    return values or (None,) * len(FROC_TARGET_NAMES)


def _roc_chart(auc: Json) -> Chart | None:
    curve = _curve(auc, "false_positive_rate", "true_positive_rate")
    value = number(auc, "value")
    if curve is None or value is None:
        return None
    return roc_chart(
        curve, f"Sensitivity for slides against one minus specificity; the area under it is {value:.3f}."
    )


def _curve(result: Json, x_name: str, y_name: str) -> Curve | None:
    """Read a curve with its band; None if there is none, or it has no values."""
    points, band = part(result, "curve"), part(result, "band")
    x, y = _all_finite(points, x_name), _all_finite(points, y_name)
    if not x or len(x) != len(y):
        return None
    edges = _all_finite(band, x_name), _all_finite(band, "low"), _all_finite(band, "high")
    if len({len(edge) for edge in edges}) > 1:
        edges = (), (), ()
    return Curve(x, y, *edges)


def _all_finite(document: Json, key: str) -> tuple[float, ...]:
    values = [value for value in numbers(document, key) if value is not None]
    return tuple(values) if len(values) == len(numbers(document, key)) else ()


def _slide_result(slide: Json) -> SlideResult:
    targets, found = count(slide, "n_targets"), count(slide, "n_found")
    missed = None if targets is None or found is None else targets - found
    return SlideResult(missed, count(slide, "n_false_positives"))


def _counted(result: Json) -> str:
    """Say on what a number rests, in words."""
    names = (
        ("n_slides", "{:,} slides"), ("n_normal", ", {:,} of them normal"), ("n_targets", "; {:,} target lesions"),
        ("n_itc", ", {:,} of isolated tumour cells left out"),
    )  # fmt: skip
    counts = ((count(result, key), words) for key, words in names)
    return "".join(words.format(n) for n, words in counts if n is not None)


def _interval_words(result: Json) -> str:
    ends = interval(result, "ci")
    return "" if ends is None else _coverage(result) + span(ends)


def _coverage(result: Json) -> str:
    confidence = number(result, "confidence")
    return "" if confidence is None else f"{100 * confidence:g} %: "


def _percent_span(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f} to {percent(ends[1])}"
