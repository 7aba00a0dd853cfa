"""What the viewer answers to a path: a fixed table of places under each slide's name, and nothing else.

A path is cut at its slashes first and decoded after, and its parts are looked up: the slide's name in the run, the
rest in tables. No part of a request ever becomes part of a file's path, so no spelling of ``..`` leads anywhere. Files
of the run are read only if they still lie in it once all links are followed. Answers hold slide names and no file
names; what went wrong is told to the terminal, and to the browser only that something did.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from slidepipe.errors import RunError, SlidepipeError
from slidepipe.export.slide_pictures import fit_thumbnail
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.heatmaps.store import open_heatmap
from slidepipe.slides.handles import borrow_slide
from slidepipe.viewer.deep_zoom import DeepZoom, draw_tile, is_too_coarse
from slidepipe.viewer.layers import describe_lesions, draw_layer, draw_reference, fit_heatmap
from slidepipe.viewer.pages import STATIC_FILES, read_static, render_index, render_slide
from slidepipe.viewer.viewed_run import ViewedRun, ViewedSlide

logger = logging.getLogger(__name__)

_STYLE_OF_OPENSEADRAGON = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
"""The one rule that OpenSeadragon 6.1 adds to a page by itself, about the focus on touch screens."""

PAGE_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_STYLE_OF_OPENSEADRAGON}; img-src 'self'; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded but from this server, and no script or style runs that stands in a page."""

