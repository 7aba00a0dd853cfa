"""What a classifier takes for tumour on slides without any: the hard negatives of its next training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.lesions.lesion import Lesion


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningSettings:
    """Which false positives of a heatmap are worth training on."""

    threshold: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Cells count when strictly above this probability."""
    radius_um: Annotated[float, Gt(0)] = 100.0
    """Half the side of the square around a false positive in which no other is taken, in µm: neighbouring cells show
    the same tissue, and a few hundred places teach more than one place a few hundred times."""
    per_slide: Annotated[int, Ge(1)] = 500
    """Most false positives of one slide, the most probable first, so that one odd slide does not fill the list."""


def find_false_positives(heatmap: Heatmap, settings: MiningSettings) -> tuple[Lesion, ...]:
    """List the places of a slide without tumour that look most like tumour.

    Parameters
    ----------
    heatmap
        Tumour probability of a slide that is known to hold no tumour.
    settings
        How many and how far apart.

    Returns
    -------
    tuple of Lesion
        Most probable first; by non-maximum suppression, as lesions are found. Empty if nothing is above the threshold.
    """
    suppression = LesionSettings(method="nms", threshold=settings.threshold, radius_um=settings.radius_um)
    return detect_lesions(heatmap, suppression)[: settings.per_slide]
