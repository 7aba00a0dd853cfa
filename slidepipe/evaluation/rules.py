"""What "the CAMELYON16 FROC" is: three scripts of the organisers, and one without their artefacts.

The rules share one matching step (`slidepipe.evaluation.matching`) and one curve (`slidepipe.evaluation.froc`). They
differ in six things, which are the fields of `FrocRule`:

============  =============  ================  =================  ==============  ==================
rule          spacing of a   mask pixel of a   false positives    sensitivity at  keeps slides without
              mask pixel     detection at v    are counted on     a rate          exhaustive outlines
============  =============  ================  =================  ==============  ==================
public        7.776 µm       trunc(v / step)   all slides         interpolated    no
leaderboard   7.776 µm       floor(v / step)   tumour-free ones   nearest point   no
release       the slide's    round(v / step)   all slides         first point at  yes
                                                                  or above
exact         the slide's    floor(v / step)   all slides         interpolated    no
============  =============  ================  =================  ==============  ==================

*public* is what NCRF, MONAI and most papers since compute; *leaderboard* gave the numbers of the JAMA paper and of the
challenge's page; *release* is shipped with the open data; *exact* is public with the slide's own pixel size.

The scripts have two more artefacts, imitated only where *compat* is asked for: *public* and *leaderboard* keep the
probability of a found lesion as float32 but that of a false positive as float64, which breaks ties, and they drop the
lowest threshold whatever it is, which loses the weakest detection when every lesion is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RuleName = Literal["public", "leaderboard", "release", "exact"]
"""Names of the rules."""

FROC_RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per slide at which sensitivity is read; the score is the mean of the six."""

OFFICIAL_PIXEL_UM = 0.243 * 2**5
"""Side of a level-5 pixel in µm that *public* and *leaderboard* assume for every slide: 7.776."""

Curves = NDArray[np.float64]
"""Curves of shape (n_curves, n_points), each rising along its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrocRule:
    """One definition of the FROC score."""

    name: RuleName
    own_spacing: bool
    """Whether distances use the slide's own pixel size; else 7.776 µm per mask pixel for every slide."""
    pixel: Callable[[NDArray[np.float64], float], NDArray[np.int64]]
    """Index of the mask pixel of level-0 coordinates, given the step of the mask in level-0 pixels."""
    normal_slides_only: bool
    """Whether false positives are counted on tumour-free slides only, and divided by their number."""
    read: Callable[[Curves, Curves, NDArray[np.float64]], Curves]
    """Sensitivity at wanted rates, from the false positives per slide and the sensitivity of the curve's points."""
    keeps_incomplete: bool
    """Whether slides whose outlines are known to be incomplete (test_114) are scored all the same."""
    has_artefacts: bool
    """Whether the script behind it rounds to float32 and drops the lowest threshold, imitated by *compat*."""


def truncated(values_px0: NDArray[np.float64], step_px0: float) -> NDArray[np.int64]:
    """Mask pixel of a coordinate, cut towards zero: ``int(v / step)``.

    Parameters
    ----------
    values_px0
        Coordinates along one axis.
    step_px0
        Level-0 pixels per mask pixel.

    Returns
    -------
    ndarray
        int64 index along that axis.
    """
    return np.trunc(np.trunc(values_px0) / step_px0).astype(np.int64)


def floored(values_px0: NDArray[np.float64], step_px0: float) -> NDArray[np.int64]:
    """Mask pixel that a coordinate falls into.

    Parameters
    ----------
    values_px0
        Coordinates along one axis.
    step_px0
        Level-0 pixels per mask pixel.

    Returns
    -------
    ndarray
        int64 index along that axis.
    """
    return np.floor(values_px0 / step_px0).astype(np.int64)


def rounded(values_px0: NDArray[np.float64], step_px0: float) -> NDArray[np.int64]:
    """Mask pixel whose index is nearest, halves to the even one: ``round(int(v) / step)``.

    Parameters
    ----------
    values_px0
        Coordinates along one axis; their fraction is cut off first, as the script does.
    step_px0
        Level-0 pixels per mask pixel.

    Returns
    -------
    ndarray
        int64 index along that axis. In the last half pixel of the mask it lies outside the mask.
    """
    return np.rint(np.trunc(values_px0) / step_px0).astype(np.int64)


