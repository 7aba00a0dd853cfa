"""A cohort as a table on disk: what a run keeps of the slides that it was begun with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, get_args

from slidepipe.errors import CohortError
from slidepipe.slides.cohort import Cohort, CohortSlide
from slidepipe.slides.exclusions import Scope
from slidepipe.slides.labels import SizeClass
from slidepipe.slides.names import Label, Split, check_slide_id
from slidepipe.slides.reader import ReaderName, SlideSource
from slidepipe.storage.access import BY_ENVIRONMENT, StoreAccess
from slidepipe.storage.publish import write_text

_COLUMNS = (
    "slide_id", "path", "reader", "mpp", "label", "size_class", "centre", "split", "annotation", "exhaustive",
    "excluded", "notes", "cohort",
)  # fmt: skip


def write_cohort(cohort: Cohort, path_csv: Path) -> None:
    """Write a cohort as a table, one row per slide; slides that are missing have no path.

    Parameters
    ----------
    cohort
        What to write.
    path_csv
        Where. The file appears whole or not at all.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for slide in cohort.slides:
        source = slide.source
        table.writerow(
            {
                "slide_id": source.slide_id,
                "path": source.path,
                "reader": source.reader,
                "mpp": "" if source.mpp is None else repr(source.mpp),
                "label": slide.label or "",
                "size_class": slide.size_class or "",
                "centre": slide.centre or "",
                "split": slide.split or "",
                "annotation": slide.annotation or "",
                "exhaustive": "yes" if slide.exhaustive else "no",
                "excluded": " ".join(slide.excluded),
                "notes": json.dumps(slide.notes, ensure_ascii=False),
                "cohort": cohort.name,
            }
        )
    for slide_id in cohort.missing:
        table.writerow({"slide_id": slide_id, "notes": '["missing"]', "cohort": cohort.name})
    write_text(path_csv, text.getvalue())


def read_cohort(path_csv: Path, access: StoreAccess = BY_ENVIRONMENT) -> Cohort:
    """Read a table that `write_cohort` wrote.

    Parameters
    ----------
    path_csv
        The table.
    access
        How the object store of the slides is reached; the table does not say.

    Returns
    -------
    Cohort
        Equal to the one written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CohortError
        If it is not such a table, or a value in it was changed to one that is not known.
    """
    table = csv.DictReader(io.StringIO(path_csv.read_text(encoding="utf-8"), newline=""))
    if tuple(table.fieldnames or ()) != _COLUMNS:
        raise CohortError(
            f"{path_csv} is not the table of a cohort: its columns are not {', '.join(_COLUMNS)}"
        )
    slides, missing, name = [], [], ""
    for row in table:
        name = row["cohort"]
        try:
            check_slide_id(row["slide_id"])
            if row["path"]:
                slides.append(_slide_of(row, access))
            else:
                missing.append(row["slide_id"])
        except (KeyError, ValueError, TypeError) as error:
            raise CohortError(
                f"{path_csv}, line {table.line_num}: the row cannot be used: {error}"
            ) from error
    return Cohort(name, tuple(slides), tuple(missing))


def _slide_of(row: dict[str, str], access: StoreAccess) -> CohortSlide:
    readers, labels = _known(ReaderName), _known(Label)
    size_classes, splits, scopes = _known(SizeClass), _known(Split), _known(Scope)
    return CohortSlide(
        source=SlideSource(
            row["slide_id"],
            row["path"],
            readers[row["reader"]],
            float(row["mpp"]) if row["mpp"] else None,
            access,
        ),
        label=labels[row["label"]] if row["label"] else None,
        size_class=size_classes[row["size_class"]] if row["size_class"] else None,
        centre=row["centre"] or None,
        split=splits[row["split"]] if row["split"] else None,
        annotation=row["annotation"] or None,
        exhaustive={"yes": True, "no": False}[row["exhaustive"]],
        excluded=tuple(scopes[scope] for scope in row["excluded"].split()),
        notes=tuple(json.loads(row["notes"])),
    )


def _known(choices: Any) -> dict[str, Any]:
    """Values of a Literal by themselves, so that a text is checked as it is looked up."""
    return {value: value for value in get_args(choices)}
