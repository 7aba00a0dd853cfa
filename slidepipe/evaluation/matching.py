"""Which detection hits which lesion: the one step that all rules share.

A detection is looked up in the reference: in no lesion it is a false positive; in a lesion of isolated tumour cells
it is ignored altogether; in any other lesion it counts once, as the highest probability among its hits. On a
tumour-free slide every detection is a false positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.reference import ReferenceLesions
from slidepipe.evaluation.rules import FrocRule


@dataclass(frozen=True, slots=True, eq=False)
class SlideHits:
    """What the detections on one slide amount to, by one rule."""

    slide_id: str
    is_tumour: bool
    """Label of the slide in the reference."""
    lesion_probability: NDArray[np.float64]
    """Highest probability that hit each lesion, shape (n_lesions,); 0 for a lesion that was missed and for every
    lesion of isolated tumour cells."""
    is_itc: NDArray[np.bool_]
    """Which lesions hold isolated tumour cells only and are no targets, shape (n_lesions,)."""
    diameter_um: NDArray[np.float64]
    """Long axis of each lesion without the growth, shape (n_lesions,)."""
    false_positive_probability: NDArray[np.float64]
    """Probabilities of the false positives, in the order of the detections."""
    on_lesion_probability: NDArray[np.float64]
    """Probabilities of all detections that lie on some lesion, repeated hits and hits on isolated tumour cells
    included, in the order of the detections."""
    n_dropped: int = 0
    """Detections beyond the slide that the leaderboard script drops; only with *compat*."""

    @property
    def detection_probability(self) -> NDArray[np.float64]:
        """Probabilities of all detections."""
        return np.concatenate([self.false_positive_probability, self.on_lesion_probability])

    @property
    def n_targets(self) -> int:
        """Number of lesions that should be found."""
        return int(np.count_nonzero(~self.is_itc))

    @property
    def n_itc(self) -> int:
        """Number of lesions that are ignored."""
        return int(np.count_nonzero(self.is_itc))


def match_normal_slide(slide_id: str, detections: NDArray[np.float64]) -> SlideHits:
    """Count the detections on a tumour-free slide: every one is a false positive.

    Parameters
    ----------
    slide_id
        Name of the slide.
    detections
        Shape (n, 3), columns probability, x, y in level-0 pixels.

    Returns
    -------
    SlideHits
        Without lesions.
    """
    nothing = np.zeros(0)
    return SlideHits(
        slide_id=slide_id,
        is_tumour=False,
        lesion_probability=nothing,
        is_itc=np.zeros(0, dtype=np.bool_),
        diameter_um=nothing,
        false_positive_probability=detections[:, 0],
        on_lesion_probability=nothing,
    )


@dataclass(frozen=True, slots=True)
class Matching:
    """How detections are laid on a reference."""

    rule: FrocRule
    step_px0: float
    """Level-0 pixels per mask pixel."""
    is_bounded: bool = True
    """Whether the mask ends where the slide ends; else detections may lie beyond it, where there is no tumour."""
    compat: bool = False
    """Whether to imitate what the scripts do to detections outside the mask and to small differences."""


def match_tumour_slide(
    slide_id: str, detections: NDArray[np.float64], lesions: ReferenceLesions, matching: Matching
) -> SlideHits:
    """Match the detections on a slide with tumour to its lesions.

    Parameters
    ----------
    slide_id
        Name of the slide, for messages.
    detections
        Shape (n, 3), columns probability, x, y in level-0 pixels.
    lesions
        Lesions of the slide, with the spacing of the rule.
    matching
        Rule and geometry.

    Returns
    -------
    SlideHits
        One entry per lesion, in their order.

    Raises
    ------
    EvaluationError
        If a detection falls outside a bounded mask. With *compat*, negative pixels count from the far edge and the
        leaderboard rule drops detections beyond it, as in the scripts; only what made them stop is an error.
    """
    n_detections = len(detections)
    pixels = np.stack(
        [matching.rule.pixel(detections[:, axis], matching.step_px0) for axis in (2, 1)], axis=1
    )
    if matching.is_bounded and matching.compat:
        detections, pixels = _as_the_scripts(detections, pixels, lesions.shape, matching.rule)
    if matching.is_bounded:
        _require_inside(slide_id, detections, pixels, lesions.shape, matching)

    probability = detections[:, 0]
    label = lesions.label_at(pixels[:, 0], pixels[:, 1])
    is_itc = lesions.is_itc
    best = np.zeros(len(is_itc))
    hit = label > 0
    np.maximum.at(best, label[hit] - 1, probability[hit])
    best[is_itc] = 0.0
    if matching.compat and matching.rule.has_artefacts:
        best = best.astype(np.float32).astype(np.float64)
    return SlideHits(
        slide_id=slide_id,
        is_tumour=True,
        lesion_probability=best,
        is_itc=is_itc,
        diameter_um=lesions.diameter_um,
        false_positive_probability=probability[~hit],
        on_lesion_probability=probability[hit],
        n_dropped=n_detections - len(detections),
    )


def _as_the_scripts(
    detections: NDArray[np.float64], pixels: NDArray[np.int64], shape: tuple[int, int], rule: FrocRule
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Drop what the leaderboard script drops, and count negative indices from the end as NumPy does."""
    if rule.name == "leaderboard":
        kept = (pixels < shape).all(axis=1)
        detections, pixels = detections[kept], pixels[kept]
    return detections, np.where(pixels < 0, pixels + np.array(shape), pixels)


def _require_inside(
    slide_id: str,
    detections: NDArray[np.float64],
    pixels: NDArray[np.int64],
    shape: tuple[int, int],
    matching: Matching,
) -> None:
    outside = ((pixels < 0) | (pixels >= shape)).any(axis=1)
    if not outside.any():
        return
    first = int(np.argmax(outside))
    _, x, y = detections[first]
    hint = (
        "this rule rounds to the nearest mask pixel, which lies outside for the last half pixel of a slide"
        if matching.rule.name == "release"
        else "are the coordinates level-0 pixels, x before y, and does the mask belong to this slide?"
    )
    raise EvaluationError(
        f"slide {slide_id}: {np.count_nonzero(outside)} of {len(detections)} detections fall outside its reference "
        f"mask of {shape[0]} rows × {shape[1]} columns (1 pixel = {matching.step_px0:g} level-0 pixels) by the rule "
        f"{matching.rule.name}; the first, at ({x:g}, {y:g}), falls on row {pixels[first, 0]}, column "
        f"{pixels[first, 1]}; {hint}"
    )
