"""The report: one run as one HTML page that needs nothing else.

Style, script and pictures are inside the page, so it can be mailed, archived, opened from a file share and printed.
The page shows what it is given and computes no result of its own. Three decisions:

* What went wrong stands first. A figure is worth nothing to a reader who has not seen which slides it lacks.
* Everything that came from outside (slide names, messages, settings) is text to the page, never markup: the template
  escapes it, and the page's content policy lets only this package's own script run, named by its hash. Nothing is
  loaded from anywhere.
* Pictures share a fixed number of bytes, so 400 slides stay under 30 MB; with more slides they get smaller.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import slidepipe
from slidepipe.export.report_inputs import FailureRow, ReportInputs, SlideRow, StageRow, TrainingRow
from slidepipe.export.report_results import read_results
from slidepipe.export.report_slides import picture_budget, view_slide
from slidepipe.export.slide_pictures import colour_stops
from slidepipe.storage.publish import write_text

__all__ = [
    "FailureRow",
    "ReportInputs",
    "SlideRow",
    "StageRow",
    "TrainingRow",
    "render_report",
    "write_report",
]

_CHOICES = (("split", "split"), ("label", "label"), ("size", "size_class"), ("centre", "centre"))
_COLUMNS = (
    ("Slide", "text"), ("Tumour probability", "number"), ("Label", "text"), ("Size", "text"), ("Centre", "text"),
    ("Split", "text"), ("Lesions", "number"), ("Missed", "number"), ("False positives", "number"),
    ("Tissue, mm²", "number"), ("Damaged tiles", "number"),
)  # fmt: skip


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write the report.

    Parameters
    ----------
    inputs
        What to show. Equal inputs give equal bytes.
    path
        HTML file to write or replace, in one step.

    Raises
    ------
    ExportError
        If a thumbnail cannot be read, or a heatmap or the evaluation holds something else than it should.
    StoreError
        If a heatmap store cannot be used.
    OSError
        If the file cannot be written.
    """
    write_text(path, render_report(inputs))


def render_report(inputs: ReportInputs) -> str:
    """Make the report's page.

    Parameters
    ----------
    inputs
        What to show.

    Returns
    -------
    str
        A whole HTML document.

    Raises
    ------
    ExportError
        If a thumbnail cannot be read, or a heatmap or the evaluation holds something else than it should.
    StoreError
        If a heatmap store cannot be used.
    """
    script = _file_of_page("report.js")
    budget = picture_budget(len(inputs.slides))
    results = read_results(inputs.evaluation or {})
    slides = [view_slide(row, results.slides.get(row.slide_id), budget) for row in inputs.slides]
    page = _environment().get_template("report.html")
    return page.render(
        title=inputs.title,
        created=inputs.created,
        version=slidepipe.__version__,
        content_policy=_content_policy(script),
        style=Markup(_file_of_page("report.css").replace("var(--stops)", ", ".join(colour_stops()))),
        script=Markup(script),
        columns=_COLUMNS,
        slides=slides,
        choices={name: _choices(inputs.slides, field) for name, field in _CHOICES},
        damaged=[row for row in inputs.slides if row.n_damaged],
        failures=inputs.failures,
        n_failed=len({failure.slide_id for failure in inputs.failures} - {None}),
        results=results,
        stages=_stage_views(inputs.stages),
        training=inputs.training,
        training_plot="" if inputs.training is None else _as_address(inputs.training.plot),
        provenance=[_provenance_view(name, value) for name, value in inputs.provenance.items()],
    )


def _as_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("slidepipe.export"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _file_of_page(name: str) -> str:
    return resources.files("slidepipe.export").joinpath("templates", name).read_text(encoding="utf-8")


def _content_policy(script: str) -> str:
    """Policy under which nothing is loaded, and no script runs but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _choices(rows: Sequence[SlideRow], field_name: str) -> list[str]:
    values = (getattr(row, field_name) for row in rows)
    return sorted({value for value in values if value is not None})


@dataclass(frozen=True, slots=True)
class _StageView:
    """A stage as the template needs it; empty text where nothing is known."""

    row: StageRow
    share: float | None
    """Of the time of all stages."""
    time: str
    busy: str
    memory: str


def _stage_views(rows: Sequence[StageRow]) -> list[_StageView]:
    total = sum(row.wall_s or 0.0 for row in rows)
    return [
        _StageView(
            row=row,
            share=None if row.wall_s is None or not total else row.wall_s / total,
            time="" if row.wall_s is None else _duration(row.wall_s),
            busy=_busy(row),
            memory="" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**30:.1f} GiB",
        )
        for row in rows
    ]


def _busy(row: StageRow) -> str:
    if row.busy_s is None or not row.wall_s:
        return ""
    at_work = row.busy_s / row.wall_s
    if not row.workers:
        return f"{at_work:.1f}"
    return f"{at_work:.1f} of {row.workers} ({100 * at_work / row.workers:.0f} %)"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


@dataclass(frozen=True, slots=True)
class _ProvenanceView:
    """A part of the provenance: names and values, or text as it is."""

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    text: str = ""


def _provenance_view(name: str, value: object) -> _ProvenanceView:
    if isinstance(value, Mapping) and not any(
        isinstance(item, (Mapping, list, tuple)) for item in value.values()
    ):
        return _ProvenanceView(name, pairs=tuple((str(key), str(item)) for key, item in value.items()))
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return _ProvenanceView(name, text=text)
