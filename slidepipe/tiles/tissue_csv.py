"""A table of tissue settings, one row per slide, for odd slides: look at them, edit the table, run again.

Every setting is a column, so that a person can open the table beside the overviews, correct the row of the
one slide with a pen mark or pale tissue, and run again: only slides whose row changed are cut anew. A cell is
empty where the slide follows the settings of the whole study, so that changing those still changes the slide.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from slidepipe.errors import ConfigError
from slidepipe.storage.publish import write_text
from slidepipe.tiles.tissue import TissueSettings

_SLIDE = "slide_id"
_MASK = "mask"
_SETTINGS = tuple(field.name for field in dataclasses.fields(TissueSettings))
_DEFAULTS = TissueSettings()


@dataclasses.dataclass(frozen=True, slots=True)
class TissueRow:
    """What a tissue table says of one slide."""

    settings: TissueSettings
    """How tissue is found."""
    mask: str | None = None
    """Path of a drawn mask, see `slidepipe.tiles.tissue_file.read_tissue_mask`; then only the margin of
    `settings` counts. Relative paths start at the folder of the table."""


def write_tissue_table(
    path: Path, rows: Mapping[str, TissueRow], defaults: TissueSettings = _DEFAULTS
) -> None:
    """Write a table that a person can edit.

    Parameters
    ----------
    path
        CSV file, replaced if it exists.
    rows
        Slide ID to what holds for it, written in this order.
    defaults
        Settings of the whole study. Cells that say the same are left empty.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([_SLIDE, *_SETTINGS, _MASK])
    for slide_id, row in rows.items():
        pairs = [(getattr(row.settings, name), getattr(defaults, name)) for name in _SETTINGS]
        values = ["" if value == default else _as_text(value) for value, default in pairs]
        writer.writerow([slide_id, *values, row.mask or ""])
    write_text(path, table.getvalue())


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def read_tissue_table(path: Path, defaults: TissueSettings = _DEFAULTS) -> dict[str, TissueRow]:
    """Read a table that a person may have edited.

    Parameters
    ----------
    path
        CSV file with a column ``slide_id`` and any of the settings and ``mask``.
    defaults
        Settings of the whole study, which hold where a cell is empty or a column is missing.

    Returns
    -------
    dict
        Slide ID to what holds for it, in the table's order.

    Raises
    ------
    ConfigError
        If the file cannot be read, a column is unknown or missing, a value is impossible, or a slide comes
        twice. The message names line and column.
    """
    try:
        lines = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True)
        columns = list(lines.fieldnames or [])
        _check_columns(path, columns)
        rows: dict[str, TissueRow] = {}
        for cells in lines:
            place = f"{path}, line {lines.line_num}"
            slide_id, row = _read_row(place, cells, defaults)
            if slide_id in rows:
                raise ConfigError(f"{place}, column {_SLIDE}: slide {slide_id} comes twice")
            rows[slide_id] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"tissue table {path} cannot be read: {error}") from error
    return rows


def _check_columns(path: Path, columns: list[str]) -> None:
    known = [_SLIDE, *_SETTINGS, _MASK]
    if _SLIDE not in columns:
        raise ConfigError(f"{path}, line 1: column {_SLIDE} is missing")
    for column in columns:
        if column not in known:
            raise ConfigError(f"{path}, line 1: column {column!r} is unknown; known are {', '.join(known)}")
        if columns.count(column) > 1:
            raise ConfigError(f"{path}, line 1: column {column} comes twice")


def _read_row(place: str, cells: dict[str, str | None], defaults: TissueSettings) -> tuple[str, TissueRow]:
    if None in cells:
        raise ConfigError(f"{place}: more cells than line 1 has columns")
    filled = {column: text.strip() for column, text in cells.items() if text and text.strip()}
    slide_id = filled.pop(_SLIDE, "")
    if not slide_id:
        raise ConfigError(f"{place}, column {_SLIDE}: empty")
    mask = filled.pop(_MASK, None)
    try:
        settings = TypeAdapter(TissueSettings).validate_python(dataclasses.asdict(defaults) | filled)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{place}, column {column}: {first['msg']}, got {first['input']!r}") from error
    return slide_id, TissueRow(settings, mask)
