"""The command line: parse, call one function, print. Commands stand in the order of the pipeline.

Rooms are imported inside the commands, so that ``slidepipe --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import slidepipe
from slidepipe.options import (
    existing_file,
    existing_folder,
    results_options,
    run_option,
    set_option,
    workers_option,
)

if TYPE_CHECKING:
    from slidepipe.evaluation.folders import FolderInputs
    from slidepipe.evaluation.settings import EvaluationSettings
    from slidepipe.runs.study import Study

_CONFIG_SUFFIXES = {".yaml", ".yml"}


class _InPipelineOrder(click.Group):
    """Lists commands as they are defined, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InPipelineOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(slidepipe.__version__, prog_name="slidepipe")
@click.option("-v", "--verbose", is_flag=True, help="Log what the rooms do.")
def main(verbose: bool) -> None:
    """Gigapixel slides to tile stores, tumour heatmaps, slide predictions and a lesion FROC."""
    # Only our own logger: the root logger would let the cluster's chatter through.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("slidepipe")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _command(function: Callable[..., Any]) -> click.Command:
    """Make a command that ends with a message, not a traceback, on errors that slidepipe raises on purpose."""

    def call(*arguments: Any, **options: Any) -> None:
        from slidepipe.errors import SlidepipeError

        try:
            failed = function(*arguments, **options)
        except SlidepipeError as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from error
        if failed:
            sys.exit(1)

    call.__doc__ = function.__doc__
    call.__name__ = function.__name__
    call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return main.command(name=function.__name__.removesuffix("_").replace("_", "-"))(call)


@_command
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

    return run_demo(out, _with_workers(overrides, workers), _console())


@_command
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

    settings = load_config(config, _with_workers(overrides, workers))
    study = begin_study(run_folder or Path(f"{config.stem}-run"), settings)
    return run_stages(study, STAGES, _console())


@_command
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

    overrides = _with_workers(overrides, workers)
    if not inputs:
        study = resume_study(run_folder, overrides)
    elif len(inputs) == 1 and Path(inputs[0]).suffix.lower() in _CONFIG_SUFFIXES:
        study = begin_study(run_folder, load_config(Path(inputs[0]), overrides))
    else:
        import json

        slides = f"slides={json.dumps(list(inputs))}"
        study = begin_study(run_folder, load_config(None, [slides, *overrides]))
    return run_stages(study, ("preview" if preview else "tile",), _console())


@_command
@run_option
@set_option
def train(run_folder: Path, overrides: Sequence[str]) -> bool:
    """Train the patch classifier on the training slides."""
    return _stage("train", run_folder, overrides)


@_command
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
    return _stage("heatmap", run_folder, _with_workers(overrides, workers))


@_command
@run_option
@set_option
@workers_option
def predict(run_folder: Path, overrides: Sequence[str], workers: int | None) -> bool:
    """Find lesions and give each slide a probability."""
    return _stage("predict", run_folder, _with_workers(overrides, workers))


@_command
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), metavar="DIR", help="Evaluate a run of slidepipe."
)
@set_option
@click.option(
    "--detections", type=existing_folder, help="Anybody's detections: one CSV file a slide, confidence,x,y."
)
@click.option("--slide-scores", type=existing_file, help="Anybody's slide probabilities: one CSV file.")
@results_options
def evaluate(run_folder: Path | None, overrides: Sequence[str], **options: Any) -> bool:
    """Compare predictions with the reference: FROC and AUC with intervals.

    Of a run (--run), or of anybody's results (--detections and --slide-scores with --reference).
    """
    if run_folder is not None:
        given = [name for name in ("detections", "slide_scores", "reference") if options[name] is not None]
        if given:
            raise click.UsageError(f"--run brings its own results: leave out --{given[0].replace('_', '-')}")
        return _stage("evaluate", run_folder, overrides)
    if options["reference"] is None:
        raise click.UsageError("give --run DIR, or --reference with --detections or --slide-scores")
    from slidepipe.evaluation.folders import evaluate_folder
    from slidepipe.evaluation.output import write_evaluation
    from slidepipe.evaluation.tables import evaluation_text

    json_path = options.pop("json_path")
    inputs, settings = _results(options)
    result = evaluate_folder(inputs, settings)
    click.echo(evaluation_text(result))
    if json_path is not None:
        for path in write_evaluation(result, json_path):
            click.echo(f"wrote {path}")
    return False


