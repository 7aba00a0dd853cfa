"""The corridor: the stages that take one slide at a time, in order, each as begin, blocks and finish.

A task is one of these functions and one job: paths and frozen settings, never pixels. The function opens its own files,
so it may run in this process, on a Dask worker or in a SLURM array, twice or after a kill, and leaves the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from slidepipe.classifier.card import read_card
from slidepipe.classifier.modes import gives_another_answer, resolve_mode
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.export.slide_files import ExportSettings, write_slide_files
from slidepipe.heatmaps.grid import HeatmapSettings, plan_cells
from slidepipe.heatmaps.store import open_heatmap, read_heatmap_plan
from slidepipe.heatmaps.store_making import begin_heatmap, finish_heatmap, write_block
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.lesions.features import FEATURE_NAMES, heatmap_features, largest_probability
from slidepipe.lesions.lesion import read_lesions, write_lesions
from slidepipe.provenance import fingerprint_file, software_versions
from slidepipe.slides.staging import leave_stage, remove_staged, staged_slide
from slidepipe.storage.locations import location
from slidepipe.storage.publish import write_json
from slidepipe.tiles.overview import write_overviews
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, plan_tiling, tile_block
from slidepipe.tiles.tolerant_reader import TolerantReader
from slidepipe.timing import Stopwatch


@dataclass(frozen=True, slots=True)
class SlideStage:
    """What a stage does to one slide."""

    name: str
    version: int
    """Part of every token: raised whenever the same settings come to leave other bytes."""
    begin: Callable[[Any], tuple[int, ...]]
    """Takes the job; returns the blocks to do."""
    block: Callable[[Any, int], dict[str, Any]]
    """Takes the job and a block; returns a small report with ``items`` and ``pixels`` for the rates, and perhaps
    ``parts_s``, how long each part of the work was busy."""
    finish: Callable[[Any], dict[str, Any]]
    """Takes the job; returns a summary, with ``outputs``: absolute paths of small files and their fingerprints."""
    leave: Callable[[Any], None] | None = None
    """Takes any of the jobs; called in every process once all slides are through, whatever became of them."""


# ---- slides to tiles ----


@dataclass(frozen=True, slots=True)
class TilingJob:
    """Cutting one slide, and showing what is cut."""

    tiles: TileJob
    overviews: str
    """Folder of the pictures."""


@contextmanager
def _read_staged(job: TileJob) -> Iterator[TileJob]:
    """Have a job read its slide from a local copy, if that was asked for and is of use."""
    settings = job.settings
    if settings.stage_dir is None or settings.mode == "reference":
        yield job
        return
    with staged_slide(job.source, Path(settings.stage_dir), job.slide_fingerprint) as source:
        yield replace(job, source=source)


def _begin_tiles(job: TilingJob) -> tuple[int, ...]:
    with _read_staged(job.tiles) as tiles:
        blocks = begin_tiling(tiles)
        plan = read_store_plan(location(tiles.store))
        with TolerantReader(tiles.source) as reader:
            write_overviews(reader, plan.tissue, plan.grid, location(job.overviews))
    return blocks


def _tile_block(job: TilingJob, block: int) -> dict[str, Any]:
    with _read_staged(job.tiles) as tiles:
        report = tile_block(tiles, block)
    return {**report, "items": report["n_tiles"], "pixels": report["n_tiles"] * report["tile_px"] ** 2}


def _finish_tiles(job: TilingJob) -> dict[str, Any]:
    # The slide itself is looked at once more: it must not have changed since it was copied.
    summary = finish_tiling(job.tiles)
    _forget_copy(job.tiles)
    return summary


def _forget_copy(job: TileJob) -> None:
    if job.settings.stage_dir is not None:
        remove_staged(job.source, Path(job.settings.stage_dir), job.slide_fingerprint)


def _leave_tiles(job: TilingJob) -> None:
    if job.tiles.settings.stage_dir is not None:
        leave_stage(Path(job.tiles.settings.stage_dir))


def _preview_tiles(job: TilingJob) -> dict[str, Any]:
    with _read_staged(job.tiles) as tiles:
        _, mask, grid = plan_tiling(tiles)
        with TolerantReader(tiles.source) as reader:
            write_overviews(reader, mask, grid, location(job.overviews))
    _forget_copy(job.tiles)
    return {"n_tiles": int(grid.is_tissue.sum()), "n_blocks": len(grid.blocks)}


# ---- tiles to heatmaps ----


@dataclass(frozen=True, slots=True)
class HeatmapJob:
    """Looking at one slide."""

    slide_id: str
    tiles: str
    """Tile store of the slide."""
    heatmap: str
    """Store to write."""
    model: str
    """Folder of the classifier."""
    weights_sha256: str
    """Weights that are meant; others are refused."""
    settings: HeatmapSettings
    inference: InferenceSettings
    token: str


def _begin_heatmap(job: HeatmapJob) -> tuple[int, ...]:
    card = read_card(location(job.model))
    with open_tile_store(location(job.tiles)) as store:
        grid = plan_cells(store, card.patch_px, job.settings)
        provenance = {
            "settings": asdict(job.settings),
            "mode": resolve_mode(job.inference.mode, card, grid.stride_px),
            "test_time_augmentation": job.inference.test_time_augmentation,
            "precision": job.inference.precision,
            "jpeg_decoder": job.inference.jpeg_decoder,
            "model": {
                "architecture": card.architecture,
                "patch_px": card.patch_px,
                "mpp": card.mpp,
                "weights_sha256": card.weights_sha256,
            },
            "tiles_token": store.token,
            "software": software_versions(),
        }
        return begin_heatmap(location(job.heatmap), store, grid, job.token, provenance)


def _heatmap_block(job: HeatmapJob, block: int) -> dict[str, Any]:
    # Here, so that a worker that only cuts tiles does not hold Torch in memory.
    from slidepipe.classifier.checkpoint import cached_model
    from slidepipe.classifier.device_tiles import tile_decoder
    from slidepipe.classifier.devices import torch_threads
    from slidepipe.classifier.inference import classify_cells, modes_apart

    plan = read_heatmap_plan(location(job.heatmap), job.token)
    cells, stride_px = plan.grid.cells_of(block), plan.grid.stride_px
    model = cached_model(
        job.model,
        job.weights_sha256,
        job.inference.device,
        job.inference.tumour_class,
        trusted=job.inference.trust_model,
    )
    watch, decoder = Stopwatch(), tile_decoder(job.inference, model.device)
    with (
        open_tile_store(location(job.tiles), threads=job.inference.readers, decoder=decoder) as store,
        torch_threads(job.inference.threads),
    ):
        probability = classify_cells(model, store, cells, stride_px, job.inference, watch)
        apart = None
        if gives_another_answer(job.inference.mode, model.card, stride_px):
            apart = modes_apart(model, store, cells, probability, stride_px, job.inference)
    with watch.measure("write"):
        report = write_block(plan, block, probability, apart)
    return {**report, "items": len(cells), "pixels": len(cells) * stride_px**2, "parts_s": watch.seconds}


def _finish_heatmap(job: HeatmapJob) -> dict[str, Any]:
    return finish_heatmap(read_heatmap_plan(location(job.heatmap), job.token))


# ---- heatmaps to lesions ----


@dataclass(frozen=True, slots=True)
class LesionJob:
    """Finding the lesions of one slide."""

    slide_id: str
    heatmap: str
    lesions: str
    """CSV to write."""
    features: str
    """JSON to write: the thirty features and the largest probability."""
    settings: LesionSettings
    token: str


def _find_lesions(job: LesionJob) -> dict[str, Any]:
    heatmap = open_heatmap(location(job.heatmap))
    lesions = detect_lesions(heatmap, job.settings)
    features = dict(zip(FEATURE_NAMES, heatmap_features(heatmap).tolist(), strict=True))
    maximum = largest_probability(heatmap)
    write_lesions(location(job.lesions), lesions)
    write_json(location(job.features), {"slide_id": job.slide_id, "maximum": maximum, "features": features})
    outputs = {path: fingerprint_file(location(path)) for path in (job.lesions, job.features)}
    return {"lesions": len(lesions), "maximum": maximum, "outputs": outputs}


# ---- lesions to QuPath ----


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Writing the results of one slide for other programs."""

    slide_id: str
    heatmap: str
    lesions: str
    folder: str
    """The QuPath project."""
    offset_px0: tuple[int, int]
    """Left and top of the scanned area, to which QuPath crops."""
    threshold: float
    """Threshold that the lesions were found with."""
    settings: ExportSettings
    token: str


