"""The reference table of an evaluation: which slides are judged, and what is true of them.

Both layouts in circulation are read by `slidepipe.slides.labels`. Here a column with the slides' pixel sizes is added,
and the slides that are meant are chosen: the table of the open release lists training and test slides together.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slidepipe.errors import EvaluationError
from slidepipe.slides.labels import SizeClass, read_labels
from slidepipe.slides.names import Label, slide_id_of, split_and_label

EvaluatedSplit = Literal["auto", "test", "train", "all"]
"""Which rows of a reference table are meant; see `select_split`."""


@dataclass(frozen=True, slots=True)
class ReferenceSlide:
    """One row of the reference table."""

    slide_id: str
    label: Label
    size_class: SizeClass | None
    """Size of its largest metastasis; None if the table does not say."""
    centre: str | None
    """Where it comes from; None if the table does not say."""
    spacing_um: float | None
    """Side of a level-0 pixel; None if the table does not say."""


def read_reference_table(path: Path) -> tuple[ReferenceSlide, ...]:
    """Read a reference table in either layout.

    Parameters
    ----------
    path
        CSV with the columns ``image``, ``type`` and, if wanted, ``class``, ``center`` and ``spacing_um`` (µm per
        level-0 pixel, may be empty); or the older one without a header: name, type, histology, class.

    Returns
    -------
    tuple of ReferenceSlide
        In the order of the file, at least one.

    Raises
    ------
    CohortError
        If the table cannot be read, a value is unknown or a slide stands in it twice; the message names the line.
    EvaluationError
        If it lists no slide, or a spacing is no positive number.
    """
    labels = read_labels(path)
    if not labels:
        raise EvaluationError(
            f"{path.name} lists no slide; expected image,type,class,center and a line for each slide"
        )
    spacings = _read_spacings(path)
    return tuple(
        ReferenceSlide(each.slide_id, each.label, each.size_class, each.centre, spacings.get(each.slide_id))
        for each in labels
    )


def select_split(slides: Sequence[ReferenceSlide], split: EvaluatedSplit) -> tuple[ReferenceSlide, ...]:
    """Choose the rows of a reference table that are to be evaluated.

    Parameters
    ----------
    slides
        Rows of the table.
    split
        ``test``: slides named ``test_…``, the rule of the script in the open release. ``train``: those named
        ``normal_…`` and ``tumor_…``. ``all``: every row. ``auto``: ``test`` if the table lists both kinds, else
        ``all``.

    Returns
    -------
    tuple of ReferenceSlide
        The chosen rows, in their order.

    Raises
    ------
    EvaluationError
        If no row is left.
    """
    splits = [split_and_label(slide.slide_id)[0] for slide in slides]
    if split == "auto":
        split = "test" if {"train", "test"} <= set(splits) else "all"
    chosen = tuple(
        slide for slide, known in zip(slides, splits, strict=True) if split == "all" or known == split
    )
    if not chosen:
        raise EvaluationError(
            f"none of the {len(slides)} slides of the reference table belongs to the split {split}"
        )
    return chosen


def _read_spacings(path: Path) -> dict[str, float]:
    lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    header = next(([cell.strip().lower() for cell in line] for line in lines if any(line)), [])
    if "image" not in header or "spacing_um" not in header:
        return {}
    image, column = header.index("image"), header.index("spacing_um")
    spacings = {}
    for number, line in enumerate(lines, start=1):
        text = line[column].strip() if len(line) > column else ""
        if not text or text.lower() == "spacing_um":
            continue
        value = _positive(text)
        if value is None:
            raise EvaluationError(
                f"{path.name}, line {number}: spacing_um is {text!r}; expected µm per level-0 pixel, such as 0.243"
            )
        spacings[slide_id_of(line[image].strip())] = value
    return spacings


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