REPORT_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The report brings its own, stricter policy, which lets its script run by its hash."""

_HTML, _TEXT, _JSON = "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json"
_THUMBNAIL_BYTES = 40_000
_SQUARE = re.compile(r"([0-9]{1,6})_([0-9]{1,6})\.jpeg")
_LEVEL = re.compile(r"[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    content: bytes
    media_type: str = _HTML
    status: HTTPStatus = HTTPStatus.OK
    policy: str = PAGE_POLICY
    """Content-Security-Policy."""


def answer(run: ViewedRun, target: str) -> Answer:
    """Answer a request.

    Parameters
    ----------
    run
        What is shown.
    target
        Path of the request, with or without a query, as it came.

    Returns
    -------
    Answer
        404 for everything that is not in the run; 500 where a file of it cannot be read.
    """
    path = target.partition("?")[0].partition("#")[0]
    parts = tuple(unquote(part, errors="replace") for part in path.split("/"))
    try:
        found = _find(run, parts[1:]) if parts[0] == "" else None
    except (SlidepipeError, OSError) as error:
        logger.warning("%s cannot be shown: %s", target, error)
        return refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "this cannot be shown: the terminal says why")
    return refuse(HTTPStatus.NOT_FOUND, "there is no such thing in this run") if found is None else found


def refuse(status: HTTPStatus, reason: str) -> Answer:
    """Make the answer to a request that is not met.

    Parameters
    ----------
    status
        Why, as a number.
    reason
        Why, in words.

    Returns
    -------
    Answer
        Plain text.
    """
    return Answer(f"{status.value} {status.phrase}: {reason}\n".encode(), _TEXT, status)


def _find(run: ViewedRun, parts: tuple[str, ...]) -> Answer | None:
    match parts:
        case ("",):
            return Answer(render_index(run).encode())
        case ("report.html",) if run.report is not None:
            return Answer(_inside(run, run.report).read_bytes(), policy=REPORT_POLICY)
        case ("static", name) if name in STATIC_FILES:
            return Answer(read_static(name), STATIC_FILES[name])
        case ("slides", slide_id, *rest) if slide_id in run.slides:
            return _find_of_slide(run, run.slides[slide_id], tuple(rest))
    return None


def _find_of_slide(run: ViewedRun, slide: ViewedSlide, rest: tuple[str, ...]) -> Answer | None:
    match rest:
        case (name,) if name in _PARTS_OF_A_SLIDE:
            return _PARTS_OF_A_SLIDE[name](run, slide)
        case ("image_files", level, name):
            square = _SQUARE.fullmatch(name)
            if square is not None and _LEVEL.fullmatch(level):
                return _tile(run, slide, (int(level), int(square[1]), int(square[2])))
    return None


def _page(run: ViewedRun, slide: ViewedSlide) -> Answer:
    return Answer(render_slide(run, slide).encode())


def _descriptor(run: ViewedRun, slide: ViewedSlide) -> Answer:
    with borrow_slide(slide.source) as reader:
        return Answer(DeepZoom(reader.info.size_px0).descriptor().encode(), "application/xml")


def _tile(run: ViewedRun, slide: ViewedSlide, square: tuple[int, int, int]) -> Answer | None:
    with borrow_slide(slide.source) as reader:
        jpeg = draw_tile(reader, square, _overview(run, slide))
    return None if jpeg is None else Answer(jpeg, "image/jpeg")


def _overview(run: ViewedRun, slide: ViewedSlide) -> Image.Image | None:
    if slide.thumbnail is None or not slide.thumbnail.is_file():
        return None
    with _inside(run, slide.thumbnail).open("rb") as file, Image.open(file) as opened:
        return opened.convert("RGB")


def _thumbnail(run: ViewedRun, slide: ViewedSlide) -> Answer | None:
    if slide.thumbnail is None:
        return None
    picture = fit_thumbnail(_inside(run, slide.thumbnail), _THUMBNAIL_BYTES, slide.source.slide_id)
    return Answer(picture, "image/jpeg")


def _heatmap_picture(run: ViewedRun, slide: ViewedSlide) -> Answer | None:
    heatmap = _heatmap(run, slide)
    return None if heatmap is None else Answer(draw_layer(fit_heatmap(heatmap)), "image/png")


def _description(run: ViewedRun, slide: ViewedSlide) -> Answer:
    with borrow_slide(slide.source) as reader:
        info = reader.info
    zoom, heatmap = DeepZoom(info.size_px0), _heatmap(run, slide)
    described = describe_lesions(heatmap, slide.lesions, run.threshold)
    notes = described.pop("notes")
    coarse = [zoom.factor(level) for level in range(zoom.last_level + 1)]
    if slide.thumbnail is not None and any(is_too_coarse(info, factor) for factor in coarse):
        notes.append("The slide has too few levels: seen from afar, it is the run's small picture of it.")
    layer = None
    if heatmap is not None:
        fitted = fit_heatmap(heatmap)
        layer = {"extent": fitted.extent_px0, "cells": fitted.cells, "cell_um": heatmap.cell_um.mean_um}
    reference = ""
    if slide.annotation is not None:
        left, top, *_ = info.bounds_px0 or (0, 0)
        reference = draw_reference(slide.annotation, slide.source.slide_id, dict(run.classes), (left, top))
    about = {
        "size": info.size_px0,
        "um_per_px": [info.pixel_size.x_um, info.pixel_size.y_um],
        "heatmap": layer,
        "reference": reference,
        "notes": notes,
        **described,
    }
    return Answer(json.dumps(about, allow_nan=False).encode(), _JSON)


def _heatmap(run: ViewedRun, slide: ViewedSlide) -> Heatmap | None:
    heatmap = None if slide.heatmap is None else open_heatmap(_inside(run, slide.heatmap))
    return heatmap if heatmap is not None and heatmap.probability.size else None


def _inside(run: ViewedRun, path: Path) -> Path:
    """Follow all links to a file of the run.

    Raises
    ------
    RunError
        If it lies outside of the run then.
    """
    found = path.resolve(strict=True)
    if not found.is_relative_to(run.root.resolve()):
        raise RunError(
            f"{path} is a link to {found}, outside of the run {run.root}: put the file itself there"
        )
    return found


_PARTS_OF_A_SLIDE: Mapping[str, Callable[[ViewedRun, ViewedSlide], Answer | None]] = {
    "": _page,
    "image.dzi": _descriptor,
    "slide.json": _description,
    "heatmap.png": _heatmap_picture,
    "thumbnail.jpg": _thumbnail,
}
"""What there is of a slide, besides its squares."""
