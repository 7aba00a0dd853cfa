"""Commands that take a study through the pipeline, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slidepipe.commands.command import command, console, run_stage, with_model, with_workers
from slidepipe.commands.options import (
    accept_changed_option,
    folder_or_url,
    model_option,
    performance_report_option,
    run_option,
    set_option,
    slides_option,
    workers_option,
)

if TYPE_CHECKING:
    from slidepipe.runs.study import Study

_CONFIG_SUFFIXES = {".yaml", ".yml"}


@command
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("slidepipe-demo"),
    show_default=True,
    help="Where it is made.",
)
@set_option
@workers_option
def demo(out: Path, overrides: Sequence[str], workers: int | None) -> bool:
    """Draw a small CAMELYON16-like cohort and take it through the whole chain."""
    from slidepipe.runs.demo import run_demo

    return run_demo(out, with_workers(overrides, workers), console())


@command
@click.argument("config", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--run",
    "run_folder",
    type=folder_or_url,
    metavar="DIR",
    help="Default: NAME-run, beside you.",
)
@set_option
@workers_option
@accept_changed_option
@performance_report_option
def run(
    config: Path,
    run_folder: Path | None,
    overrides: Sequence[str],
    workers: int | None,
    accept_changed: bool,
    performance_report: Path | None,
) -> bool:
    """Run every stage of a study; done work is kept."""
    from slidepipe.config import load_config
    from slidepipe.runs.pipeline import STAGES, RunOptions, run_stages
    from slidepipe.runs.study import begin_study

    settings = load_config(config, with_workers(overrides, workers))
    study = begin_study(run_folder or Path(f"{config.stem}-run"), settings)
    return run_stages(study, STAGES, console(), RunOptions(accept_changed, performance_report))


@command
@click.argument("inputs", nargs=-1, required=True, metavar="CONFIG | SLIDES...")
@run_option
@set_option
def begin(inputs: tuple[str, ...], run_folder: Path, overrides: Sequence[str]) -> None:
    """Only look for the slides: makes the run directory with cohort.csv and tissue.csv.

    For a look before anything is done, and for workflow managers that call the stages themselves.
    """
    from slidepipe.runs.plan import fill_tissue_table

    study = study_to_tile(inputs, run_folder, overrides, ())
    fill_tissue_table(study)
    click.echo(f"{len(study.slides)} slides, see {study.folder.cohort}")


@command
@click.argument("inputs", nargs=-1, metavar="[CONFIG | SLIDES...]")
@run_option
@click.option("--preview", is_flag=True, help="Only draw what would be cut, into overviews/.")
@slides_option
@set_option
@workers_option
@accept_changed_option
@performance_report_option
def tile(
    inputs: tuple[str, ...],
    run_folder: Path,
    preview: bool,
    slide_ids: tuple[str, ...],
    overrides: Sequence[str],
    workers: int | None,
    accept_changed: bool,
    performance_report: Path | None,
) -> bool:
    """Find tissue and cut it into tiles: one Zarr store per slide.

    Give a study's CONFIG, or just SLIDES, or nothing to go on with a run.
    """
    from slidepipe.runs.pipeline import RunOptions, run_stages

    study = study_to_tile(inputs, run_folder, with_workers(overrides, workers), slide_ids)
    stages = ("preview" if preview else "tile",)
    return run_stages(study, stages, console(), RunOptions(accept_changed, performance_report))


def study_to_tile(
    inputs: tuple[str, ...], run_folder: Path, overrides: Sequence[str], slide_ids: tuple[str, ...]
) -> Study:
    """Begin a study, or go on with one, as the first stage does.

    Parameters
    ----------
    inputs
        A configuration, or slides, or nothing.
    run_folder
        Run directory.
    overrides
        Settings to change, ``section.key=value``.
    slide_ids
        Slides to work on, of a study that was begun; none for all.

    Returns
    -------
    Study
        Saved in its run directory.
    """
    from slidepipe.config import load_config
    from slidepipe.runs.study import begin_study, open_study, resume_study

    if slide_ids:
        if inputs:
            raise click.UsageError("--slide ID is for a study that was begun: leave out CONFIG and SLIDES")
        return open_study(run_folder, overrides).choose(slide_ids)
    if not inputs:
        return resume_study(run_folder, overrides)
    if len(inputs) == 1 and Path(inputs[0]).suffix.lower() in _CONFIG_SUFFIXES:
        return begin_study(run_folder, load_config(Path(inputs[0]), overrides))
    import json

    slides = f"slides={json.dumps(list(inputs))}"
    return begin_study(run_folder, load_config(None, [slides, *overrides]))


@command
@click.argument("config", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Train on the slides of a run.",
)
@click.option(
    "--patches", type=click.Path(exists=True), help="Train on patches: a folder or zip file, by class."
)
@click.option("--validation", type=click.Path(exists=True), help="Other patches, for validation.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the model goes.")
@set_option
def train(
    config: Path | None,
    run_folder: Path | None,
    patches: str | None,
    validation: str | None,
    out: Path | None,
    overrides: Sequence[str],
) -> bool:
    """Train the patch classifier.

    On the training slides of a run (--run DIR), or on patches in folders or zip files called 0 and 1, or normal and
    tumor (--patches, --validation and --out), as section train of a CONFIG says.
    """
    if run_folder is not None:
        if config or patches or validation or out:
            raise click.UsageError(
                "--run has its own configuration and slides: give nothing beside it but --set"
            )
        return run_stage("train", run_folder, overrides)
    if patches is None or validation is None or out is None:
        raise click.UsageError("give --run DIR, or --patches, --validation and --out")
    import json

    from slidepipe.config import load_config
    from slidepipe.runs.training import train_model

    files = [f"train.files={json.dumps(patches)}", f"train.validation_files={json.dumps(validation)}"]
    train_model(load_config(config, [*overrides, *files]).train, out, console())
    return False


@command
@click.argument("slides", nargs=-1, metavar="[SLIDES...]", type=click.Path(exists=True))
@click.option(
    "--run",
    "run_folder",
    type=folder_or_url,
    metavar="DIR",
    help="Run directory. Default with SLIDES: slidepipe-heatmaps, beside you.",
)
@model_option
@slides_option
@click.option("--qupath", is_flag=True, help="With SLIDES: also find lesions and write a QuPath project.")
@set_option
@workers_option
@performance_report_option
def heatmap(
    slides: tuple[str, ...],
    run_folder: Path | None,
    model: str | None,
    slide_ids: tuple[str, ...],
    qupath: bool,
    overrides: Sequence[str],
    workers: int | None,
    performance_report: Path | None,
) -> bool:
    """Compute the tumour probability over each slide.

    Give the --run of a study that was begun, or just SLIDES: they are then cut first, at the pixel size of the --model,
    builtin by default.
    """
    overrides = with_workers(overrides, workers)
    if slides:
        from slidepipe.runs.looking import look_at_slides

        if slide_ids:
            raise click.UsageError("--slide chooses slides of a study: give SLIDES or --slide")
        if performance_report is not None:
            raise click.UsageError("--performance-report goes with --run DIR")
        folder = run_folder or Path("slidepipe-heatmaps")
        return look_at_slides(
            slides, model or "builtin", folder, overrides, console=console(), with_qupath=qupath
        )
    if run_folder is None:
        raise click.UsageError("give --run DIR of a study, or SLIDES")
    if qupath:
        raise click.UsageError("--qupath goes with SLIDES: use `slidepipe predict` and `export` on a run")
    return run_stage("heatmap", run_folder, with_model(overrides, model), slide_ids, performance_report)


@command
@run_option
@set_option
def mine(run_folder: Path, overrides: Sequence[str]) -> bool:
    """Collect what the classifier takes for tumour on normal training slides; the next `run` trains on it."""
    return run_stage("mine", run_folder, overrides)


@command
@run_option
@set_option
@workers_option
def predict(run_folder: Path, overrides: Sequence[str], workers: int | None) -> bool:
    """Find lesions and give each slide a probability."""
    return run_stage("predict", run_folder, with_workers(overrides, workers))
