"""Heatmaps of slides that belong to no study: cut at the pixel size of a model, looked at, and shown if asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.card import read_card
from slidepipe.config import load_config
from slidepipe.runs.pipeline import run_stages
from slidepipe.runs.study import begin_study


def look_at_slides(
    slides: Sequence[str],
    model: str,
    root: Path,
    overrides: Sequence[str],
    *,
    console: Console,
    with_qupath: bool,
) -> bool:
    """Make heatmaps of slides.

    Parameters
    ----------
    slides
        Files or addresses of slides whose pixel size is known.
    model
        Folder of a model, or ``builtin``.
    root
        Run directory; made if it does not exist, gone on with if it does.
    overrides
        Settings to change, ``section.key=value``.
    console
        Where progress and results are written.
    with_qupath
        Also find lesions and write a QuPath project.

    Returns
    -------
    bool
        Whether anything failed.

    Raises
    ------
    ModelError
        If there is no such model.
    ConfigError
        If an override is not a setting.
    RunError
        If the directory is something else than a run.
    CohortError
        If two slides have the same name.
    """
    card = read_card(find_model(model))
    settings = [
        f"slides={json.dumps(list(slides))}",
        f"tiles.mpp={card.mpp}",
        f"inference.model={json.dumps(model)}",
    ]
    study = begin_study(root, load_config(None, [*settings, *overrides]))
    stages = ("tile", "heatmap", "predict", "export") if with_qupath else ("tile", "heatmap")
    failed = run_stages(study, stages, console)
    console.print(
        f"heatmaps: {escape(str(root / 'heatmaps'))}, tissue: {escape(str(study.folder.overviews))}; look at them with "
        f"`slidepipe view --run {escape(str(root))}`",
        soft_wrap=True,
    )
    return failed
