"""Outlines drawn on a slide: the values that every annotation format is read into."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import AnnotationError

logger = logging.getLogger(__name__)

_FEWEST_POINTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One closed line around tumour, or around what is cut out of it."""

    points_px0: NDArray[np.float64]
    """Corners (x, y), shape (n, 2), n at least 3, level-0 pixels; the last is joined to the first."""
    is_tumour: bool
    """False for a cut-out."""
    group: str
    """Name of the group or class in the file."""


@dataclass(frozen=True, slots=True, eq=False)
class SlideAnnotation:
    """All outlines of a slide."""

    slide_id: str
    outlines: tuple[Outline, ...]
    """In painting order: later ones overwrite earlier ones. Empty where nothing is annotated."""
    notes: tuple[str, ...] = field(default=())
    """What was left out and why; empty where nothing was."""


def make_annotation(slide_id: str, outlines: Iterable[Outline]) -> SlideAnnotation:
    """Check outlines and leave out those that enclose nothing.

    Outlines of one or two points occur in the official annotations of CAMELYON16 (tumor_054): stray clicks, which
    cover no pixel by any rule. They are left out, logged, and noted in the result.

    Parameters
    ----------
    slide_id
        The slide.
    outlines
        In painting order, of any number of points.

    Returns
    -------
    SlideAnnotation
        Those of three points or more, in the same order.

    Raises
    ------
    AnnotationError
        If a coordinate is not a finite number.
    """
    kept, notes = [], []
    for number, outline in enumerate(outlines):
        if not np.isfinite(outline.points_px0).all():
            raise AnnotationError(
                f"slide {slide_id}: outline {number} (group {outline.group}) has a coordinate that is not a finite "
                "number"
            )
        if len(outline.points_px0) >= _FEWEST_POINTS:
            kept.append(outline)
            continue
        notes.append(
            f"outline {number} (group {outline.group}) has {len(outline.points_px0)} points, encloses nothing and is "
            "left out"
        )
        logger.warning("slide %s: %s", slide_id, notes[-1])
    return SlideAnnotation(slide_id, tuple(kept), tuple(notes))


def is_tumour_class(slide_id: str, name: str, classes: dict[str, bool], what: str) -> bool:
    """Look up what a group or class means.

    Parameters
    ----------
    slide_id
        Named in messages.
    name
        Name in the file.
    classes
        True for tumour, False for what is cut out of it.
    what
        ``group`` or ``class``, as the file's format calls it.

    Returns
    -------
    bool
        Whether it is tumour.

    Raises
    ------
    AnnotationError
        If the name is not known: it is not guessed what it means.
    """
    if name not in classes:
        known = ", ".join(f"{known} ({'tumour' if value else 'cut-out'})" for known, value in classes.items())
        raise AnnotationError(
            f"slide {slide_id}: the annotation has a {what} {name!r}, and it is not known whether that is tumour; "
            f"known are {known}: add it to the setting classes, true for tumour, false for what is not"
        )
    return classes[name]
