"""The tables of the report: what a pathologist asks, centres and sizes, other rules, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

from slidepipe.export.report_charts import FROC_TARGET_NAMES
from slidepipe.export.report_json import Json, count, interval, number, numbers, part, parts, text

_NOTHING = "–"
_CENTRES = "Each is compared with all other slides; “worse” means beyond chance, corrected for the number of centres."
_SIZES = "Slides of this size together with all normal slides."
_METRIC_COLUMNS = ("FROC score", "Interval", "AUC", "Interval")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of words and numbers, ready to be read."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """As many cells as columns; the first names the row."""


def read_tables(evaluation: Json) -> tuple[Table, ...]:
    """Read the tables of an evaluation.

    Parameters
    ----------
    evaluation
        The evaluation's JSON document, version 1.

    Returns
    -------
    tuple of Table
        Only those that have rows.

    Raises
    ------
    ExportError
        If a value is of another kind than it should be.
    """
    tables = (
        _reading_table(part(evaluation, "reading")),
        _slide_level_table(part(evaluation, "auc")),
        _group_table("By centre", _CENTRES, parts(evaluation, "centres")),
        _group_table("By size of the largest metastasis", _SIZES, parts(evaluation, "size_classes")),
        _rules_table(evaluation),
        _excluded_table(evaluation),
    )
    return tuple(table for table in tables if table.rows)


def three_digits(value: float | None) -> str:
    """Write a number between 0 and 1.

    Parameters
    ----------
    value
        The number, or None.

    Returns
    -------
    str
        Three decimals, or a dash.
    """
    return _NOTHING if value is None else f"{value:.3f}"


def percent(share: float | None) -> str:
    """Write a share in per cent.

    Parameters
    ----------
    share
        0 to 1, or None.

    Returns
    -------
    str
        One decimal, or a dash.
    """
    return _NOTHING if share is None else f"{100 * share:.1f} %"


def span(ends: tuple[float, float] | None) -> str:
    """Write an interval.

    Parameters
    ----------
    ends
        Lower and upper end, or None.

    Returns
    -------
    str
        Three decimals each, or a dash.
    """
    return _NOTHING if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _reading_table(reading: Json) -> Table:
    threshold = number(reading, "threshold")
    rows: list[tuple[str, str]] = []
    if threshold is not None:
        n_missed, n_targets = count(reading, "n_missed"), count(reading, "n_targets")
        rows = [
            ("False positives per slide", _two_digits(number(reading, "false_positives_per_slide"))),
            (
                "False positives per normal slide",
                _two_digits(number(reading, "false_positives_per_normal_slide")),
            ),
            ("Slides without any false positive", percent(number(reading, "share_without_false_positive"))),
            (
                "Normal slides without any false positive",
                percent(number(reading, "share_of_normal_without_false_positive")),
            ),
            ("Lesions missed", _of(n_missed, n_targets)),
            *(
                (f"of these, {_size_words(size)}", _of(count(size, "n_missed"), count(size, "n_lesions")))
                for size in parts(reading, "lesions_by_size")
                if count(size, "n_lesions")
            ),
            (f"Regions to look at to find {_wanted(reading)} of the lesions", _regions(reading)),
        ]
    return Table(
        title="What a reader meets",
        note=f"Lesions are shown from probability {three_digits(threshold)}. Lesions of isolated tumour cells are "
        "not counted as missed. Size is the length of the reference lesion.",
        columns=("Question", "Answer"),
        rows=tuple(rows),
    )


def _size_words(size: Json) -> str:
    low, high = number(size, "low_um"), number(size, "high_um")
    if not low:
        return "all sizes" if high is None else f"shorter than {high:,.0f} µm"
    return f"{low:,.0f} µm and longer" if high is None else f"{low:,.0f} to {high:,.0f} µm"


def _wanted(reading: Json) -> str:
    share = number(reading, "wanted_share")
    return _NOTHING if share is None else f"{100 * share:g} %"


def _regions(reading: Json) -> str:
    regions, last = count(reading, "regions_to_look_at"), number(reading, "threshold_for_share")
    if regions is None:
        reachable = number(reading, "reachable_share")
        return "not reached" + (
            "" if reachable is None else f": all detections together find {percent(reachable)}"
        )
    per_slide = number(reading, "regions_per_slide")
    words = f"{regions:,}"
    if per_slide is not None:
        words += f", or {per_slide:.1f} per slide"
    return words + ("" if last is None else f" (down to probability {three_digits(last)})")


def _group_table(title: str, note: str, groups: tuple[Json, ...]) -> Table:
    return Table(
        title=title,
        note=note,
        columns=("Group", "Slides", "With tumour", "Targets", *_METRIC_COLUMNS, "Against the rest"),
        rows=tuple(_group_row(group) for group in groups),
    )


def _group_row(group: Json) -> tuple[str, ...]:
    froc, auc = part(group, "froc_score"), part(group, "auc")
    against = [
        f"{name} {_signed(difference)} (p {_p_value(number(rest, 'p_value'))})"
        for name, metric in (("FROC", froc), ("AUC", auc))
        for rest in (part(metric, "versus_rest"),)
        if (difference := number(rest, "difference")) is not None
    ]
    verdict = "worse: " if group.get("is_worse") else ""
    return (
        text(group, "name"),
        *(_whole(count(group, key)) for key in ("n_slides", "n_tumor", "n_targets")),
        *(
            cell
            for metric in (froc, auc)
            for cell in (three_digits(number(metric, "value")), span(interval(metric, "ci")))
        ),
        verdict + ", ".join(against) if against else _NOTHING,
    )


def _rules_table(evaluation: Json) -> Table:
    rules = [rule for rule in (part(evaluation, "froc"), *parts(evaluation, "froc_other_rules")) if rule]
    return Table(
        title="Lesions found, by rule",
        note="Sensitivity at so many false positives per slide. Rules differ in what counts as a false positive, in "
        "the number they divide by and in how the curve is read: compare numbers of one rule only.",
        columns=("Rule", "FROC score", "Interval", *FROC_TARGET_NAMES, "Slides", "Normal", "Targets"),
        rows=tuple(
            (
                text(rule, "rule"),
                three_digits(number(rule, "score")),
                span(interval(rule, "ci")),
                *_padded(tuple(three_digits(value) for value in numbers(rule, "sensitivity_at"))),
                *(_whole(count(rule, key)) for key in ("n_slides", "n_normal", "n_targets")),
            )
            for rule in rules
        ),
    )


def _padded(cells: tuple[str, ...]) -> tuple[str, ...]:
    return (*cells, *(_NOTHING,) * len(FROC_TARGET_NAMES))[: len(FROC_TARGET_NAMES)]


def _slide_level_table(auc: Json) -> Table:
    calibration = part(auc, "calibration")
    wanted = (
        ("Average precision", three_digits(number(auc, "average_precision"))),
        *(
            (
                f"Sensitivity at specificity {number(point, 'specificity')}",
                three_digits(number(point, "sensitivity")),
            )
            for point in parts(auc, "sensitivity_at_specificity")
        ),
        ("Brier score (0 is best)", three_digits(number(calibration, "brier"))),
        ("Mean distance of predicted and true share", three_digits(number(calibration, "expected_error"))),
        *(
            (f"Tumour among slides given {_bin_words(group)}", _bin_share(group))
            for group in parts(calibration, "bins")
        ),
    )
    rows = tuple((name, value) for name, value in wanted if value != _NOTHING)
    return Table("Slides, further figures", "", ("Figure", "Value"), rows)


def _bin_words(group: Json) -> str:
    low, high = number(group, "low"), number(group, "high")
    return f"{low:g} to {high:g}" if low is not None and high is not None else _NOTHING


def _bin_share(group: Json) -> str:
    predicted = number(group, "mean_probability")
    return (
        f"{percent(number(group, 'tumour_share'))} of {_whole(count(group, 'n_slides'))}, "
        f"predicted {percent(predicted)} on average"
    )


def _excluded_table(evaluation: Json) -> Table:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, key in (("lesions", "froc"), ("slides", "auc")):
        for slide in parts(part(evaluation, key), "excluded"):
            reasons.setdefault((text(slide, "slide_id"), text(slide, "reason")), []).append(name)
    return Table(
        title="Left out of the evaluation",
        note="",
        columns=("Slide", "Left out of", "Reason"),
        rows=tuple(
            (slide_id, " and ".join(names), reason) for (slide_id, reason), names in sorted(reasons.items())
        ),
    )


def _two_digits(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"


def _whole(value: int | None) -> str:
    return _NOTHING if value is None else f"{value:,}"


def _of(some: int | None, all_of_them: int | None) -> str:
    return _NOTHING if some is None or all_of_them is None else f"{some:,} of {all_of_them:,}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _p_value(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