def _export_slide(job: ExportJob) -> dict[str, Any]:
    written = write_slide_files(
        location(job.folder),
        open_heatmap(location(job.heatmap)),
        read_lesions(location(job.lesions)),
        threshold=job.threshold,
        offset_px0=job.offset_px0,
        settings=job.settings,
    )
    return {
        **asdict(written.summary),
        "outputs": {str(path): fingerprint_file(path) for path in written.files},
    }


def _no_blocks(job: object) -> tuple[int, ...]:
    return ()


def _no_block(job: object, block: int) -> dict[str, Any]:
    raise ValueError(f"this stage has no blocks, so there is no block {block}")


PREVIEW = SlideStage("preview", 1, _no_blocks, _no_block, _preview_tiles, _leave_tiles)
"""A slide becomes a picture of what would be cut, so that a person can look before it is."""
TILE = SlideStage("tile", 2, _begin_tiles, _tile_block, _finish_tiles, _leave_tiles)
"""A slide becomes a tile store."""
HEATMAP = SlideStage("heatmap", 2, _begin_heatmap, _heatmap_block, _finish_heatmap)
"""A tile store becomes a heatmap."""
LESIONS = SlideStage("lesions", 1, _no_blocks, _no_block, _find_lesions)
"""A heatmap becomes lesions and features."""
EXPORT = SlideStage("export", 1, _no_blocks, _no_block, _export_slide)
"""Heatmap and lesions become files for QuPath, other viewers and the challenge."""
