"""Slide-level predictions: one probability a slide, from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from slidepipe.errors import EvaluationError
from slidepipe.slides.names import slide_id_of


def read_slide_probabilities(path: Path, column: str | None = None) -> dict[str, float]:
    """Read the probability of each slide that it holds metastases.

    Parameters
    ----------
    path
        CSV file, the slide's name in the first column, with or without a suffix. Without a header it has one more
        column, the probability (the challenge's format); with a header it may have several.
    column
        Which column to read, by its name in the header; may be None if there is only one.

    Returns
    -------
    dict
        Slide name to probability, in the order of the file. Any finite number is taken: ranks are all an AUC needs.

    Raises
    ------
    EvaluationError
        If a line cannot be read, a slide is listed twice, or `column` leaves open which column is meant; the message
        names the line, or the columns there are.
    CohortError
        If a slide's name cannot be one.
    FileNotFoundError
        If there is no such file.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [
            (number, [field.strip() for field in fields])
            for number, fields in enumerate(csv.reader(file), start=1)
            if any(field.strip() for field in fields)
        ]
    if not lines:
        raise EvaluationError(
            f"{path.name} is empty: expected a slide's name and its probability on each line"
        )
    has_header = _number(lines[0][1][-1]) is None
    width = len(lines[0][1])
    index = _column_index(lines[0][1] if has_header else None, width, column, path.name)
    probabilities: dict[str, float] = {}
    for number, fields in lines[1:] if has_header else lines:
        where = f"{path.name}, line {number}"
        if len(fields) != width:
            raise EvaluationError(f"{where}: {len(fields)} values instead of {width}")
        slide_id, value = slide_id_of(fields[0]), _number(fields[index])
        if value is None:
            raise EvaluationError(f"{where}: {fields[index]!r} of slide {slide_id} is not a finite number")
        if slide_id in probabilities:
            raise EvaluationError(f"{where}: slide {slide_id} is listed a second time")
        probabilities[slide_id] = value
    return probabilities


def _column_index(header: Sequence[str] | None, width: int, column: str | None, name: str) -> int:
    if width < 2:
        raise EvaluationError(f"{name} has one column: expected a slide's name and its probability")
    if header is None:
        if column is not None or width != 2:
            raise EvaluationError(
                f"{name} has {width} columns and no header: expected two columns, or a header"
            )
        return 1
    if column is None:
        if width != 2:
            raise EvaluationError(
                f"{name} has {width - 1} columns of probabilities, choose one of {', '.join(header[1:])}"
            )
        return 1
    if column not in header[1:]:
        raise EvaluationError(f"{name} has no column {column!r}, only {', '.join(header[1:])}")
    return header.index(column, 1)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
