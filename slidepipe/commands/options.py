"""Options of the command line, each defined once and used by every command that takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class _FolderOrUrl(click.ParamType[Path]):
    """A folder on a disk or in an object store, which may not exist yet."""

    name = "directory"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from slidepipe.storage.locations import location

        return location(value)


folder_or_url = _FolderOrUrl()
existing_file = click.Path(path_type=str, exists=True, dir_okay=False)
existing_folder = click.Path(path_type=str, exists=True, file_okay=False)

run_option = click.option(
    "--run",
    "run_folder",
    type=folder_or_url,
    required=True,
    metavar="DIR",
    help="Run directory, a path or a URL such as s3://bucket/run.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, as in tiles.mpp=0.5; repeatable.",
)
model_option = click.option(
    "--model",
    metavar="DIR|builtin",
    help="Another model than the run's own: its folder or URL, or the one that comes with slidepipe.",
)
slides_option = click.option(
    "--slide",
    "slide_ids",
    multiple=True,
    metavar="ID",
    help="Only this slide of a study that was begun; repeatable.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Short for --set cluster.workers=N. Default: one per core."
)
accept_changed_option = click.option(
    "--accept-changed",
    is_flag=True,
    help="Do slides again whose files have changed since they were tiled; else they are refused.",
)
_IN_THE_RUN = "run"


class _Page(click.ParamType[Path]):
    """An HTML page to write: nothing else is ever overwritten, should the name of another file follow the option."""

    name = "page"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from slidepipe.storage.locations import location

        if value == _IN_THE_RUN:
            return Path()
        if not value.lower().endswith((".html", ".htm")):
            self.fail(
                f"{value!r} is no name of an HTML page, such as report.html; give the option last to leave it out",
                param,
                ctx,
            )
        return location(value)


performance_report_option = click.option(
    "--performance-report",
    type=_Page(),
    is_flag=False,
    flag_value=_IN_THE_RUN,
    metavar="[FILE]",
    help="Write an HTML page about what the Dask workers did; without FILE, performance.html in the run directory.",
)

_results_options = (
    click.option(
        "--reference", type=existing_file, help="Table of slides: reference.csv, in either of its layouts."
    ),
    click.option(
        "--annotations",
        type=existing_folder,
        help="Outlines of the lesions, one XML or GeoJSON file a slide.",
    ),
    click.option(
        "--masks",
        type=existing_folder,
        help="Masks of the lesions, one image a slide, instead of --annotations.",
    ),
    click.option(
        "--mask-value",
        type=click.Choice(["255", "1", "2"]),
        default="255",
        show_default=True,
        help="Value of tumour in the masks.",
    ),
    click.option(
        "--mask-level", type=click.IntRange(min=0), help="Pyramid level of the masks.  [default: 5]"
    ),
    click.option(
        "--slides", type=existing_folder, help="The slides themselves, for their sizes and pixel sizes."
    ),
    click.option(
        "--split",
        type=click.Choice(["auto", "all", "train", "test"]),
        default="auto",
        show_default=True,
        help="Rows of the reference table that are meant.",
    ),
    click.option("--exclusions", help="Slides to leave out: camelyon16, or a CSV file slide,scope,reason."),
    click.option("--score-column", help="Column of a table of slide scores that has several."),
    click.option(
        "--rule",
        "rules",
        type=click.Choice(["public", "leaderboard", "release", "exact"]),
        multiple=True,
        default=("public",),
        show_default=True,
        help="FROC rule; repeatable.",
    ),
    click.option("--compat", is_flag=True, help="Imitate the artefacts of the organisers' scripts."),
    click.option("--allow-missing", is_flag=True, help="Count a missing slide as one without detections."),
    click.option(
        "--resamples",
        type=click.IntRange(min=0),
        default=2000,
        show_default=True,
        help="Bootstrap resamples.",
    ),
    click.option(
        "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="File to write."
    ),
)


def results_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options about anybody's results.

    Parameters
    ----------
    function
        The command's function; it gets them as keywords.

    Returns
    -------
    Callable
        The same function.
    """
    for option in reversed(_results_options):
        function = option(function)
    return function
