"""Commands that show what is there and change nothing."""

from __future__ import annotations

from pathlib import Path

import click

from slidepipe.commands.command import command, console
from slidepipe.commands.options import folder_or_url, run_option


@command
@run_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others see what you see."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0 for any free port."
)
def view(run_folder: Path, host: str, port: int) -> None:
    """Show the slides in a browser, with heatmaps and lesions over them."""
    from slidepipe.runs.study import open_study
    from slidepipe.runs.viewing import serve_study

    serve_study(open_study(run_folder), host, port, console())


@command
@click.argument("slides", nargs=-1, required=True, metavar="SLIDES...")
def check_phi(slides: tuple[str, ...]) -> bool:
    """List what slide files may tell about patients: label images, names, dates. Exits 1 if there is anything."""
    from slidepipe.slides.risky_fields import print_risky_fields

    return print_risky_fields(slides, console())


@command
@run_option
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--watch", is_flag=True, help="Go on until the command that works on the run ends.")
def status(run_folder: Path, as_json: bool, watch: bool) -> bool:
    """Say what is done, running and failed, and why: at any time, from any machine that sees the run."""
    from slidepipe.runs.status_table import print_status, watch_status

    if as_json and watch:
        raise click.UsageError("--json is for scripts and --watch for people: give one of them")
    if watch:
        return watch_status(run_folder, console())
    return print_status(run_folder, console(), as_json=as_json)


@command
@run_option
@click.option("--decode", is_flag=True, help="Also decode every tile.")
def verify(run_folder: Path, decode: bool) -> bool:
    """Check every store: is it complete, and made from this slide with these settings."""
    from slidepipe.runs.study import open_study
    from slidepipe.runs.verify import print_problems

    return print_problems(open_study(run_folder), console(), decode=decode)


@command
@click.option(
    "--run",
    "run_folder",
    type=folder_or_url,
    metavar="DIR",
    help="Check this run's disk and scheduler.",
)
def doctor(run_folder: Path | None) -> bool:
    """Check readers, codecs, device, disk and scheduler, and say what would be slow."""
    from slidepipe.runs.doctor import print_checks

    return print_checks(run_folder, console())
