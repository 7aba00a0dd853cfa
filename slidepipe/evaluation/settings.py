"""Settings of the evaluation: section ``evaluate`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, Lt, MinLen

from slidepipe.errors import ConfigError
from slidepipe.evaluation.rules import RuleName

ThresholdPolicy = Literal["youden", "specificity", "fixed"]
"""How the slide threshold is chosen on the training folds: largest sensitivity + specificity, largest sensitivity at a
wanted specificity, or not at all."""

Share = Annotated[float, Interval(ge=0, le=1)]
"""A number from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """How predictions are judged."""

    rules: Annotated[tuple[RuleName, ...], MinLen(1)] = ("public",)
    """FROC rules to apply; the first is the main one. *public* is what most papers since 2018 report."""
    compat: bool = False
    """Whether to imitate the artefacts of the organisers' scripts (float32, dropped first threshold, detections
    outside), for a comparison to the last digit. Off, because they change scores for no reason of medicine."""
    resamples: Annotated[int, Ge(0)] = 2000
    """Bootstrap resamples; 0 for no intervals. 2,000 fix the ends of a 95 % interval to about half a percent of its
    width."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the resampling; equal seeds give equal intervals."""
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    """Coverage of every interval."""
    mask_level: Annotated[int, Ge(0)] | None = None
    """Pyramid level of the reference masks; None for the level nearest to 7.776 µm per pixel, which is CAMELYON16's
    level 5."""
    allow_missing: bool = False
    """Whether a slide without predictions counts as one on which nothing was detected (probability 0), instead of
    stopping the evaluation. Leaving it out altogether would raise the score."""
    slide_threshold: Share = 0.5
    """Probability from which a slide is called positive, where none was chosen on training folds."""
    lesion_threshold: Share = 0.5
    """Probability from which a detection is shown to a reader."""
    threshold_policy: ThresholdPolicy = "youden"
    """How the slide threshold is chosen on the training folds; *fixed* uses `slide_threshold`. It is never chosen on
    the slides that are evaluated."""
    specificity: Share = 0.9
    """Specificity wanted by the threshold policy of that name."""
    specificities: tuple[Share, ...] = (0.8, 0.9, 0.95)
    """Specificities at which the ROC curve's sensitivity is reported."""
    wanted_lesion_share: Annotated[float, Gt(0), Interval(le=1)] = 0.95
    """Share of the lesions that a reader wants to find, for the number of regions to look at."""

    def __post_init__(self) -> None:
        if len(set(self.rules)) != len(self.rules):
            raise ConfigError(f"evaluate.rules names a rule twice: {', '.join(self.rules)}")
