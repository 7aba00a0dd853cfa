"""What has to be done: for each stage the jobs and their tokens, worked out from settings and from the tokens before.

A token is the fingerprint of everything that an output depends on, and contains the tokens of what it was made from.
So a changed setting changes the tokens of exactly the stages that depend on it, and nothing is asked of the clock.
Settings that say where and how fast something is computed are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.card import ForeignCard, read_card
from slidepipe.classifier.foreign import find_tumour_class
from slidepipe.errors import RunError, SlideChangedError
from slidepipe.provenance import fingerprint, fingerprint_file
from slidepipe.runs.deadline import attempt_within
from slidepipe.runs.engine import SlideWork
from slidepipe.runs.journal import Failure
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.stages import EXPORT, HEATMAP, LESIONS, TILE, ExportJob, HeatmapJob, LesionJob, TilingJob
from slidepipe.storage.locations import is_url, location
from slidepipe.tiles.tiling import TileJob
from slidepipe.tiles.tissue_csv import TissueRow, read_tissue_table, write_tissue_table

TRAIN_VERSION = 2
"""Part of the token of a trained model: raised whenever the same settings come to give other weights."""

_LOOK_TIMEOUT_S = 120.0
"""Longest time for the fingerprint of one slide, of which samples are read."""
_LOOKERS = 8
"""Slides that are fingerprinted at the same time: network file systems answer late, but many at once."""
_SLIDE_STAGES = (TILE.name, HEATMAP.name, LESIONS.name, EXPORT.name)
_WHERE_AND_HOW_FAST = {
    "device", "threads", "readers", "trust_model", "model", "stage_dir", "files", "validation_files",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unplanned:
    """A slide for which no job can be made."""

    slide_id: str
    failure: Failure
    source: str = ""
    """Fingerprint of the file that the run knows as this slide, if it has changed since."""


def tissue_rows(study: Study) -> dict[str, TissueRow]:
    """Return the tissue settings of every slide that takes part: the study's, or those of its row in ``tissue.csv``.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    dict
        Slide name to settings.

    Raises
    ------
    ConfigError
        If the table cannot be used; the message names line and column.
    """
    table = study.folder.tissue_table
    edited = read_tissue_table(table, study.config.tissue) if table.is_file() else {}
    plain = TissueRow(study.config.tissue)
    return {slide.source.slide_id: edited.get(slide.source.slide_id, plain) for slide in study.taking_part}


def fill_tissue_table(study: Study) -> None:
    """Write ``tissue.csv``, a row for every slide that takes part; what somebody wrote into it stays.

    A study with chosen slides only makes a table that is missing: others may be at the same work.

    Parameters
    ----------
    study
        The study.

    Raises
    ------
    ConfigError
        If the table that is there cannot be used.
    """
    table = study.folder.tissue_table
    if study.chosen is None or not table.is_file():
        write_tissue_table(table, tissue_rows(study), study.config.tissue)


def plan_tiles(study: Study, *, accept_changed: bool = False) -> tuple[list[SlideWork], list[Unplanned]]:
    """Plan the stage ``tile``.

    Parameters
    ----------
    study
        The study.
    accept_changed
        Take slides whose files have changed since the run tiled them as they are now.

    Returns
    -------
    tuple
        Work, and the slides whose files cannot be read, or are not those that the run was begun with.
    """
    rows = tissue_rows(study)

    def look(slide: CohortSlide) -> SlideWork | Unplanned:
        slide_id = slide.source.slide_id
        before = study.journal.read(TILE.name, slide_id)
        known = "" if before is None or accept_changed else before.source
        outcome = attempt_within(_LOOK_TIMEOUT_S, _tile_work, study, slide, rows[slide_id], known)
        if outcome.failure is not None:
            return Unplanned(slide_id, outcome.failure, known)
        planned: SlideWork = outcome.value
        return planned

    with ThreadPoolExecutor(_LOOKERS, thread_name_prefix="slide-looker") as lookers:
        looked = list(lookers.map(look, study.slides))
    return (
        [item for item in looked if isinstance(item, SlideWork)],
        [item for item in looked if isinstance(item, Unplanned)],
    )


def _tile_work(study: Study, slide: CohortSlide, row: TissueRow, known: str) -> SlideWork:
    source = slide.source
    mask = None if row.mask is None else _mask_place(study, row.mask)
    slide_fingerprint = fingerprint_slide(source)
    if known and known != slide_fingerprint:
        raise SlideChangedError(
            f"slide {source.slide_id}: its file has another content than when this run tiled it (fingerprint "
            f"{slide_fingerprint[:8]}… instead of {known[:8]}…): put the old file back, or do the slide again with "
            "--accept-changed"
        )
    token = fingerprint(
        {
            "stage": [TILE.name, TILE.version],
            "slide": [source.slide_id, slide_fingerprint, source.reader, source.mpp],
            "settings": [_what(asdict(study.config.tiles)), row.settings],
            "mask": None if mask is None else fingerprint_file(location(mask)),
        }
    )
    store = str(study.folder.tiles(source.slide_id).absolute())
    job = TileJob(source, store, study.config.tiles, row.settings, token, slide_fingerprint, mask)
    tiling = TilingJob(job, str(study.folder.overviews.absolute()))
    return SlideWork(source.slide_id, token, tiling, slide_fingerprint)


def _mask_place(study: Study, mask: str) -> str:
    """Return where a mask lies that is named from the run directory."""
    is_named_whole = is_url(mask) or Path(mask).is_absolute()
    return mask if is_named_whole else str((study.folder.root / mask).absolute())


def train_token(study: Study, slides: Sequence[CohortSlide], rounds: Sequence[str] = ()) -> str:
    """Compute the token of the model that training slides give.

    Parameters
    ----------
    study
        The study.
    slides
        Training slides whose tiles are there.
    rounds
        Fingerprints of the hard negatives that were mined; of the patch files, where those are trained on.

    Returns
    -------
    str
        Fingerprint of tiles, outlines, labels, hard negatives and settings.
    """
    tiles = done_tokens(study, TILE.name)
    material = [
        [
            slide.source.slide_id,
            tiles[slide.source.slide_id],
            slide.label,
            slide.centre,
            slide.exhaustive,
            None if (place := slide.annotation_place) is None else fingerprint_file(place),
        ]
        for slide in slides
    ]
    settings = {"train": _what(asdict(study.config.train)), "classes": study.config.slides.classes}
    stage = ["train", TRAIN_VERSION]
    return fingerprint({"stage": stage, "slides": material, "mined": list(rounds), "settings": settings})


def _what(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _WHERE_AND_HOW_FAST}


def model_folder(study: Study) -> Path:
    """Return the folder of the classifier that the study uses.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    Path
        The one that the settings name, else the run's own.

    Raises
    ------
    RunError
        If the run has none yet.
    """
    if study.config.inference.model is not None:
        return find_model(study.config.inference.model)
    if not (study.folder.model / "model.json").is_file():
        raise RunError(
            f"{study.folder.root} has no classifier yet: run `slidepipe train` first, or name one with --model FOLDER"
        )
    return study.folder.model


def plan_heatmaps(study: Study) -> list[SlideWork]:
    """Plan the stage ``heatmap`` for all slides that have tiles.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    list of SlideWork
        One per slide.

    Raises
    ------
    ModelError
        If the model cannot be used, or it is not clear which of its classes is tumour.
    """
    model = model_folder(study)
    card = read_card(model)
    if isinstance(card, ForeignCard):
        # Before any slide fails for it.
        find_tumour_class(card.classes, study.config.inference.tumour_class)
    weights = card.weights_sha256
    work = []
    for slide_id, tiles_token in done_tokens(study, TILE.name).items():
        inference = _what(asdict(study.config.inference))
        token = fingerprint(
            {
                "stage": [HEATMAP.name, HEATMAP.version],
                "tiles": tiles_token,
                "weights": weights,
                "settings": [study.config.heatmap, inference],
            }
        )
        job = HeatmapJob(
            slide_id=slide_id,
            tiles=str(study.folder.tiles(slide_id).absolute()),
            heatmap=str(study.folder.heatmap(slide_id).absolute()),
            model=str(model.absolute()),
            weights_sha256=weights,
            settings=study.config.heatmap,
            inference=study.config.inference,
            token=token,
        )
        work.append(SlideWork(slide_id, token, job))
    return work


def plan_lesions(study: Study) -> list[SlideWork]:
    """Plan the search for lesions on all slides that have a heatmap.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    list of SlideWork
        One per slide.
    """
    settings = study.config.predict.lesions
    work = []
    for slide_id, heatmap_token in done_tokens(study, HEATMAP.name).items():
        token = fingerprint(
            {"stage": [LESIONS.name, LESIONS.version], "heatmap": heatmap_token, "settings": settings}
        )
        job = LesionJob(
            slide_id=slide_id,
            heatmap=str(study.folder.heatmap(slide_id).absolute()),
            lesions=str(study.folder.lesions(slide_id).absolute()),
            features=str(study.folder.features(slide_id).absolute()),
            settings=settings,
            token=token,
        )
        work.append(SlideWork(slide_id, token, job))
    return work


def plan_exports(study: Study, offsets_px0: Mapping[str, tuple[int, int]]) -> list[SlideWork]:
    """Plan the export of all slides whose lesions were looked for.

    Parameters
    ----------
    study
        The study.
    offsets_px0
        Slide name to left and top of its scanned area.

    Returns
    -------
    list of SlideWork
        One per slide.
    """
    work = []
    for slide_id, lesions_token in done_tokens(study, LESIONS.name).items():
        settings, threshold = study.config.export, study.config.predict.lesions.threshold
        token = fingerprint(
            {
                "stage": [EXPORT.name, EXPORT.version],
                "lesions": lesions_token,
                "settings": settings,
                "offset": offsets_px0[slide_id],
            }
        )
        job = ExportJob(
            slide_id=slide_id,
            heatmap=str(study.folder.heatmap(slide_id).absolute()),
            lesions=str(study.folder.lesions(slide_id).absolute()),
            folder=str(study.folder.export.absolute()),
            offset_px0=offsets_px0[slide_id],
            threshold=threshold,
            settings=settings,
            token=token,
        )
        work.append(SlideWork(slide_id, token, job))
    return work


def done_tokens(study: Study, stage: str) -> dict[str, str]:
    """Return the tokens of the study's slides that a stage, and all before it, have finished.

    A slide whose tiles failed this time may still have a heatmap from before; it does not count.

    Parameters
    ----------
    study
        The study.
    stage
        Name of the stage.

    Returns
    -------
    dict
        Slide name to token, in the cohort's order.
    """
    chain = _SLIDE_STAGES[: _SLIDE_STAGES.index(stage) + 1]
    tokens = {}
    stages = [{entry.slide_id: entry for entry in study.journal.entries(name)} for name in chain]
    for slide in study.slides:
        entries = [stage.get(slide.source.slide_id) for stage in stages]
        if all(entry is not None and entry.state == "done" for entry in entries) and entries[-1] is not None:
            tokens[slide.source.slide_id] = entries[-1].token
    return tokens
