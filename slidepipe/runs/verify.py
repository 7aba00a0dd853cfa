"""Proves, store by store, that a run holds what it says: complete, whole, from this slide, with these settings."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from slidepipe.heatmaps.store import verify_heatmap
from slidepipe.runs.plan import plan_heatmaps, plan_tiles
from slidepipe.runs.steps import outputs_are_there
from slidepipe.runs.study import Study
from slidepipe.stages import EXPORT, LESIONS
from slidepipe.tiles.verification import verify_tiles


def find_problems(study: Study, *, decode: bool = False) -> dict[str, list[str]]:
    """Check every store and every small file of a run against its slide and the run's settings.

    Parameters
    ----------
    study
        The study.
    decode
        Also decode every tile.

    Returns
    -------
    dict
        What was checked, such as ``tiles tumor_001``, to what is wrong with it, a sentence each.
    """
    work, unplanned = plan_tiles(study)
    found = {f"slide {item.slide_id}": [item.failure.message] for item in unplanned}
    for item in work:
        found[f"tiles {item.slide_id}"] = verify_tiles(study.folder.tiles(item.slide_id), item.token, decode)
    if (study.folder.model / "model.json").is_file() or study.config.inference.model is not None:
        for item in plan_heatmaps(study):
            found[f"heatmap {item.slide_id}"] = verify_heatmap(
                study.folder.heatmap(item.slide_id), item.token
            )
    for stage in (LESIONS.name, EXPORT.name, "predict", "evaluate", "qupath", "report"):
        for entry in study.journal.entries(stage):
            if entry.state == "done":
                whole = outputs_are_there(study, entry)
                found[f"{stage} {entry.slide_id}"] = [] if whole else ["a file is missing or was changed"]
    return found


def print_problems(study: Study, console: Console, *, decode: bool) -> bool:
    """Check a run and print what is wrong.

    Parameters
    ----------
    study
        The study.
    console
        Where to print.
    decode
        Also decode every tile.

    Returns
    -------
    bool
        Whether anything is wrong.
    """
    found = find_problems(study, decode=decode)
    for name, problems in found.items():
        for problem in problems:
            console.print(f"[red]{escape(name)}[/red]: {escape(problem)}", soft_wrap=True)
    wrong = sum(bool(problems) for problems in found.values())
    console.print(f"{len(found)} checked, {wrong} with problems")
    return wrong > 0
