"""Commands that take a study through the pipeline, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from slidepipe.commands.command import command, console, run_stage, with_workers
from slidepipe.commands.options import run_option, set_option, workers_option

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
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Default: NAME-run, beside you.",
)
@set_option
@workers_option
def run(config: Path, run_folder: Path | None, overrides: Sequence[str], workers: int | None) -> bool:
    """Run every stage of a study; done work is kept."""
    from slidepipe.config import load_config
    from slidepipe.runs.pipeline import STAGES, run_stages
    from slidepipe.runs.study import begin_study

    settings = load_config(config, with_workers(overrides, workers))
    study = begin_study(run_folder or Path(f"{config.stem}-run"), settings)
    return run_stages(study, STAGES, console())


@command
@click.argument("inputs", nargs=-1, metavar="[CONFIG | SLIDES...]")
@run_option
@click.option("--preview", is_flag=True, help="Only draw what would be cut, into overviews/.")
@set_option
@workers_option
def tile(
    inputs: tuple[str, ...], run_folder: Path, preview: bool, overrides: Sequence[str], workers: int | None
) -> bool:
    """Find tissue and cut it into tiles: one Zarr store per slide.

    Give a study's CONFIG, or just SLIDES, or nothing to go on with a run.
    """
    from slidepipe.config import load_config
    from slidepipe.runs.pipeline import run_stages
    from slidepipe.runs.study import begin_study, resume_study

    overrides = with_workers(overrides, workers)
    if not inputs:
        study = resume_study(run_folder, overrides)
    elif len(inputs) == 1 and Path(inputs[0]).suffix.lower() in _CONFIG_SUFFIXES:
        study = begin_study(run_folder, load_config(Path(inputs[0]), overrides))
    else:
        import json

        slides = f"slides={json.dumps(list(inputs))}"
        study = begin_study(run_folder, load_config(None, [slides, *overrides]))
    return run_stages(study, ("preview" if preview else "tile",), console())


@command
@run_option
@set_option
def train(run_folder: Path, overrides: Sequence[str]) -> bool:
    """Train the patch classifier on the training slides."""
    return run_stage("train", run_folder, overrides)


@command
@run_option
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of another model than the run's own.",
)
@set_option
@workers_option
def heatmap(run_folder: Path, model: Path | None, overrides: Sequence[str], workers: int | None) -> bool:
    """Compute the tumour probability over each slide."""
    if model is not None:
        overrides = [*overrides, f"inference.model={model.absolute()}"]
    return run_stage("heatmap", run_folder, with_workers(overrides, workers))


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
