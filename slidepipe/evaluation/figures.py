"""FROC and ROC curves as figures, in SVG and PNG.

Drawn without any global state of Matplotlib, and so that equal results give equal bytes: no date, no random names.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from slidepipe.evaluation.auc_result import AucResult
from slidepipe.evaluation.froc_result import FrocResult
from slidepipe.evaluation.rules import FROC_RATES
from slidepipe.storage.publish import atomic_path

_INK = "#22313f"
_LINE = "#1f5fa8"
_FIGURE_SIZE = (5.2, 4.2)
_DPI = 200


def draw_froc(result: FrocResult) -> Figure:
    """Draw the FROC curve of one rule, with its confidence band and the six points of the score.

    Parameters
    ----------
    result
        Score with its curve.

    Returns
    -------
    Figure
        Sensitivity against false positives per slide from 1/8 to 8, on a logarithmic axis.
    """
    figure, axes = _axes()
    curve = result.curve
    rates = np.geomspace(0.125, 8, 400)
    axes.plot(rates, curve.sensitivity_at(rates.tolist()), color=_LINE, linewidth=1.8)
    if result.band is not None:
        seen = result.band.x >= rates[0]
        axes.fill_between(
            result.band.x[seen],
            result.band.low[seen],
            result.band.high[seen],
            color=_LINE,
            alpha=0.18,
            linewidth=0,
        )
    axes.plot(FROC_RATES, result.sensitivity_at, "o", color=_LINE, markersize=4.5, clip_on=False, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.125, 8)
    axes.set_xticks(FROC_RATES, ["1/4", "1/2", "1", "2", "4", "8"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(
        "False positives per tumour-free slide"
        if curve.rule.normal_slides_only
        else "False positives per slide"
    )
    axes.set_ylabel("Lesions found")
    interval = result.score_interval
    ends = "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"
    axes.set_title(
        f"FROC score {result.score:.3f}{ends}, rule {result.rule}", fontsize=10, loc="left", color=_INK
    )
    _caption(
        figure,
        f"{result.n_slides} slides, {result.n_normal} normal; {result.n_targets} lesions, {result.n_itc} of isolated "
        f"tumour cells ignored; {len(result.excluded)} slides excluded",
    )
    return figure


def draw_roc(result: AucResult) -> Figure:
    """Draw the ROC curve of the slides, with its confidence band.

    Parameters
    ----------
    result
        Slide-level result.

    Returns
    -------
    Figure
        True against false positive rate.
    """
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="#b8c0c8", linewidth=0.8)
    axes.plot(result.curve.false_positive_rate, result.curve.true_positive_rate, color=_LINE, linewidth=1.8)
    if result.band is not None:
        axes.fill_between(
            result.band.x, result.band.low, result.band.high, color=_LINE, alpha=0.18, linewidth=0
        )
    axes.set_xlim(-0.01, 1.01)
    axes.set_xlabel("Normal slides called positive")
    axes.set_ylabel("Tumour slides called positive")
    ends = "" if result.interval is None else f" ({result.interval.low:.3f} to {result.interval.high:.3f})"
    axes.set_title(f"AUC {result.value:.3f}{ends}", fontsize=10, loc="left", color=_INK)
    n_tumour = int(np.count_nonzero(result.labels))
    _caption(figure, f"{len(result.labels)} slides, {n_tumour} with tumour; {len(result.excluded)} excluded")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure.

    Parameters
    ----------
    figure
        The figure.
    path
        File to write or replace, ``.svg`` or ``.png``. Equal figures give equal bytes.
    """
    # Matplotlib finds the format by the name's end, which a temporary name has not.
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with (
        mpl.rc_context({"svg.hashsalt": "slidepipe", "svg.fonttype": "path"}),
        atomic_path(path) as temporary,
    ):
        figure.savefig(temporary, format=kind, dpi=_DPI, metadata=metadata)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_FIGURE_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_ylim(-0.01, 1.01)
    axes.grid(color="#e3e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=_INK)
    return figure, axes


def _caption(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=7, color="#5c6770", x=0.02, ha="left")
