"""Which patches are trained on and which are kept for validation: never patches of one slide on both sides.

Slides are dealt out within each centre and kind, a slide with tumour points being of one kind and a slide with normal
points only of the other. At least one slide of each kind is kept for validation where there are two.

With very few slides that leaves a side without tumour or without normal patches. Then, and only then, every slide is
cut in two by a vertical line instead, with a gap that no patch bridges. Neighbouring regions of one slide share its
stain, so the validation AUC is then too good; the log and the model's card say that it was done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slidepipe.classifier.points import SlidePoints
from slidepipe.errors import ModelError

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Points for training and points for validation."""

    by: Literal["slide", "region"]
    """What was dealt out: whole slides, or the two parts of each slide."""
    train: tuple[SlidePoints, ...]
    """Has tumour points and normal points."""
    validation: tuple[SlidePoints, ...]
    """Has tumour points and normal points."""


def split_slides(slides: Sequence[SlidePoints], share: float, reach_px: int, seed: int) -> Split:
    """Deal slides out to training and validation.

    Parameters
    ----------
    slides
        In any order: the split depends on names, centres and kinds only.
    share
        Share of the slides kept for validation, between 0 and 1.
    reach_px
        Farthest that a patch reaches from its point along x, for the gap between regions.
    seed
        Which slides are kept.

    Returns
    -------
    Split
        By slide if that leaves tumour and normal points on both sides, else by region.

    Raises
    ------
    ModelError
        If a class has no points at all, or too few for two regions.
    """
    used = sorted((s for s in slides if len(s.tumour) or len(s.normal)), key=lambda s: s.slide_id)
    _check_classes(used, slides)
    random = np.random.default_rng(seed)
    kept: set[str] = set()
    for kind in (True, False):
        kept |= _keep([s for s in used if bool(len(s.tumour)) is kind], share, random)
    train = tuple(s for s in used if s.slide_id not in kept)
    validation = tuple(s for s in used if s.slide_id in kept)
    if _has_classes(train) and _has_classes(validation):
        return Split("slide", train, validation)
    return _split_regions(used, share, reach_px)


def _keep(slides: Sequence[SlidePoints], share: float, random: np.random.Generator) -> set[str]:
    """Choose slides of one kind for validation, from each centre in proportion."""
    if len(slides) < 2:
        return set()
    count = min(max(round(share * len(slides)), 1), len(slides) - 1)
    centres: defaultdict[str, list[str]] = defaultdict(list)
    for slide in slides:
        centres[slide.centre or ""].append(slide.slide_id)
    # Shuffled slides of a centre get places 0.5/n, 1.5/n, ...: the lowest places overall are in proportion.
    places = []
    for _, names in sorted(centres.items()):
        shuffled = random.permutation(names).tolist()
        places += [((rank + 0.5) / len(names), name) for rank, name in enumerate(shuffled)]
    return {name for _, name in sorted(places)[:count]}


def _split_regions(slides: Sequence[SlidePoints], share: float, reach_px: int) -> Split:
    train, validation = [], []
    for slide in slides:
        rare = slide.tumour if len(slide.tumour) else slide.normal
        x = rare[:, 0]
        # On a small lesion the gap would swallow the smaller part: a point on each side, where that is possible.
        line = float(np.clip(np.quantile(x, 1 - share), x.min() + reach_px + 1, x.max() - reach_px))
        train.append(_restrict(slide, -np.inf, line - reach_px))
        validation.append(_restrict(slide, line + reach_px, np.inf))
    split = Split("region", tuple(train), tuple(validation))
    if not (_has_classes(split.train) and _has_classes(split.validation)):
        raise ModelError(
            f"{len(slides)} slides do not give tumour and normal patches for both training and validation, not even "
            f"as two regions each ({_counts(slides)}): add annotated slides and normal slides"
        )
    return split


def _restrict(slide: SlidePoints, left: float, right: float) -> SlidePoints:
    def inside(points: NDArray[np.int32]) -> NDArray[np.int32]:
        return points[(points[:, 0] >= left) & (points[:, 0] < right)]

    return replace(
        slide,
        tumour=inside(slide.tumour),
        normal=inside(slide.normal),
        near_tumour=inside(slide.near_tumour),
        hard=inside(slide.hard),
    )


def _has_classes(slides: Sequence[SlidePoints]) -> bool:
    return any(len(slide.tumour) for slide in slides) and any(len(slide.normal) for slide in slides)


def _check_classes(used: Sequence[SlidePoints], slides: Sequence[SlidePoints]) -> None:
    for name, has_points, remedy in (
        ("tumour", any(len(s.tumour) for s in used), "give annotations of tumour slides"),
        (
            "normal",
            any(len(s.normal) for s in used),
            "add normal slides, or tumour slides annotated exhaustively",
        ),
    ):
        if not has_points:
            raise ModelError(
                f"there is no {name} patch to train on in {len(slides)} slides ({_counts(slides)}): {remedy}, and "
                "check their tissue masks"
            )


def _counts(slides: Sequence[SlidePoints]) -> str:
    named = [
        f"{s.slide_id}: {len(s.tumour)} tumour, {len(s.normal)} normal points"
        + (f", not used: {s.unused}" if s.unused else "")
        for s in slides[:_MOST_NAMED]
    ]
    return "; ".join([*named, "…"] if len(slides) > _MOST_NAMED else named)
