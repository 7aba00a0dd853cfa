"""The evaluation as JSON: one documented, versioned format for reports, papers and other programs.

The format is described key by key in ``schema.json`` beside this module (JSON Schema). ``froc`` holds the main rule,
``froc_other_rules`` the others in the same form. Numbers that do not exist are null, never NaN.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.evaluation.auc_result import AucResult
from slidepipe.evaluation.bootstrap import Interval
from slidepipe.evaluation.evaluate import Evaluation
from slidepipe.evaluation.froc import FrocCurve
from slidepipe.evaluation.froc_result import Band, FrocResult
from slidepipe.evaluation.groups import GroupMetric, GroupResult
from slidepipe.evaluation.operating_point import Confusion
from slidepipe.evaluation.reading_load import ReadingLoad
from slidepipe.evaluation.rules import FROC_RATES

FORMAT = "slidepipe-evaluation"
"""Name of the format, in key ``format``."""
VERSION = 1
"""Version of the format, in key ``version``. It grows when a key changes its meaning or goes; new keys do not count."""


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Lay an evaluation out as JSON.

    Parameters
    ----------
    evaluation
        What was found.

    Returns
    -------
    dict
        Plain dictionaries, lists, text, finite numbers and None, as ``schema.json`` describes. Equal evaluations give
        equal results; nothing tells when or where it was made.
    """
    main, *others = evaluation.froc or (None,)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "froc": None if main is None else _froc(main),
        "froc_other_rules": [_froc(each) for each in others if each is not None],
        "auc": None if evaluation.auc is None else _auc(evaluation.auc, evaluation.settings.confidence),
        "centres": [_group(each) for each in evaluation.centres],
        "size_classes": [_group(each) for each in evaluation.size_classes],
        "reading": None if evaluation.reading is None else _reading(evaluation.reading),
        "operating_point": asdict(evaluation.operating_point),
        "slides": _slides(evaluation),
        "notes": list(evaluation.notes),
        "settings": asdict(evaluation.settings),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def json_schema() -> dict[str, Any]:
    """Read the JSON Schema of the format.

    Returns
    -------
    dict
        Draft 2020-12.
    """
    text = resources.files("slidepipe.evaluation").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _froc(result: FrocResult) -> dict[str, Any]:
    intervals = result.sensitivity_intervals
    return {
        "rule": result.rule,
        "compat": result.compat,
        "score": result.score,
        **_ends(result.score_interval),
        "false_positives_per_slide": FROC_RATES,
        "sensitivity_at": result.sensitivity_at,
        "sensitivity_ci": [(each.low, each.high) for each in intervals] or None,
        "sensitivity_ci_bca": [(each.bca_low, each.bca_high) for each in intervals] or None,
        "n_slides": result.n_slides,
        "n_normal": result.n_normal,
        "n_tumor": result.n_slides - result.n_normal,
        "n_targets": result.n_targets,
        "n_itc": result.n_itc,
        "excluded": [asdict(each) for each in result.excluded],
        "curve": _corners(result.curve),
        "band": _band(result.band, "false_positives_per_slide"),
    }


def _auc(result: AucResult, confidence: float) -> dict[str, Any]:
    return {
        "value": result.value,
        **_ends(result.interval),
        "ci_delong": result.delong,
        "n_slides": len(result.slide_ids),
        "n_normal": np.count_nonzero(~result.labels),
        "n_tumor": np.count_nonzero(result.labels),
        "average_precision": result.average_precision,
        "sensitivity_at_specificity": [
            {"specificity": specificity, "sensitivity": sensitivity}
            for specificity, sensitivity in result.sensitivity_at_specificity
        ],
        "calibration": None if result.calibration is None else asdict(result.calibration),
        "confusion": _confusion(result.confusion, confidence),
        "excluded": [asdict(each) for each in result.excluded],
        "curve": {
            "threshold": result.curve.threshold,
            "false_positive_rate": result.curve.false_positive_rate,
            "true_positive_rate": result.curve.true_positive_rate,
        },
        "band": _band(result.band, "false_positive_rate"),
    }


def _confusion(counts: Confusion, confidence: float) -> dict[str, Any]:
    return {
        **asdict(counts),
        "sensitivity": counts.sensitivity,
        "sensitivity_ci": counts.sensitivity_interval(confidence),
        "specificity": counts.specificity,
        "specificity_ci": counts.specificity_interval(confidence),
    }


def _ends(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {"ci": None, "ci_bca": None, "confidence": None, "n_resamples": 0}
    return {
        "ci": (interval.low, interval.high),
        "ci_bca": (interval.bca_low, interval.bca_high),
        "confidence": interval.confidence,
        "n_resamples": interval.n_resamples,
    }


def _corners(curve: FrocCurve) -> dict[str, Any]:
    """Points at which a curve turns: those inside a run of equal sensitivity are on the line between its ends."""
    values = np.nan_to_num(curve.sensitivity)
    changes = np.diff(values) != 0
    is_corner = np.ones(len(values), dtype=np.bool_)
    is_corner[1:-1] = changes[:-1] | changes[1:]
    return {
        "threshold": curve.threshold[is_corner],
        "false_positives_per_slide": curve.false_positives_per_slide[is_corner],
        "sensitivity": curve.sensitivity[is_corner],
    }


def _band(band: Band | None, x_name: str) -> dict[str, Any] | None:
    return None if band is None else {x_name: band.x, "low": band.low, "high": band.high}


def _group(group: GroupResult) -> dict[str, Any]:
    return {
        "name": group.name,
        "n_slides": group.n_slides,
        "n_tumor": group.n_tumour,
        "n_targets": group.n_targets,
        "froc_score": _metric(group.froc),
        "auc": _metric(group.auc),
        "is_worse": group.is_worse,
    }


def _metric(metric: GroupMetric | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    rest = metric.versus_rest
    return {
        "value": metric.value,
        "ci": None if metric.low is None else (metric.low, metric.high),
        "versus_rest": None
        if rest is None
        else {
            "difference": rest.difference,
            "ci": (rest.low, rest.high),
            "p_value": rest.p_value,
            "is_worse": rest.is_worse,
        },
    }


def _reading(load: ReadingLoad) -> dict[str, Any]:
    return {
        **asdict(load),
        "regions_per_slide": load.regions_per_slide,
        "n_targets": load.n_targets,
        "n_missed": load.n_missed,
    }


def _slides(evaluation: Evaluation) -> list[dict[str, Any]]:
    threshold = evaluation.operating_point.lesion_threshold
    hits = {each.slide_id: each for each in evaluation.froc[0].hits} if evaluation.froc else {}
    rows = []
    for slide in evaluation.slides:
        found = hits.get(slide.slide_id)
        rows.append(
            {
                "slide_id": slide.slide_id,
                "label": slide.label,
                "size_class": slide.size_class,
                "centre": slide.centre,
                "probability": slide.probability,
                "excluded_from": slide.excluded_from,
                "exclusion_reason": slide.exclusion_reason or None,
                "n_targets": None if found is None else found.n_targets,
                "n_found": None if found is None else _count(found.lesion_probability, threshold),
                "n_itc": None if found is None else found.n_itc,
                "n_false_positives": None
                if found is None
                else _count(found.false_positive_probability, threshold),
            }
        )
    return rows


def _count(probabilities: NDArray[np.float64], threshold: float) -> int:
    return int(np.count_nonzero((probabilities >= threshold) & (probabilities > 0)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
