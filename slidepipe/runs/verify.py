"""Proves, store by store, that a run holds what it says: complete, whole, from this slide, with these settings."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from slidepipe.heatmaps.store import verify_heatmap
from slidepipe.runs.plan import plan_heatmaps, plan_tiles
from slidepipe.runs.steps import outputs_are_there
from slidepipe.runs.study import Study
from slidepipe.stages import EXPORT, LESIONS
from slidepipe.storage.together import map_places
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
    root = study.folder.root
    tiles = map_places(
        lambda item: verify_tiles(study.folder.tiles(item.slide_id), item.token, decode), work, root
    )
    found |= {f"tiles {item.slide_id}": problems for item, problems in zip(work, tiles, strict=True)}
    if (study.folder.model / "model.json").is_file() or study.config.inference.model is not None:
        work = plan_heatmaps(study)
        heatmaps = map_places(
            lambda item: verify_heatmap(study.folder.heatmap(item.slide_id), item.token), work, root
        )
        found |= {f"heatmap {item.slide_id}": problems for item, problems in zip(work, heatmaps, strict=True)}
    for stage in (LESIONS.name, EXPORT.name, "predict", "evaluate", "qupath", "report"):
        entries = [entry for entry in study.journal.entries(stage) if entry.state == "done"]
        are_whole = map_places(lambda entry: outputs_are_there(study, entry), entries, root)
        for entry, whole in zip(entries, are_whole, strict=True):
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
