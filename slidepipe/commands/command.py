"""What all commands share: how they end, where they print, and the one call that takes a run through a stage."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def command(function: Callable[..., Any]) -> click.Command:
    """Make a command that ends with a message, not a traceback, on errors that slidepipe raises on purpose.

    So it does on errors of disks and networks.

    Parameters
    ----------
    function
        Its name becomes the command's name, its docstring the help; a true result is exit code 1.

    Returns
    -------
    Command
        Not yet in any group.
    """

    def call(*arguments: Any, **options: Any) -> None:
        from slidepipe.errors import SlidepipeError

        try:
            failed = function(*arguments, **options)
        except SlidepipeError as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from error
        except OSError as error:  # a disk that is full, may not be written or has gone is nobody's bug
            logging.getLogger(__name__).info("the command ends", exc_info=True)
            if error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(
                f"{type(error).__name__}: {where}{error.strerror}. What is done is kept: mend it and run again"
            ) from error
        if failed:
            sys.exit(1)

    call.__doc__ = function.__doc__
    call.__name__ = function.__name__
    call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return click.command(name=function.__name__.replace("_", "-"))(call)


def run_stage(
    name: str,
    run_folder: Path,
    overrides: Sequence[str],
    slide_ids: Sequence[str] = (),
    performance_report: Path | None = None,
) -> bool:
    """Take the slides of a run through one stage.

    Parameters
    ----------
    name
        The stage.
    run_folder
        Run directory of a study that was begun.
    overrides
        Settings to change, ``section.key=value``.
    slide_ids
        Slides to work on; none for all.
    performance_report
        HTML page to write about what the workers did.

    Returns
    -------
    bool
        Whether anything failed.
    """
    from slidepipe.runs.pipeline import RunOptions, run_stages
    from slidepipe.runs.study import open_study

    options = RunOptions(performance_report=performance_report)
    study = open_study(run_folder, overrides).choose(slide_ids)
    return run_stages(study, (name,), console(), options)


def with_workers(overrides: Sequence[str], workers: int | None) -> list[str]:
    """Add the option ``--workers`` to the settings that are changed.

    Parameters
    ----------
    overrides
        Settings to change, ``section.key=value``.
    workers
        Number of workers; None changes nothing.

    Returns
    -------
    list of str
        All settings to change.
    """
    return [*overrides, *([f"cluster.workers={workers}"] if workers else [])]


def with_model(overrides: Sequence[str], model: str | None) -> list[str]:
    """Add the option ``--model`` to the settings that are changed.

    Parameters
    ----------
    overrides
        Settings to change, ``section.key=value``.
    model
        Folder of a model or ``builtin``; None changes nothing.

    Returns
    -------
    list of str
        All settings to change.
    """
    return [*overrides, *([f"inference.model={json.dumps(model)}"] if model is not None else [])]


def console() -> Console:
    """Make the console that commands print to.

    Returns
    -------
    Console
        On standard output, without colours for numbers and paths.
    """
    from rich.console import Console

    return Console(highlight=False)