@_command
@click.option("--run", "run_folder", type=click.Path(path_type=Path), metavar="DIR", help="Run directory.")
@click.option(
    "--check", "checked", multiple=True, type=existing_file, help="Only check a GeoJSON file, anybody's."
)
@click.option(
    "--slides-root", type=existing_folder, help="Only point the project to slides that were moved here."
)
@click.option("--dicom", is_flag=True, help="Also write DICOM objects; needs --source and slidepipe[dicom].")
@click.option(
    "--source", type=existing_folder, help="The slides in DICOM: one series, or a folder of them by slide."
)
@set_option
@workers_option
def export(
    run_folder: Path | None,
    checked: tuple[str, ...],
    slides_root: str | None,
    dicom: bool,
    source: str | None,
    overrides: Sequence[str],
    workers: int | None,
) -> bool:
    """Write a QuPath project: GeoJSON, OME-TIFF heatmaps, challenge CSV.

    With --check, only tell what would stop QuPath from importing GeoJSON files.
    """
    if checked:
        from slidepipe.export.geojson_check import check_geojson

        problems = [f"{file}: {problem}" for file in checked for problem in check_geojson(Path(file))]
        click.echo("\n".join(problems) or f"{len(checked)} checked, no problem found")
        return bool(problems)
    if run_folder is None:
        raise click.UsageError("give --run DIR, or --check FILE")
    if dicom != (source is not None):
        raise click.UsageError("--dicom and --source SERIES_DIR belong together")
    if slides_root is not None:
        from slidepipe.export.qupath_moving import rewrite_project

        changed = rewrite_project(run_folder / "export", Path(slides_root))
        click.echo(f"{len(changed)} images of the project point to other files now")
        return False
    failed = _stage("export", run_folder, _with_workers(overrides, workers))
    if source is not None:
        failed = _export_dicom(run_folder, Path(source)) or failed
    return failed


@_command
@run_option
@set_option
def report(run_folder: Path, overrides: Sequence[str]) -> bool:
    """Write one self-contained HTML page about the run."""
    return _stage("report", run_folder, overrides)


@_command
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="A B..."
)
@results_options
def compare(paths: tuple[Path, ...], **options: Any) -> bool:
    """Compare runs or results on the same slides, each with the first: differences, intervals, p-values.

    A and B are run directories or evaluation.json files; with --reference also folders of detections and tables of
    slide scores.
    """
    if len(paths) < 2:
        raise click.UsageError("give two or more runs or results to compare")
    from slidepipe.evaluation.compare import comparison_json
    from slidepipe.evaluation.output import compare_paths
    from slidepipe.evaluation.tables import comparison_text
    from slidepipe.storage.publish import write_json

    json_path = options.pop("json_path")
    inputs, settings = _results(options)
    comparisons = compare_paths(paths, settings, inputs if inputs.reference else None)
    click.echo(comparison_text(comparisons))
    if json_path is not None:
        write_json(json_path, comparison_json(comparisons))
        click.echo(f"wrote {json_path}")
    return False


@_command
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

    serve_study(open_study(run_folder), host, port, _console())


@_command
@click.argument("slides", nargs=-1, required=True, metavar="SLIDES...")
def check_phi(slides: tuple[str, ...]) -> bool:
    """List what slide files may tell about patients: label images, names, dates. Exits 1 if there is anything."""
    from slidepipe.slides.risky_fields import print_risky_fields

    return print_risky_fields(slides, _console())


@_command
@run_option
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(run_folder: Path, as_json: bool) -> bool:
    """Say what is done, running and failed, and why."""
    from slidepipe.runs.status import print_status

    return print_status(run_folder, _console(), as_json=as_json)


@_command
@run_option
@click.option("--decode", is_flag=True, help="Also decode every tile.")
def verify(run_folder: Path, decode: bool) -> bool:
    """Check every store: is it complete, and made from this slide with these settings."""
    from slidepipe.runs.study import open_study
    from slidepipe.runs.verify import print_problems

    return print_problems(open_study(run_folder), _console(), decode=decode)


@_command
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Check this run's disk and scheduler.",
)
def doctor(run_folder: Path | None) -> bool:
    """Check readers, codecs, device, disk and scheduler, and say what would be slow."""
    from slidepipe.runs.doctor import print_checks

    return print_checks(run_folder, _console())


def _export_dicom(run_folder: Path, source: Path) -> bool:
    try:
        from slidepipe.runs.dicom_export import export_dicom
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'slidepipe[dicom]'") from error
    from slidepipe.runs.study import open_study

    return export_dicom(open_study(run_folder), source, _console())


def _stage(name: str, run_folder: Path, overrides: Sequence[str]) -> bool:
    from slidepipe.runs.pipeline import run_stages
    from slidepipe.runs.study import open_study

    study: Study = open_study(run_folder, overrides)
    return run_stages(study, (name,), _console())


def _results(options: dict[str, Any]) -> tuple[FolderInputs, EvaluationSettings]:
    """Sort the options about anybody's results into inputs and settings."""
    from slidepipe.evaluation.folders import FolderInputs
    from slidepipe.evaluation.settings import EvaluationSettings

    names = ("rules", "compat", "allow_missing", "resamples", "mask_level")
    settings = EvaluationSettings(**{name: options.pop(name) for name in names})
    options["mask_value"] = int(options["mask_value"])
    return FolderInputs(**{**options, "reference": options["reference"] or ""}), settings


def _with_workers(overrides: Sequence[str], workers: int | None) -> list[str]:
    return [*overrides, *([f"cluster.workers={workers}"] if workers else [])]


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
