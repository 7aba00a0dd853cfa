"""What a pathologist asks of a method: how much is shown in vain, what is missed, how much there is to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidepipe.evaluation.matching import SlideHits

SIZE_LIMITS_UM = (0.0, 500.0, 1000.0, 2000.0)
"""Lower limits of the size classes of lesions. Targets are at least 200 µm long by definition; metastases above
2,000 µm are macrometastases."""


@dataclass(frozen=True, slots=True)
class LesionsOfSize:
    """Target lesions of one size class."""

    low_um: float
    """Shortest long axis in the class, included."""
    high_um: float | None
    """Longest, left out; None for the class without an upper limit."""
    n_lesions: int
    n_missed: int
    """Lesions without a hit at the threshold."""


@dataclass(frozen=True, slots=True)
class ReadingLoad:
    """What the detections mean for a reader."""

    threshold: float
    """Probability from which a detection is shown."""
    n_slides: int
    n_normal: int
    false_positives_per_slide: float
    false_positives_per_normal_slide: float | None
    """None without normal slides."""
    share_without_false_positive: float
    """Share of all slides on which nothing is shown in vain."""
    share_of_normal_without_false_positive: float | None
    """The same among the normal slides; None without any."""
    lesions_by_size: tuple[LesionsOfSize, ...]
    """Target lesions from small to large."""
    wanted_share: float
    """Share of the lesions that a reader wants to find."""
    regions_to_look_at: int | None
    """Detections, strongest first over all slides, that have to be looked at to find that share, those on lesions
    included; None if it is not reached with all of them."""
    threshold_for_share: float | None
    """Probability of the last of them."""
    reachable_share: float
    """Share of the lesions that is found with all detections."""

    @property
    def regions_per_slide(self) -> float | None:
        """Regions to look at per slide; None if the wanted share is not reached."""
        return None if self.regions_to_look_at is None else self.regions_to_look_at / self.n_slides

    @property
    def n_targets(self) -> int:
        """Number of target lesions."""
        return sum(size.n_lesions for size in self.lesions_by_size)

    @property
    def n_missed(self) -> int:
        """Number of target lesions missed at the threshold."""
        return sum(size.n_missed for size in self.lesions_by_size)


def reading_load(hits: Sequence[SlideHits], threshold: float, wanted_share: float) -> ReadingLoad:
    """Work out what the detections mean for a reader.

    Parameters
    ----------
    hits
        Hits of each slide, at least one; slides without detections included.
    threshold
        Probability from which a detection is shown.
    wanted_share
        Share of the lesions that a reader wants to find, above 0, at most 1.

    Returns
    -------
    ReadingLoad
        Counts and shares. Lesions of isolated tumour cells are not targets and are not missed; detections on them
        are looked at all the same.
    """
    shown = np.array([np.count_nonzero(each.false_positive_probability >= threshold) for each in hits])
    is_normal = np.array([not each.is_tumour for each in hits], dtype=np.bool_)
    targets = np.concatenate([each.lesion_probability[~each.is_itc] for each in hits])
    diameters = np.concatenate([each.diameter_um[~each.is_itc] for each in hits])
    detections = np.concatenate([each.detection_probability for each in hits])

    last = None
    if len(targets):
        # The weakest lesion that has to be found for the wanted share decides how far down the list one has to go.
        needed = int(np.ceil(wanted_share * len(targets) - 1e-9))
        weakest = float(np.sort(targets)[::-1][needed - 1])
        last = weakest if weakest > 0 else None
    return ReadingLoad(
        threshold=threshold,
        n_slides=len(hits),
        n_normal=int(np.count_nonzero(is_normal)),
        false_positives_per_slide=float(shown.mean()),
        false_positives_per_normal_slide=float(shown[is_normal].mean()) if is_normal.any() else None,
        share_without_false_positive=float((shown == 0).mean()),
        share_of_normal_without_false_positive=float((shown[is_normal] == 0).mean())
        if is_normal.any()
        else None,
        lesions_by_size=tuple(
            LesionsOfSize(
                low_um=low,
                high_um=high,
                n_lesions=int(np.count_nonzero(is_in := (diameters >= low) & (diameters < (high or np.inf)))),
                n_missed=int(np.count_nonzero(is_in & (targets < threshold))),
            )
            for low, high in zip(SIZE_LIMITS_UM, (*SIZE_LIMITS_UM[1:], None), strict=True)
        ),
        wanted_share=wanted_share,
        regions_to_look_at=None if last is None else int(np.count_nonzero(detections >= last)),
        threshold_for_share=last,
        reachable_share=float((targets > 0).mean()) if len(targets) else float("nan"),
    )
