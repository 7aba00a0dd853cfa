"""Detections of one slide: from a CSV file, checked line by line.

What the original scripts take is narrow and differs between them: one stops at a header, another without it. Here a
file may have a header or not; what cannot be read, or cannot be meant, is an error that names the slide and the line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import EvaluationError

_COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "confidence": ("confidence", "p", "probability", "prob", "score"),
    "x": ("x", "x_px0", "x coordinate"),
    "y": ("y", "y_px0", "y coordinate"),
}
_EXPECTED = "confidence, x and y (level-0 pixels), separated by commas"


def read_detections(path: Path, slide_id: str, *, compat: bool = False) -> NDArray[np.float64]:
    """Read the detections of one slide.

    Parameters
    ----------
    path
        CSV file. Without a header, each line is ``confidence,x,y``. With one, the columns are found by name:
        ``confidence`` (or ``p``, ``probability``, ``prob``, ``score``), ``x`` (``x_px0``, ``X coordinate``) and ``y``,
        in any order and among others, so that the lesion tables of this package are read as they are.
    slide_id
        Name of the slide, for messages.
    compat
        Whether confidences outside (0, 1] and negative coordinates are let through, as in the original scripts.

    Returns
    -------
    ndarray
        float64 of shape (n, 3), columns confidence, x, y. An empty file, or one with a header only, means that
        nothing was detected: n is 0. Blank lines say nothing and are passed over.

    Raises
    ------
    EvaluationError
        If a line does not hold three finite numbers, or if a number is impossible: a confidence outside (0, 1], a
        negative coordinate.
    FileNotFoundError
        If there is no such file.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [
            (number, fields)
            for number, fields in enumerate(csv.reader(file), start=1)
            if any(field.strip() for field in fields)
        ]
    columns = (0, 1, 2)
    width = 3
    if lines and not _is_number(lines[0][1][0]):
        number, header = lines.pop(0)
        columns = _columns_by_name(header, f"slide {slide_id}, {path.name}, line {number}")
        width = len(header)
    rows = np.zeros((len(lines), 3))
    for row, (number, fields) in zip(rows, lines, strict=True):
        row[:] = _numbers(fields, columns, width, f"slide {slide_id}, {path.name}, line {number}")
        problem = None if compat else _problem(row)
        if problem:
            raise EvaluationError(f"slide {slide_id}, {path.name}, line {number}: {problem}")
    return rows


def check_detections(
    slide_id: str, detections: NDArray[np.float64], size_px0: tuple[int, int] | None = None
) -> None:
    """Check detections that did not come from a file.

    Parameters
    ----------
    slide_id
        Name of the slide, for messages.
    detections
        Shape (n, 3), columns confidence, x, y.
    size_px0
        Width and height of the slide, where known.

    Raises
    ------
    EvaluationError
        If the shape is another, a number is not finite, a confidence is outside (0, 1], or a coordinate is outside
        the slide.
    """
    if detections.ndim != 2 or detections.shape[1] != 3:
        raise EvaluationError(
            f"slide {slide_id}: detections must have shape (n, 3), columns confidence, x and y, got {detections.shape}"
        )
    confidence, xs, ys = detections.T
    bad = ~np.isfinite(detections).all(axis=1) | ~((confidence > 0) & (confidence <= 1)) | (xs < 0) | (ys < 0)
    if bad.any():
        first = int(np.argmax(bad))
        raise EvaluationError(f"slide {slide_id}, detection {first + 1}: {_problem(detections[first])}")
    if size_px0 is None:
        return
    outside = (xs >= size_px0[0]) | (ys >= size_px0[1])
    if outside.any():
        first = int(np.argmax(outside))
        raise EvaluationError(
            f"slide {slide_id}: {np.count_nonzero(outside)} of {len(detections)} detections lie outside the slide of "
            f"{size_px0[0]} × {size_px0[1]} pixels, the first at ({xs[first]:g}, {ys[first]:g}): coordinates must be "
            "level-0 pixels, x before y"
        )


def _columns_by_name(header: Sequence[str], where: str) -> tuple[int, int, int]:
    names = [field.strip().lower() for field in header]
    found = []
    for wanted, spellings in _COLUMN_NAMES.items():
        matches = [index for index, name in enumerate(names) if name in spellings]
        if len(matches) != 1:
            raise EvaluationError(
                f"{where}: {len(matches)} columns for {wanted} in the header {','.join(header)!r}; expected one named "
                f"{' or '.join(spellings)}"
            )
        found.append(matches[0])
    return found[0], found[1], found[2]


def _numbers(fields: Sequence[str], columns: tuple[int, int, int], width: int, where: str) -> list[float]:
    if len(fields) != width:
        raise EvaluationError(
            f"{where}: {len(fields)} values instead of {width} in {','.join(fields)!r}; expected {_EXPECTED}"
        )
    values = []
    for column in columns:
        if not _is_number(fields[column]):
            raise EvaluationError(f"{where}: {fields[column]!r} is not a finite number; expected {_EXPECTED}")
        values.append(float(fields[column]))
    return values


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _problem(row: NDArray[np.float64]) -> str | None:
    confidence, x, y = (float(value) for value in row)
    if not all(math.isfinite(value) for value in (confidence, x, y)):
        return f"confidence {confidence}, x {x}, y {y} are not all finite numbers"
    if not 0 < confidence <= 1:
        return f"confidence {confidence:g} is outside (0, 1]; give probabilities, and leave out what has none"
    if x < 0 or y < 0:
        return f"({x:g}, {y:g}) lies outside every slide; coordinates are level-0 pixels from the top-left corner"
    return None
