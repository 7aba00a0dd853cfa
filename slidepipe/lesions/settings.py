"""Settings of the slide model, apart from the model so that reading a configuration does not load scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideModelSettings:
    """How a slide gets its probability."""

    method: Literal["auto", "forest", "maximum"] = "auto"
    """``forest`` is a random forest on the thirty features of the heatmap, fitted on the training slides; it needs at
    least two normal and two tumour slides. ``maximum`` is the most probable cell and needs no training. ``auto`` is the
    forest where there are enough training slides, and says which it was."""
    trees: Annotated[int, Ge(1)] = 500
    """Trees of the forest. On the 266 published training slides 100 give a cross-validated AUC of 0.992 and 500 or
    1000 give 0.993."""
    folds: Annotated[int, Ge(2)] = 5
    """Folds of the cross-validation; fewer where a class has fewer slides."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of forest and folds. Equal seeds and slides give equal probabilities."""
