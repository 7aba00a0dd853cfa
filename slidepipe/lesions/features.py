"""The thirty numbers that describe a heatmap to the slide model: the features of the best system of the challenge.

They are those of HMS and MIT, method II [1]_, with the names and definitions of their reimplementation by the FDA's
DIDSR [2]_, whose table of 266 real training slides they can be compared with. Ten describe the whole slide, for each
threshold t of 0.5, 0.6, ... 0.9:

* ``ratio_cancer_tissue``: cells above t, per cell of tissue;
* ``ratio_sum_tissue``: sum of (probability - t) over the cells above t, per cell of tissue. The paper speaks of the
  sum of probabilities; the published numbers and code are of the excess, since at 0.9 no cell adds more than 0.1.

Ten describe each of the two largest regions above 0.5, by scikit-image's ``regionprops``, lengths and areas in cells:
area, eccentricity, area per bounding box (``extend``), area of the bounding box, major axis, largest, smallest and mean
probability, height by width of the bounding box, and area per convex hull (``solidity``).

Three things differ from the reimplementation. Tissue is what was looked at, the finite cells, where that used a second
Otsu mask. A region at the border of the map counts, where that dropped it. Of two largest regions of equal area the
first in raster order is the largest and the other the second, where that took the next smaller one as the second.

Areas are in cells, so features are only comparable between heatmaps of equal cell size in µm.

.. [1] Ehteshami Bejnordi et al., JAMA 318(22), 2017, supplement. doi:10.1001/jama.2017.14585
.. [2] https://github.com/DIDSR/DeepLearningCamelyon_II
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.components import label_regions

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_REGION_THRESHOLD = 0.5

FEATURE_NAMES: tuple[str, ...] = (
    *(f"ratio_cancer_tissue{round(100 * threshold)}" for threshold in _THRESHOLDS),
    *(f"ratio_sum_tissue{round(100 * threshold)}" for threshold in _THRESHOLDS),
    "largest_area",
    "eccentricity_largest",
    "extend_largest",
    "area_bbox_largest",
    "major_axis_length_largest",
    "maxprob_largest",
    "minprob_largest",
    "aveprob_largest",
    "aspect_ratio_bbox_largest",
    "solidity_largest",
    "second_largest_area",
    "eccentricity_second_largest",
    "extend_second_largest",
    "area_bbox_second_largest",
    "major_axis_length_second_largest",
    "maxprob_second_largest",
    "minprob_second_largest",
    "aveprob_second_largest",
    "aspect_ratio_bbox_second_largest",
    "solidity_second_largest",
)
"""Names of the features, in their order, spelt as in the published table."""


def heatmap_features(heatmap: Heatmap) -> NDArray[np.float64]:
    """Describe a heatmap by thirty numbers.

    Parameters
    ----------
    heatmap
        Tumour probability of one slide; NaN cells are not tissue.

    Returns
    -------
    ndarray
        float64, shape (30,), in the order of `FEATURE_NAMES`, all finite. A region that does not exist has ten zeros; a
        slide without a cell above 0.5, or without any tissue, has thirty.
    """
    return np.concatenate((_slide_features(heatmap.probability), *_region_features(heatmap.probability)))


def _slide_features(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    tissue = probability[np.isfinite(probability)].astype(np.float64)
    excess = [tissue[tissue > threshold] - threshold for threshold in _THRESHOLDS]
    totals = [float(len(part)) for part in excess] + [float(part.sum()) for part in excess]
    return np.array(totals) / max(1, len(tissue))


def _region_features(probability: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels = label_regions(probability, _REGION_THRESHOLD)
    boxes = ndimage.find_objects(labels)
    areas = np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:]
    largest = np.argsort(-areas, kind="stable")[:2].tolist()
    described = [
        _describe(labels[boxes[index]] == index + 1, probability[boxes[index]].astype(np.float64))
        for index in largest
    ]
    described += [np.zeros(10)] * (2 - len(described))
    return described[0], described[1]


def _describe(mask: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    region = regionprops(mask.astype(np.uint8), intensity_image=probability)[0]  # type: ignore[no-untyped-call]
    height, width = mask.shape
    values = (
        region.area,
        region.eccentricity,
        region.extent,
        region.area_bbox,
        region.axis_major_length,
        region.intensity_max,
        region.intensity_min,
        region.intensity_mean,
        height / width,
        region.solidity,
    )
    return np.array(values, dtype=np.float64)


def largest_probability(heatmap: Heatmap) -> float:
    """Return the most probable cell of a heatmap, the simplest slide probability there is.

    Parameters
    ----------
    heatmap
        Tumour probability of the slide.

    Returns
    -------
    float
        0 to 1; 0 for a slide on which nothing was looked at.
    """
    return float(np.fmax.reduce(heatmap.probability, axis=None, initial=0.0))
