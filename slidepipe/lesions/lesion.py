"""The lesion: what one detection on a slide is, and its table on disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slidepipe.errors import RunError
from slidepipe.storage.publish import write_text

SizeClass = Literal["itc", "micro", "macro"]

_COLUMNS = ("slide_id", "lesion", "probability", "x_px0", "y_px0", "area_um2", "diameter_um")
_MICRO_UM = 200.0
_MACRO_UM = 2000.0


@dataclass(frozen=True, slots=True)
class Lesion:
    """One detection on a slide."""

    slide_id: str
    """Slide it lies on."""
    number: int
    """1 for the most probable lesion of the slide, then upwards."""
    probability: float
    """Tumour probability of the heatmap cell at the lesion's point, 0 to 1."""
    x_px0: int
    """Point of the lesion, in level-0 pixels from the slide's left edge."""
    y_px0: int
    """Point of the lesion, in level-0 pixels from the slide's top edge."""
    area_um2: float
    """Area of the connected region above the threshold that holds the point. Several lesions may share a region."""
    diameter_um: float
    """Largest distance between two corners of that region."""

    @property
    def size_class(self) -> SizeClass:
        """Size class that a metastasis of this diameter has: up to 0.2 mm, up to 2 mm, and larger.

        The limits are those of the TNM classification (AJCC Cancer Staging Manual, 8th edition, breast). They are
        applied to the detected region, not to a pathologist's measurement.
        """
        if self.diameter_um > _MACRO_UM:
            return "macro"
        return "micro" if self.diameter_um > _MICRO_UM else "itc"


def write_lesions(path: Path, lesions: Sequence[Lesion]) -> None:
    """Write lesions as a CSV table with a header.

    Parameters
    ----------
    path
        File to write or replace. Numbers are written so that `read_lesions` gives the same values, to the last bit.
    lesions
        In the order wanted; none gives a file with only its header.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for lesion in lesions:
        numbers = (float(lesion.probability), lesion.x_px0, lesion.y_px0)
        sizes = (float(lesion.area_um2), float(lesion.diameter_um))
        table.writerow((lesion.slide_id, lesion.number, *numbers, *sizes))
    write_text(path, text.getvalue())


def read_lesions(path: Path) -> tuple[Lesion, ...]:
    """Read a table that `write_lesions` wrote.

    Parameters
    ----------
    path
        Existing file.

    Returns
    -------
    tuple of Lesion
        In the order of the file; empty if only the header is there.

    Raises
    ------
    RunError
        If the header is another one or a value cannot be read.
    FileNotFoundError
        If `path` does not exist.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise RunError(
            f"{path.name} has the header {','.join(rows[0]) if rows else '(none)'}, expected {','.join(_COLUMNS)}: "
            "run predict again"
        )
    return tuple(_lesion(row, path, line) for line, row in enumerate(rows[1:], start=2))


def _lesion(row: list[str], path: Path, line: int) -> Lesion:
    try:
        slide_id, number, probability, x, y, area, diameter = row
        return Lesion(slide_id, int(number), float(probability), int(x), int(y), float(area), float(diameter))
    except ValueError as error:
        raise RunError(f"{path.name}, line {line}: cannot be read ({error}): run predict again") from error
