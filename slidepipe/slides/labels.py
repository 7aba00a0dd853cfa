"""Reference tables: which slides of a data set hold tumour.

The open release of CAMELYON16 has ``image,type,class,center`` with a header, for all slides; the copy on GigaDB has
``test_001,Tumor,IDC,Macro`` without one, for the test slides only.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slidepipe.errors import CohortError
from slidepipe.slides.names import Label, slide_id_of

SizeClass = Literal["negative", "micro", "macro"]

_LABELS: dict[str, Label] = {"normal": "normal", "tumor": "tumor"}
_SIZE_CLASSES: dict[str, SizeClass] = {
    "negative": "negative", "none": "negative", "micro": "micro", "macro": "macro"
}  # fmt: skip
_COLUMNS_WITHOUT_HEADER = ("image", "type", "histology", "class")


@dataclass(frozen=True, slots=True)
class SlideLabel:
    """One row of a reference table."""

    slide_id: str
    """Name of the slide as the table writes it, without suffix."""
    label: Label
    """Whether it holds tumour."""
    size_class: SizeClass | None
    """Size of its largest metastasis; None if the table does not say."""
    centre: str | None
    """Where it was scanned; None if the table does not say."""


def read_labels(path: Path) -> tuple[SlideLabel, ...]:
    """Read a reference table.

    Parameters
    ----------
    path
        CSV with the columns ``image``, ``type`` (normal, tumor) and, if wanted, ``class`` (negative, micro, macro) and
        ``center``; or without a header: name, type, histology, class. Case does not matter.

    Returns
    -------
    tuple of SlideLabel
        In the order of the file.

    Raises
    ------
    CohortError
        If the table cannot be read, a value is unknown, or a slide stands in it twice. The message gives the line.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"the reference table {path} cannot be read: {error}") from error
    numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(lines, 1) if any(row)]
    columns: tuple[str, ...] = _COLUMNS_WITHOUT_HEADER
    if numbered and "image" in [cell.lower() for cell in numbered[0][1]]:
        columns = tuple(cell.lower() for cell in numbered.pop(0)[1])
    labels: dict[str, SlideLabel] = {}
    for number, row in numbered:
        try:
            label = _label(dict(zip(columns, row, strict=False)))
        except (KeyError, CohortError) as error:
            known = "normal or tumor as type, negative, micro, macro or None as class"
            raise CohortError(
                f"{path}, line {number}: {', '.join(row)}: expected {known} ({error})"
            ) from error
        if label.slide_id.casefold() in labels:
            raise CohortError(f"{path}, line {number}: the slide {label.slide_id} stands in the table twice")
        labels[label.slide_id.casefold()] = label
    return tuple(labels.values())


def _label(cells: dict[str, str]) -> SlideLabel:
    label = _LABELS[cells["type"].lower()]
    size_class = _SIZE_CLASSES[cells["class"].lower()] if cells.get("class") else None
    if size_class is not None and (label == "normal") != (size_class == "negative"):
        raise CohortError(f"a {label} slide cannot have the class {size_class}")
    return SlideLabel(slide_id_of(cells["image"]), label, size_class, cells.get("center") or None)
