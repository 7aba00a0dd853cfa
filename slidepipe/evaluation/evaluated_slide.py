"""One slide as the evaluation sees it: what is true of it, and what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.detections import check_detections
from slidepipe.evaluation.masks import MaskFile, TumourMask, nearest_level, paint_mask, read_mask
from slidepipe.evaluation.matching import Matching, SlideHits, match_normal_slide, match_tumour_slide
from slidepipe.evaluation.reference import ReferenceLesions, find_reference_lesions
from slidepipe.evaluation.rules import OFFICIAL_PIXEL_UM, FrocRule
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.slides.annotations import SlideAnnotation
from slidepipe.slides.exclusions import Scope
from slidepipe.slides.labels import SizeClass
from slidepipe.slides.names import Label


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedSlide:
    """One slide of the test set."""

    slide_id: str
    label: Label
    size_class: SizeClass | None = None
    """Size of its largest metastasis, where known."""
    centre: str | None = None
    """Where it comes from."""
    detections: NDArray[np.float64] | None = None
    """Detected lesions, shape (n, 3), columns probability, x, y in level-0 pixels; None if they are missing, which is
    not the same as none found (n = 0)."""
    probability: float | None = None
    """Predicted probability that the slide holds tumour; None if it is missing."""
    size_px0: tuple[int, int] | None = None
    """Width and height of level 0, where known; detections outside are then refused."""
    spacing_um: float | None = None
    """Side of a level-0 pixel in µm, where known; the rules *release* and *exact* need it."""
    reference: SlideAnnotation | MaskFile | None = None
    """Where its tumour is. Needed of slides labelled tumor, for the lesion score."""
    excluded_from: tuple[Scope, ...] = ()
    """What it is left out of: everything, or the lesion score. What it is left out of in training is no matter here."""
    exclusion_reason: str = ""
    """Why, in words for the report."""


def match_by_rules(
    slide: EvaluatedSlide, rules: Sequence[FrocRule], settings: EvaluationSettings
) -> tuple[SlideHits, ...]:
    """Match the detections on one slide to its lesions, by several rules.

    The reference is read once, and released on return: a mask can have tens of millions of pixels.

    Parameters
    ----------
    slide
        The slide. Missing detections count as none.
    rules
        Rules to apply.
    settings
        Mask level, and whether artefacts are imitated.

    Returns
    -------
    tuple of SlideHits
        One for each rule.

    Raises
    ------
    EvaluationError
        If a detection is impossible, or the reference is missing, empty or does not go with the rules.
    """
    detections = np.zeros((0, 3)) if slide.detections is None else slide.detections
    if not settings.compat:
        check_detections(slide.slide_id, detections, slide.size_px0)
    if slide.label == "normal":
        return tuple(match_normal_slide(slide.slide_id, detections) for _ in rules)

    mask = _tumour_mask(slide, settings)
    if not (settings.compat or mask.is_tumour.any()):
        raise EvaluationError(
            f"slide {slide.slide_id} is labelled tumor, but its reference holds none: check the outlines' groups or "
            "the mask's value"
        )
    lesions_of = _lesions_by_spacing(mask.is_tumour, phantom=settings.compat)
    hits = []
    for rule in rules:
        pixel_um = _pixel_um(slide, mask, rule)
        matching = Matching(rule, mask.step_px0, mask.is_bounded, settings.compat)
        hits.append(match_tumour_slide(slide.slide_id, detections, lesions_of(pixel_um), matching))
    return tuple(hits)


def _tumour_mask(slide: EvaluatedSlide, settings: EvaluationSettings) -> TumourMask:
    if slide.reference is None:
        raise EvaluationError(
            f"slide {slide.slide_id} is labelled tumor but has neither outlines nor a mask: give them, or exclude it "
            "from the lesion score"
        )
    if isinstance(slide.reference, MaskFile):
        return read_mask(slide.reference, slide.slide_id)
    level = nearest_level(slide.spacing_um) if settings.mask_level is None else settings.mask_level
    return paint_mask(slide.reference, level, slide.size_px0, slide.spacing_um)


def _pixel_um(slide: EvaluatedSlide, mask: TumourMask, rule: FrocRule) -> float:
    if not rule.own_spacing:
        return OFFICIAL_PIXEL_UM
    spacing = slide.spacing_um or mask.spacing_um
    if spacing is None:
        raise EvaluationError(
            f"slide {slide.slide_id}: the rule {rule.name} needs the size of its pixels; add a column spacing_um to "
            "the reference table (0.243 for the first CAMELYON16 scanner, 0.226 for the second), or use the rule public"
        )
    return spacing * mask.step_px0


def _lesions_by_spacing(mask: NDArray[np.bool_], *, phantom: bool) -> Callable[[float], ReferenceLesions]:
    """Remember the lesions of each spacing: two rules share one spacing, and finding lesions is the slow part."""
    known: dict[float, ReferenceLesions] = {}

    def lesions(pixel_um: float) -> ReferenceLesions:
        if pixel_um not in known:
            known[pixel_um] = find_reference_lesions(mask, pixel_um, phantom=phantom)
        return known[pixel_um]

    return lesions
