"""The demonstration: a cohort is drawn, and the whole chain runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Console

from slidepipe.config import load_config
from slidepipe.runs.pipeline import STAGES, run_stages
from slidepipe.runs.study import begin_study
from slidepipe.slides.drawing import DrawingSettings, draw_cohort


def run_demo(folder: Path, overrides: Sequence[str], console: Console) -> bool:
    """Draw a cohort and run every stage on it.

    Parameters
    ----------
    folder
        Receives the slides (``cohort``) and the run (``run``). What is there already is kept.
    overrides
        Settings to change, ``section.key=value``.
    console
        Where progress and results are written.

    Returns
    -------
    bool
        Whether anything failed.
    """
    cohort = folder / "cohort"
    if not (cohort / "reference.csv").is_file():
        console.print("[bold]draw[/bold] a cohort of drawn slides; nothing on them is patient data")
        draw_cohort(cohort, DrawingSettings(), lambda line: console.print(f"draw: {line}", soft_wrap=True))
    with resources.as_file(resources.files("slidepipe").joinpath("demo.yaml")) as path:
        config = load_config(path, [f"slides={cohort.absolute()}", *overrides])
    study = begin_study(folder / "run", config)
    return run_stages(study, STAGES, console)
