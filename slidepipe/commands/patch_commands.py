"""Commands on patches that belong to no slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from slidepipe.commands.command import command, console
from slidepipe.commands.options import set_option


@command
@click.argument("patches", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--model",
    metavar="DIR|builtin",
    default="builtin",
    show_default=True,
    help="Folder of a model, anybody's too, or the one that comes with slidepipe.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    required=True,
    help="Table to write: name,probability.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the results with what made them.",
)
@set_option
def classify(patches: Path, model: str, out: Path, json_path: Path | None, overrides: Sequence[str]) -> None:
    """Compute the tumour probability of each patch in a folder or zip file.

    Where folders are called 0 and 1, or normal and tumor, AUC and accuracy are told with their intervals.
    """
    from slidepipe.runs.classifying import classify_files

    classify_files(patches, model, out, json_path, overrides, console())
