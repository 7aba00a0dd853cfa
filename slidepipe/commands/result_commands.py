"""Commands that judge results and write them down for others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slidepipe.commands.command import command, console, run_stage, with_workers
from slidepipe.commands.options import (
    existing_file,
    existing_folder,
    folder_or_url,
    results_options,
    run_option,
    set_option,
    workers_option,
)

if TYPE_CHECKING:
    from slidepipe.evaluation.folders import FolderInputs
    from slidepipe.evaluation.settings import EvaluationSettings


@command
@click.option("--run", "run_folder", type=folder_or_url, metavar="DIR", help="Evaluate a run of slidepipe.")
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
        return run_stage("evaluate", run_folder, overrides)
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


@command
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


@command
@click.option("--run", "run_folder", type=folder_or_url, metavar="DIR", help="Run directory.")
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
    failed = run_stage("export", run_folder, with_workers(overrides, workers))
    if source is not None:
        failed = _export_dicom(run_folder, Path(source)) or failed
    return failed


@command
@run_option
@set_option
def report(run_folder: Path, overrides: Sequence[str]) -> bool:
    """Write one self-contained HTML page about the run."""
    return run_stage("report", run_folder, overrides)


def _export_dicom(run_folder: Path, source: Path) -> bool:
    try:
        from slidepipe.runs.dicom_export import export_dicom
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'slidepipe[dicom]'") from error
    from slidepipe.runs.study import open_study

    return export_dicom(open_study(run_folder), source, console())


def _results(options: dict[str, Any]) -> tuple[FolderInputs, EvaluationSettings]:
    """Sort the options about anybody's results into inputs and settings."""
    from slidepipe.evaluation.folders import FolderInputs
    from slidepipe.evaluation.settings import EvaluationSettings

    names = ("rules", "compat", "allow_missing", "resamples", "mask_level")
    settings = EvaluationSettings(**{name: options.pop(name) for name in names})
    options["mask_value"] = int(options["mask_value"])
    return FolderInputs(**{**options, "reference": options["reference"] or ""}), settings
