"""Cutting a slide into its tile store: begin, any number of blocks in any order and place, finish.

`begin_tiling` looks at the slide, plans, chooses how the store is filled, and makes it. `tile_block` fills one
shard; it carries paths and small values only, opens its own files, and may run anywhere, twice or at the same
time as itself: it always leaves the same bytes, because no other block touches its shard. `finish_tiling` checks
that every block is there and marks the store as complete. A loop, Dask workers and a SLURM array make the same
three calls.

What is killed in between goes on where it stopped: finished blocks stand in a ledger beside the store, named
like it and ending in ``.work``. The ledger and the store both carry the job's token, the fingerprint of
slide, settings and code; with another token, everything starts again. A block is believed to be finished if
its shard has the size that the ledger says and all its checksums match, since the power may have been cut
before it was on the disk. Blocks with damaged tiles are read again, in case the damage was the network's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import (
    DamagedSlideError,
    SlideChangedError,
    StoreConflictError,
    StoreError,
    StoreIncompleteError,
)
from slidepipe.provenance import fingerprint_file, software_versions
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideInfo, SlideSource
from slidepipe.storage.ledger import BlockLedger
from slidepipe.storage.locations import location
from slidepipe.storage.publish import remove_leftovers, remove_tree
from slidepipe.storage.shards import ChunkIndex, check_shard, read_shard_index, shard_path, write_shard
from slidepipe.storage.tile_codec import JpegCodec, TileCodec, ZstdCodec, encode_tile, seal
from slidepipe.tiles.filling import Filling, choose_filling
from slidepipe.tiles.grid import TileGrid, TileSettings, plan_tile_grid
from slidepipe.tiles.store_making import StoreFacts, complete_store, create_tile_store, point_store
from slidepipe.tiles.store_plan import PIXELS, StorePlan, read_store_plan
from slidepipe.tiles.tile_copying import copied_codec, copied_grid, copy_tiles, point_to_tiles, slide_file
from slidepipe.tiles.tile_reading import Tile, read_tiles
from slidepipe.tiles.tissue import TissueMask, TissueSettings, detect_tissue
from slidepipe.tiles.tissue_file import read_tissue_mask
from slidepipe.tiles.tolerant_reader import TolerantReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TileJob:
    """All that is needed to cut one slide: paths and small values."""

    source: SlideSource
    """The slide."""
    store: str
    """Folder of the tile store."""
    settings: TileSettings
    """How tiles are cut and stored."""
    tissue: TissueSettings
    """How tissue is found."""
    token: str
    """Fingerprint of whatever determines the store: slide, settings, code."""
    slide_fingerprint: str
    """Fingerprint of the slide's content."""
    tissue_mask: str | None = None
    """File with a tissue mask; None to find the tissue."""


def plan_tiling(job: TileJob) -> tuple[SlideInfo, TissueMask, TileGrid]:
    """Find the tissue and choose the tiles of a slide, without writing anything.

    Parameters
    ----------
    job
        What is to be done.

    Returns
    -------
    tuple
        The slide, its tissue mask without margin, and the tiles within the margin. Parts of the overview that
        are damaged count as tissue, so that their tiles are tried: level 0 may be whole there, and if not,
        the damage is counted.

    Raises
    ------
    SlideError
        If the slide cannot be read, the mask does not fit it, or finer pixels than its own are asked for.
    """
    with TolerantReader(job.source) as reader:
        info = reader.info
        if job.tissue_mask is None:
            mask = detect_tissue(reader, job.tissue).with_rectangles(reader.damaged_px0)
        else:
            mask = read_tissue_mask(location(job.tissue_mask), info)
    return info, mask, plan_tile_grid(info, mask.grown(job.tissue.margin_um, info.pixel_size), job.settings)


def begin_tiling(job: TileJob) -> tuple[int, ...]:
    """Make the store of a slide, or go on with one that was begun.

    Parameters
    ----------
    job
        What is to be done.

    Returns
    -------
    tuple of int
        Blocks that are still to be done, ascending. Empty where the store is complete, where every block is
        done and only `finish_tiling` is missing, and where the slide has no tissue.

    Raises
    ------
    SlideError
        If the slide cannot be used.
    OSError
        If the store cannot be written.
    """
    remove_leftovers(location(job.store))
    plan = _begun(job)
    if plan is None:
        _ledger(job).clear()
        info, mask, grid = plan_tiling(job)
        filling = choose_filling(job.source, info, grid, job.settings, job.slide_fingerprint)
        codec = _encoding(job.settings)
        if filling.mode != "encode":
            grid = copied_grid(job.source, filling.level, grid)
            copied = copied_codec(job.source, filling.level)
            codec = copied if filling.mode == "copy" else replace(copied, outside=slide_file(job.source))
        facts = StoreFacts(
            info=info,
            fingerprint=job.slide_fingerprint,
            token=job.token,
            settings=_settings(job),
            software=software_versions(),
            filling=filling,
        )
        create_tile_store(location(job.store), facts, grid, mask, codec)
        return grid.blocks
    if not _points_to_slide(job, plan):
        _log.info("slide %s: its file has moved, and the store follows", job.source.slide_id)
        point_store(plan, slide_file(job.source))
    if plan.is_complete:
        return ()
    done = {block for block, report in _done(job, plan, check_shard).items() if report["n_damaged"] == 0}
    return tuple(block for block in plan.grid.blocks if block not in done)


