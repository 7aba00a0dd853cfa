"""Which slides a stage still has to do: those whose journal entry or output is not what it should be."""

from __future__ import annotations

import time
from collections.abc import Sequence

from slidepipe.errors import StoreError
from slidepipe.heatmaps.store import read_heatmap_plan
from slidepipe.runs.engine import SlideWork
from slidepipe.runs.journal import Entry
from slidepipe.runs.plan import Unplanned
from slidepipe.runs.steps import outputs_are_there
from slidepipe.runs.study import Study
from slidepipe.stages import HEATMAP, TILE, SlideStage
from slidepipe.storage.together import map_places
from slidepipe.tiles.tiling import is_tiled


def still_to_do(study: Study, stage: SlideStage, work: Sequence[SlideWork]) -> list[SlideWork]:
    """Leave out the slides that are done.

    Parameters
    ----------
    study
        The study.
    stage
        The stage.
    work
        Its slides.

    Returns
    -------
    list of SlideWork
        In the same order.
    """
    are_done = map_places(lambda item: _is_done(study, stage, item), work, study.folder.root)
    return [item for item, is_done in zip(work, are_done, strict=True) if not is_done]


def _is_done(study: Study, stage: SlideStage, item: SlideWork) -> bool:
    entry = study.journal.read(stage.name, item.slide_id)
    if entry is None or entry.state != "done" or entry.token != item.token:
        return False
    if stage == TILE:
        return is_tiled(item.job.tiles)
    if stage == HEATMAP:
        return _has_heatmap(study, item)
    return outputs_are_there(study, entry)


def _has_heatmap(study: Study, item: SlideWork) -> bool:
    try:
        return read_heatmap_plan(study.folder.heatmap(item.slide_id), item.token).is_complete
    except StoreError:
        return False


def refuse(study: Study, stage: SlideStage, slide: Unplanned) -> Entry:
    """Write down that a slide cannot even be planned.

    Parameters
    ----------
    study
        The study.
    stage
        The stage.
    slide
        Its name, and the reason.

    Returns
    -------
    Entry
        As it was written.
    """
    entry = Entry(
        stage.name, slide.slide_id, "failed", "", time.time(), failure=slide.failure, source=slide.source
    )
    study.journal.write(entry)
    return entry
