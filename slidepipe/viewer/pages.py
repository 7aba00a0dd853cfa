"""The viewer's pages and the files they load. Everything comes from this package; nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from slidepipe.export.slide_pictures import colour_stops
from slidepipe.viewer.viewed_run import ViewedRun, ViewedSlide

STATIC_FILES: Mapping[str, str] = {
    "icon.svg": "image/svg+xml",
    "viewer.css": "text/css; charset=utf-8",
    "index.js": "text/javascript; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "openseadragon.min.js": "text/javascript; charset=utf-8",
    "openseadragon.LICENSE.txt": "text/plain; charset=utf-8",
}
"""Files that the pages load, with their media types. OpenSeadragon 6.1.1 is as published on npm (BSD-3-Clause)."""


def render_index(run: ViewedRun) -> str:
    """Make the page that lists the slides.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        A whole HTML document.
    """
    return _environment().get_template("index.html").render(run=run, slides=run.slides)


def render_slide(run: ViewedRun, slide: ViewedSlide) -> str:
    """Make the page of one slide.

    Parameters
    ----------
    run
        The run.
    slide
        One of its slides.

    Returns
    -------
    str
        A whole HTML document.
    """
    names = list(run.slides)
    at = names.index(slide.source.slide_id)
    return (
        _environment()
        .get_template("slide.html")
        .render(
            run=run,
            slide=slide,
            slide_id=slide.source.slide_id,
            before=names[at - 1] if at else None,
            after=names[at + 1] if at + 1 < len(names) else None,
            place=f"{at + 1} of {len(names)}",
        )
    )


@cache
def read_static(name: str) -> bytes:
    """Read one of `STATIC_FILES`.

    Parameters
    ----------
    name
        Its name.

    Returns
    -------
    bytes
        Its content; the style with the heatmap's colours filled in.
    """
    content = resources.files("slidepipe.viewer").joinpath("static", name).read_bytes()
    return content.replace(b"var(--stops)", ", ".join(colour_stops()).encode())


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("slidepipe.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