def interpolated(rates: Curves, sensitivity: Curves, wanted: NDArray[np.float64]) -> Curves:
    """Read curves by linear interpolation, as ``numpy.interp`` does on one curve.

    Parameters
    ----------
    rates
        False positives per slide of each point, rising along rows from 0.
    sensitivity
        Sensitivity of each point, same shape.
    wanted
        Rates to read at, shape (n,), 0 or more.

    Returns
    -------
    ndarray
        Shape (n_curves, n). Where points share a rate the highest sensitivity counts; beyond the last point its
        value is kept.
    """
    last = _search(rates, wanted, "right") - 1
    following = np.minimum(last + 1, rates.shape[1] - 1)
    start, gap = _take(rates, last), _take(rates, following) - _take(rates, last)
    share = np.where(gap > 0, (wanted - start) / np.where(gap > 0, gap, 1.0), 0.0)
    low = _take(sensitivity, last)
    return np.asarray(low + share * (_take(sensitivity, following) - low))


def nearest(rates: Curves, sensitivity: Curves, wanted: NDArray[np.float64]) -> Curves:
    """Read curves at the point whose rate is nearest, without interpolation.

    Parameters
    ----------
    rates
        False positives per slide of each point, rising along rows from 0.
    sensitivity
        Sensitivity of each point, same shape.
    wanted
        Rates to read at, shape (n,), 0 or more.

    Returns
    -------
    ndarray
        Shape (n_curves, n). Of points equally near, that of the lowest threshold counts.
    """
    below = _search(rates, wanted, "right") - 1
    above = np.minimum(below + 1, rates.shape[1] - 1)
    low, high = _take(rates, below), _take(rates, above)
    chosen = np.where(np.abs(high - wanted) <= np.abs(low - wanted), high, low)
    return _take(sensitivity, _search(rates, chosen, "right") - 1)


def first_reached(rates: Curves, sensitivity: Curves, wanted: NDArray[np.float64]) -> Curves:
    """Read curves at the first point that reaches a rate, without interpolation.

    Parameters
    ----------
    rates
        False positives per slide of each point, rising along rows from 0.
    sensitivity
        Sensitivity of each point, same shape.
    wanted
        Rates to read at, shape (n,), 0 or more.

    Returns
    -------
    ndarray
        Shape (n_curves, n). A rate that is never reached is read at the last point.
    """
    return _take(sensitivity, np.minimum(_search(rates, wanted, "left"), rates.shape[1] - 1))


def _search(rows: Curves, wanted: NDArray[np.float64], side: Literal["left", "right"]) -> NDArray[np.intp]:
    each = np.broadcast_to(wanted, (len(rows), wanted.shape[-1]))
    return np.stack([np.searchsorted(row, values, side=side) for row, values in zip(rows, each, strict=True)])


def _take(rows: Curves, index: NDArray[np.intp]) -> Curves:
    return np.take_along_axis(rows, index, axis=1)


RULES: Mapping[RuleName, FrocRule] = MappingProxyType(
    {
        "public": FrocRule(
            name="public",
            own_spacing=False,
            pixel=truncated,
            normal_slides_only=False,
            read=interpolated,
            keeps_incomplete=False,
            has_artefacts=True,
        ),
        "leaderboard": FrocRule(
            name="leaderboard",
            own_spacing=False,
            pixel=floored,
            normal_slides_only=True,
            read=nearest,
            keeps_incomplete=False,
            has_artefacts=True,
        ),
        "release": FrocRule(
            name="release",
            own_spacing=True,
            pixel=rounded,
            normal_slides_only=False,
            read=first_reached,
            keeps_incomplete=True,
            has_artefacts=False,
        ),
        "exact": FrocRule(
            name="exact",
            own_spacing=True,
            pixel=floored,
            normal_slides_only=False,
            read=interpolated,
            keeps_incomplete=False,
            has_artefacts=False,
        ),
    }
)
"""The rules by name.

Sources: *public* ``Python/Evaluation_FROC.py`` of https://github.com/computationalpathologygroup/Camelyon16, with the
score of https://github.com/baidu-research/NCRF (``wsi/bin/Evaluation_FROC.py``); *leaderboard* the organisers' script
as used by CULab (``basic/analysis/Evaluation_Babak.py`` of https://github.com/Ryanrenqian/camelyon16); *release* the
script in ``evaluation/`` of the open data, a copy in ``froc.py`` of https://github.com/jafarinia/snuffy."""