def is_tiled(job: TileJob) -> bool:
    """Tell whether nothing is left to do.

    Parameters
    ----------
    job
        What is to be done.

    Returns
    -------
    bool
        Whether the store is complete, was made by this job and, if it refers to the slide, points to where the slide
        lies now.
    """
    try:
        plan = read_store_plan(location(job.store))
    except StoreError:
        return False
    return plan.is_complete and plan.token == job.token and _points_to_slide(job, plan)


def _points_to_slide(job: TileJob, plan: StorePlan) -> bool:
    return plan.codec.outside is None or plan.codec.outside == slide_file(job.source)


def _begun(job: TileJob) -> StorePlan | None:
    try:
        plan = read_store_plan(location(job.store))
    except StoreError as error:
        _log.info("slide %s: cut from the start: %s", job.source.slide_id, error)
        return None
    if plan.token != job.token:
        _log.info("slide %s: cut again, since slide, settings or code have changed", job.source.slide_id)
        return None
    return plan


def _done(
    job: TileJob, plan: StorePlan, check: Callable[[Path, tuple[int, ...]], object]
) -> dict[int, dict[str, Any]]:
    """Return the reports of finished blocks whose shards pass a check."""
    reports = {}
    for block, report in _ledger(job).done().items():
        try:
            _check_block(plan, block, report["bytes"], check)
        except StoreError as error:
            _log.warning("slide %s: block %d is done again: %s", plan.slide_id, block, error)
        else:
            reports[block] = report
    return reports


def _check_block(
    plan: StorePlan, block: int, n_bytes: int, check: Callable[[Path, tuple[int, ...]], object]
) -> None:
    shard = shard_path(plan.path / PIXELS, plan.shard_index(block))
    size = shard.stat().st_size if shard.is_file() else 0
    if size != n_bytes:
        raise StoreError(f"{shard} has {size} bytes, not {n_bytes}")
    if size:
        check(shard, plan.shard_shape)


def tile_block(job: TileJob, block: int) -> dict[str, Any]:
    """Cut one block: read its tiles from the slide and write its shard.

    Parameters
    ----------
    job
        What is to be done; `begin_tiling` must have been called with it.
    block
        Index of the block, as `begin_tiling` returned it.

    Returns
    -------
    dict
        ``block``, ``n_tiles`` (planned), ``n_stored``, ``n_damaged``, ``damaged`` (list of [tile row, tile
        column]), ``tile_px``, ``bytes`` (of the shard) and ``seconds``. A damaged tile does not fail the
        block: it is not stored, and so reads as white.

    Raises
    ------
    StoreError
        If there is no store: `begin_tiling` comes first.
    StoreConflictError
        If the store belongs to another job, or has no such block.
    SlideError
        If the slide cannot be opened.
    OSError
        If the store cannot be written.
    """
    started = time.perf_counter()
    plan = _plan_of(job)
    try:
        tiles = plan.grid.tiles_of(block)
    except ValueError as error:
        raise StoreConflictError(
            f"slide {plan.slide_id}: {job.store} has no block {block}: {error}"
        ) from error
    if not len(tiles):
        raise StoreConflictError(
            f"slide {plan.slide_id}: {job.store} has no block {block}: nothing is stored there"
        )
    damaged: list[list[int]] = []

    def chunks() -> Iterator[tuple[ChunkIndex, bytes]]:
        side = plan.grid.shard_tiles
        for (row, column), chunk in _chunks(job, plan, tiles):
            if chunk is None:
                damaged.append([row, column])
            else:
                yield (0, row % side, column % side), chunk

    size = write_shard(plan.path / PIXELS, plan.shard_index(block), chunks(), plan.shard_shape)
    report = {
        "block": block,
        "n_tiles": len(tiles),
        "n_stored": len(tiles) - len(damaged),
        "n_damaged": len(damaged),
        "damaged": damaged,
        "tile_px": plan.grid.tile_px,
        "bytes": size,
        "seconds": round(time.perf_counter() - started, 3),
    }
    _ledger(job).record(block, report)
    return report


