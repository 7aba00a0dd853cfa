"""Results as plain text: for a terminal, a log, a message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slidepipe.evaluation.auc_result import AucResult
from slidepipe.evaluation.bootstrap import Interval
from slidepipe.evaluation.compare import Comparison, Difference
from slidepipe.evaluation.evaluate import Evaluation
from slidepipe.evaluation.froc_result import Exclusion, FrocResult
from slidepipe.evaluation.groups import GroupMetric, GroupResult
from slidepipe.evaluation.operating_point import OperatingPoint
from slidepipe.evaluation.reading_load import ReadingLoad

_RATE_NAMES = ("1/4", "1/2", "1", "2", "4", "8")


def evaluation_text(evaluation: Evaluation) -> str:
    """Tell an evaluation in tables of plain text.

    Parameters
    ----------
    evaluation
        What was found.

    Returns
    -------
    str
        Several lines, each score with its rule, its counts and what was excluded.
    """
    parts: list[str] = [_froc_text(each) for each in evaluation.froc]
    if evaluation.auc is not None:
        parts.append(_auc_text(evaluation.auc, evaluation.operating_point))
    if evaluation.reading is not None:
        parts.append(_reading_text(evaluation.reading))
    if evaluation.centres:
        parts.append(_groups_text("By centre", evaluation.centres))
    if evaluation.size_classes:
        parts.append(_groups_text("By size of metastasis, with all normal slides", evaluation.size_classes))
    if evaluation.notes:
        parts.append("\n".join(["Notes", *(f"  {note}" for note in evaluation.notes)]))
    return "\n\n".join(parts) + "\n"


def comparison_text(comparisons: Sequence[Comparison]) -> str:
    """Tell comparisons in tables of plain text.

    Parameters
    ----------
    comparisons
        From `slidepipe.evaluation.compare.compare`.

    Returns
    -------
    str
        Several lines.
    """
    parts = []
    for each in comparisons:
        percent = f"{100 * each.confidence:g} %"
        rows = [("", "A", "B", "A - B", f"{percent} interval", "p")]
        for froc in each.froc:
            rows.append(_difference_row(f"FROC score, rule {froc.rule}", froc.score))
            named = zip(_RATE_NAMES, froc.sensitivity_at, strict=True)
            rows += [_difference_row(f"  sensitivity at {name}", value) for name, value in named]
        if each.auc is not None:
            rows.append(_difference_row("AUC", each.auc.auc))
            rows.append(
                ("  DeLong's test", "", "", "", _ends(*each.auc.delong.interval), _p(each.auc.delong.p_value))
            )
        counts = {froc.n_slides for froc in each.froc} | ({each.auc.n_slides} if each.auc else set())
        slides = " and ".join(str(count) for count in sorted(counts))
        parts.append(f"A: {each.first}\nB: {each.second}\nPaired on the same {slides} slides\n{_table(rows)}")
    return "\n\n".join(parts) + "\n"


def _froc_text(result: FrocResult) -> str:
    compat = ", with the artefacts of the script" if result.compat else ""
    intervals: Sequence[Interval | None] = result.sensitivity_intervals or [None] * len(_RATE_NAMES)
    rows = [("false positives per slide", "sensitivity", "interval")]
    named = zip(_RATE_NAMES, result.sensitivity_at, intervals, strict=True)
    rows += [(name, f"{value:.4f}", _interval(interval)) for name, value, interval in named]
    return "\n".join(
        [
            f"FROC score {result.score:.4f}{_with_interval(result.score_interval)}, rule {result.rule}{compat}",
            f"  {result.n_slides} slides, {result.n_normal} normal; {result.n_targets} target lesions, {result.n_itc} "
            "of isolated tumour cells only (ignored)",
            *_excluded(result.excluded),
            _table(rows),
        ]
    )


def _auc_text(result: AucResult, point: OperatingPoint) -> str:
    counts = result.confusion
    lines = [
        f"AUC {result.value:.4f}{_with_interval(result.interval)}, DeLong {_ends(*result.delong)}",
        f"  {len(result.labels)} slides, {int(result.labels.sum())} with tumour; average precision "
        f"{result.average_precision:.4f}",
        *_excluded(result.excluded),
    ]
    for specificity, sensitivity in result.sensitivity_at_specificity:
        lines.append(f"  sensitivity at {specificity:.0%} specificity: {sensitivity:.4f}")
    if result.calibration is not None:
        lines.append(
            f"  Brier score {result.calibration.brier:.4f}, mean calibration error "
            f"{result.calibration.expected_error:.4f}"
        )
    lines.append(
        f"  at threshold {counts.threshold:g} ({point.source}): {counts.true_positives} of "
        f"{counts.true_positives + counts.false_negatives} tumour slides and {counts.true_negatives} of "
        f"{counts.true_negatives + counts.false_positives} normal slides called right"
    )
    return "\n".join(lines)


def _reading_text(load: ReadingLoad) -> str:
    rows = [
        ("false positives per slide", f"{load.false_positives_per_slide:.2f}"),
        ("false positives per normal slide", _number(load.false_positives_per_normal_slide, ".2f")),
        ("slides without a false positive", f"{load.share_without_false_positive:.0%}"),
        (
            "normal slides without a false positive",
            _number(load.share_of_normal_without_false_positive, ".0%"),
        ),
        ("lesions missed", f"{load.n_missed} of {load.n_targets}"),
    ]
    for size in load.lesions_by_size:
        span = f"{size.low_um:g} to {size.high_um:g} µm" if size.high_um else f"{size.low_um:g} µm and more"
        rows.append((f"  {span}", f"{size.n_missed} of {size.n_lesions}"))
    wanted = f"regions to look at to find {load.wanted_share:.0%} of the lesions"
    if load.regions_to_look_at is None:
        rows.append(
            (wanted, f"not reached: {_number(load.reachable_share, '.0%')} are found with all regions")
        )
    else:
        rows.append((wanted, f"{load.regions_to_look_at} ({load.regions_per_slide:.1f} a slide)"))
    return f"For the reader, detections of probability {load.threshold:g} and more\n{_table(rows)}"


def _groups_text(title: str, groups: Iterable[GroupResult]) -> str:
    rows = [("", "slides", "lesions", "FROC score", "interval", "AUC", "interval", "")]
    rows += [
        (
            group.name,
            str(group.n_slides),
            "-" if group.n_targets is None else str(group.n_targets),
            *_metric(group.froc),
            *_metric(group.auc),
            "worse than the rest beyond chance" if group.is_worse else "",
        )
        for group in groups
    ]
    return f"{title}\n{_table(rows)}"


def _metric(metric: GroupMetric | None) -> tuple[str, str]:
    if metric is None:
        return "-", ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4f}", ""
    return f"{metric.value:.4f}", _ends(metric.low, metric.high)


def _difference_row(name: str, value: Difference) -> tuple[str, str, str, str, str, str]:
    return (
        name,
        f"{value.first:.4f}",
        f"{value.second:.4f}",
        f"{value.difference:+.4f}",
        _ends(value.low, value.high),
        _p(value.p_value),
    )


def _excluded(excluded: Sequence[Exclusion]) -> list[str]:
    if not excluded:
        return ["  no slide excluded"]
    return [f"  excluded: {each.slide_id} ({each.reason})" for each in excluded]


def _with_interval(interval: Interval | None) -> str:
    return "" if interval is None else f" ({100 * interval.confidence:g} % interval {_interval(interval)})"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else _ends(interval.low, interval.high)


def _ends(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, the others to the right; two spaces between."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
