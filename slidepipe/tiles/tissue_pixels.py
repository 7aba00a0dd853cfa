"""Which pixels of an overview are tissue: the rules, on plain arrays.

Two rules are offered. ``otsu`` thresholds the saturation, because glass is grey whatever its brightness and
both stains are coloured. ``ncrf`` is the rule of Li and Ping (Cancer Metastasis Detection With Neural
Conditional Random Field, MIDL 2018; https://github.com/baidu-research/NCRF): saturation above Otsu's
threshold, and not brighter than Otsu's threshold in red, green and blue together, and more than 50 in each of
them. Both fall for two things that a threshold alone cannot see, and so have guards in common:

* *Empty slides.* Otsu's threshold always splits something: on bare glass it splits the noise of the scanner.
  A
  saturation threshold is therefore never lower than a minimum.
* *Black areas.* Regions that were not scanned come out black in some files, and the saturation of nearly
  black
  pixels is noise. They are background, and they do not take part in finding the threshold.

*Pen marks* are far more saturated than tissue and would pull the threshold up. Haematoxylin and eosin both
absorb green more than red, so that the red of stained tissue exceeds its green. Ink is what breaks this
clearly: with V = max(R, G, B) and S = (V - min(R, G, B)) / V,

    coloured ink:  G - R >= 0.1 V      (a hue between 60 and 240 degrees, and S >= 0.1: green, cyan, blue)
    black ink:     V < 110 and S < 0.2

Red ink has the hue of eosin and is not found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_INK_GREEN_OVER_RED = 0.1
_INK_BLACK_VALUE = 110
_INK_BLACK_SATURATION = 0.2


def saturation(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the saturation of the HSV model.

    Parameters
    ----------
    rgb
        uint8, shape (rows, columns, 3).

    Returns
    -------
    ndarray
        uint8, shape (rows, columns): 255 (max - min) / max, rounded; 0 for black.
    """
    brightest = _brightest(rgb)
    darkest = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    spread = (brightest - darkest).astype(np.float32)
    spread *= 255
    spread /= np.maximum(brightest, 1)
    result: NDArray[np.uint8] = np.rint(spread, out=spread).astype(np.uint8)
    return result


def _brightest(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # NumPy takes ten times as long over rgb.max(axis=2).
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def find_ink(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find pen marks: blue, green and black, not red.

    Parameters
    ----------
    rgb
        uint8, shape (rows, columns, 3).

    Returns
    -------
    ndarray
        bool, shape (rows, columns). The formula stands at the top of this module.
    """
    brightest = _brightest(rgb)
    green_over_red = rgb[..., 1].astype(np.int16) - rgb[..., 0]
    coloured = (green_over_red > 0) & (green_over_red >= _INK_GREEN_OVER_RED * brightest)
    black = (brightest < _INK_BLACK_VALUE) & (saturation(rgb) < 255 * _INK_BLACK_SATURATION)
    ink: NDArray[np.bool_] = coloured | black
    return ink


def otsu_threshold(values: NDArray[np.uint8]) -> int:
    """Find the level that best splits grey values in two.

    Parameters
    ----------
    values
        uint8, any shape.

    Returns
    -------
    int
        Values above this level form the upper class, which is empty where all values are equal; 255 where
        there is none at all. The lowest level is taken where several are equally good.

    Notes
    -----
    Maximises the variance between the classes (Otsu, IEEE Trans. SMC 9(1), 1979,
    doi:10.1109/TSMC.1979.4310076).
    """
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    if not counts.any():
        return 255
    if np.count_nonzero(counts) == 1:
        return int(np.argmax(counts))
    levels = np.arange(256)
    below = np.cumsum(counts)
    sum_below = np.cumsum(counts * levels)
    above, total = below[-1] - below, sum_below[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (total * below / below[-1] - sum_below) ** 2 / (below * above)
    return int(np.argmax(np.where((below > 0) & (above > 0), between, -1.0)))


def majority(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Give every pixel the value that most pixels around it have.

    Thresholding the median of an image and taking the majority of the thresholded image are the same thing;
    this is the cheap one.

    Parameters
    ----------
    mask
        bool, shape (rows, columns).
    radius_px
        The square around a pixel has a side of ``2 * radius_px + 1``; 0 changes nothing. Beyond the edge, the
        mask continues with its outermost pixels.

    Returns
    -------
    ndarray
        bool, same shape.
    """
    if radius_px == 0:
        return mask
    side = 2 * radius_px + 1
    counts = mask.astype(np.int32)
    for axis in (0, 1):
        counts = ndimage.correlate1d(counts, np.ones(side), axis=axis, mode="nearest")
    return np.asarray(2 * counts > side * side)


def remove_small(mask: NDArray[np.bool_], min_object_px: float, min_hole_px: float) -> NDArray[np.bool_]:
    """Remove small pieces of a mask, then fill its small holes.

    Parameters
    ----------
    mask
        bool, shape (rows, columns).
    min_object_px
        Pieces of fewer pixels are removed. Pixels that touch at a corner belong together.
    min_hole_px
        Holes of fewer pixels are filled, also those at the edge of the slide. Background pixels that touch at
        a corner only do not belong together.

    Returns
    -------
    ndarray
        bool, same shape.
    """
    kept = mask & ~_pieces_below(mask, min_object_px, np.ones((3, 3), dtype=bool))
    if not kept.any():
        return kept
    return kept | _pieces_below(~kept, min_hole_px, None)


def _pieces_below(
    mask: NDArray[np.bool_], min_px: float, structure: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    if min_px <= 1:
        return np.zeros_like(mask)
    pieces, _ = ndimage.label(mask, structure=structure)
    small = np.bincount(pieces.ravel()) < min_px
    small[0] = False
    return np.asarray(small[pieces])


def grow(mask: NDArray[np.bool_], radius_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Grow a mask by a rectangle.

    Parameters
    ----------
    mask
        bool, shape (rows, columns).
    radius_px
        How far, along x and y.

    Returns
    -------
    ndarray
        bool, same shape: true where the mask is true within the radius.
    """
    grown = mask.astype(np.uint8)
    for axis, radius in ((0, radius_px[1]), (1, radius_px[0])):
        if radius:
            grown = ndimage.maximum_filter1d(grown, 2 * radius + 1, axis=axis, mode="constant", cval=0)
    return grown.astype(bool)
