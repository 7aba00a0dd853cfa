"""The files of an evaluation: JSON, the hits behind it, and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.compare import ComparedRun, Comparison, as_run, compare
from slidepipe.evaluation.evaluate import Evaluation
from slidepipe.evaluation.figures import draw_froc, draw_roc, save_figure
from slidepipe.evaluation.folders import FolderInputs, evaluate_folder
from slidepipe.evaluation.hits_table import read_hits, write_hits
from slidepipe.evaluation.result_json import FORMAT, VERSION, to_json
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.storage.publish import read_json, write_json

FILE_NAME = "evaluation.json"
"""Name of the JSON file in a folder of results."""


def write_evaluation(evaluation: Evaluation, path: Path) -> tuple[Path, ...]:
    """Write an evaluation.

    Parameters
    ----------
    evaluation
        What was found.
    path
        JSON file to write or replace. Beside it, with its name without ``.json`` in front: ``_hits.csv``,
        ``_froc.svg`` and ``_froc.png`` of the main rule, ``_roc.svg`` and ``_roc.png``; each only if there is such a
        result.

    Returns
    -------
    tuple of Path
        The files written, the JSON file last: where it is, the others are.
    """
    written = []
    figures = {}
    if evaluation.froc:
        hits = _beside(path, "_hits.csv")
        write_hits(hits, evaluation.froc)
        written.append(hits)
        figures["froc"] = draw_froc(evaluation.froc[0])
    if evaluation.auc is not None:
        figures["roc"] = draw_roc(evaluation.auc)
    for name, figure in figures.items():
        for suffix in ("svg", "png"):
            save_figure(figure, _beside(path, f"_{name}.{suffix}"))
            written.append(_beside(path, f"_{name}.{suffix}"))
    write_json(path, to_json(evaluation))
    return (*written, path)


def read_run(path: Path, name: str | None = None) -> ComparedRun:
    """Read an evaluation back as far as a comparison needs it.

    Parameters
    ----------
    path
        JSON file that `write_evaluation` wrote, its other files beside it.
    name
        How the run is to be called; None for the name of the folder the file lies in.

    Returns
    -------
    ComparedRun
        By all rules of the evaluation.

    Raises
    ------
    EvaluationError
        If it is no evaluation, or of another version of the format.
    FileNotFoundError
        If the file, or the table of hits beside it, is missing.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise EvaluationError(f"{path} is not an evaluation of this package")
    if content["version"] != VERSION:
        raise EvaluationError(
            f"{path} has version {content['version']} of the format, and version {VERSION} is read: evaluate again"
        )
    return ComparedRun(
        name=name or path.resolve().parent.name,
        hits=read_hits(_beside(path, "_hits.csv")) if content["froc"] is not None else {},
        predictions=_predictions(content) if content["auc"] is not None else {},
        compat=bool(content["settings"]["compat"]),
    )


def compare_paths(
    paths: Sequence[Path], settings: EvaluationSettings, inputs: FolderInputs | None = None
) -> tuple[Comparison, ...]:
    """Compare runs, or folders of detections, each with the first.

    Parameters
    ----------
    paths
        Two or more: run directories and JSON files that hold an evaluation, and, if `inputs` is given, folders of
        detections and CSV files of slide scores.
    settings
        Rules for what has to be evaluated; resamples, seed and confidence.
    inputs
        Reference for folders of detections and tables of slide scores; its own predictions are not used.

    Returns
    -------
    tuple of Comparison
        The first against each of the others, named by their paths.

    Raises
    ------
    EvaluationError
        If a path holds no evaluation and cannot be evaluated, or the runs are not on the same slides.
    """
    return compare([_run_at(path, settings, inputs) for path in paths], settings)


def _run_at(path: Path, settings: EvaluationSettings, inputs: FolderInputs | None) -> ComparedRun:
    candidates = (path, path / FILE_NAME, path / "evaluation" / FILE_NAME)
    found = next((each for each in candidates if each.suffix == ".json" and each.is_file()), None)
    if found is not None:
        return read_run(found, str(path))
    if inputs is None:
        raise EvaluationError(
            f"{path} holds no {FILE_NAME}: evaluate the run first, or give the reference to evaluate it now"
        )
    if path.is_dir():
        mine = replace(inputs, detections=str(path), slide_scores=None)
    elif path.is_file():
        mine = replace(inputs, detections=None, slide_scores=str(path))
    else:
        raise EvaluationError(f"there is no {path}")
    return as_run(evaluate_folder(mine, replace(settings, resamples=0)), str(path))


def _predictions(content: dict[str, Any]) -> dict[str, tuple[bool, float]]:
    return {
        row["slide_id"]: (row["label"] == "tumor", row["probability"] or 0.0)
        for row in content["slides"]
        if "all" not in row["excluded_from"]
    }


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)