def _chunks(job: TileJob, plan: StorePlan, tiles: NDArray[np.int64]) -> Iterator[tuple[Tile, bytes | None]]:
    """Make chunks of tiles, in the way that the store was begun; None for a damaged tile."""
    filling = Filling(**plan.attributes["filling"])
    if filling.mode == "copy":
        for tile, stream in copy_tiles(job.source, filling.level, tiles):
            yield tile, None if stream is None else seal(stream)
    elif filling.mode == "reference":
        for tile, pointer in point_to_tiles(job.source, filling.level, tiles):
            yield tile, None if pointer is None else seal(pointer)
    else:
        for tile, pixels in read_tiles(replace(job.source, reader=filling.reader), plan.grid, tiles):
            yield tile, None if pixels is None else encode_tile(plan.codec, pixels)


def finish_tiling(job: TileJob) -> dict[str, Any]:
    """Check that every block is there and mark the store as complete. Finishing twice is harmless.

    Parameters
    ----------
    job
        What was to be done.

    Returns
    -------
    dict
        ``n_tiles`` (planned), ``n_stored``, ``n_damaged``, ``n_blocks`` and ``bytes`` (of all shards).

    Raises
    ------
    StoreIncompleteError
        If blocks are missing; the message names them.
    DamagedSlideError
        If more tiles are damaged than `TileSettings.max_damaged` allows. The store stays incomplete.
    SlideChangedError
        If the slide is no longer the one that `begin_tiling` was called for.
    StoreConflictError
        If the store belongs to another job.
    """
    plan = _plan_of(job)
    if plan.is_complete:
        _ledger(job).clear()
        return dict(plan.attributes["counts"])
    reports = _done(job, plan, read_shard_index)
    missing = [block for block in plan.grid.blocks if block not in reports]
    if missing:
        raise StoreIncompleteError(
            f"slide {plan.slide_id}: {len(missing)} of {len(plan.grid.blocks)} blocks are missing: "
            f"{', '.join(map(str, missing))}; run the tile stage again, it goes on where it stopped"
        )
    counts = {
        key: sum(report[key] for report in reports.values()) for key in ("n_tiles", "n_stored", "n_damaged")
    }
    _check_damage(job, counts["n_damaged"], counts["n_tiles"])
    if fingerprint_slide(job.source) != job.slide_fingerprint:
        remove_tree(plan.path)
        raise SlideChangedError(f"slide {plan.slide_id}: the file changed while it was being cut; run again")
    counts |= {"n_blocks": len(reports), "bytes": sum(report["bytes"] for report in reports.values())}
    damaged = [tile for report in reports.values() for tile in report["damaged"]]
    remove_leftovers(plan.path)
    complete_store(plan, np.array(damaged, dtype=np.int64).reshape(-1, 2), counts)
    _ledger(job).clear()
    return counts


def _check_damage(job: TileJob, n_damaged: int, n_tiles: int) -> None:
    allowed = job.settings.max_damaged
    if n_damaged > allowed * n_tiles:
        raise DamagedSlideError(
            f"slide {job.source.slide_id}: {n_damaged} of {n_tiles} tiles ({n_damaged / n_tiles:.1%}) are damaged, and "
            f"{allowed:.1%} are allowed: copy the slide again and compare its checksum, or raise max_damaged"
        )


def _plan_of(job: TileJob) -> StorePlan:
    plan = read_store_plan(location(job.store))
    if plan.token != job.token:
        raise StoreConflictError(
            f"slide {job.source.slide_id}: {job.store} was made for another slide or with other settings "
            f"(token {plan.token}, expected {job.token})"
        )
    return plan


def _ledger(job: TileJob) -> BlockLedger:
    return BlockLedger(location(f"{job.store}.work"), job.token)


def _encoding(settings: TileSettings) -> TileCodec:
    if settings.codec == "zstd":
        return ZstdCodec()
    return JpegCodec(level=settings.quality, subsampling=settings.subsampling)


def _settings(job: TileJob) -> dict[str, Any]:
    mask = None if job.tissue_mask is None else fingerprint_file(location(job.tissue_mask))
    tiles = {name: value for name, value in asdict(job.settings).items() if name != "stage_dir"}
    return {"tiles": tiles, "tissue": asdict(job.tissue), "tissue_mask": mask}
