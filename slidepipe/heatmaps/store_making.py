"""Making a heatmap: empty with its plan first, block by block, complete last.

Begin, block and finish are `begin_heatmap`, `write_block` and `finish_heatmap`. Blocks may be written in any order,
by any number of processes, and again: equal values leave equal bytes. What is done stands in a ledger beside the
store until the store is finished. What the store holds is told in `slidepipe.heatmaps.store`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError, StoreIncompleteError
from slidepipe.heatmaps.grid import CellGrid
from slidepipe.heatmaps.store import (
    HEATMAP_VERSION,
    PROBABILITY,
    WANTED,
    HeatmapPlan,
    check_block,
    read_heatmap_plan,
)
from slidepipe.storage.arrays import (
    ShardedArray,
    read_attributes,
    write_group,
    write_sharded_array,
    write_small_array,
)
from slidepipe.storage.ledger import BlockLedger
from slidepipe.storage.ome import multiscales
from slidepipe.storage.publish import atomic_folder, flush_tree, remove_leftovers, remove_tree
from slidepipe.storage.shards import ChunkIndex, check_shard, write_shard
from slidepipe.storage.tile_codec import seal
from slidepipe.tiles.store import TileStore

_log = logging.getLogger(__name__)

_ZSTD_LEVEL = 3
_CODECS: tuple[dict[str, Any], ...] = (
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}},
    {"name": "crc32c"},
)
_MOST_NAMED = 10


def begin_heatmap(
    path: Path, store: TileStore, grid: CellGrid, token: str, provenance: Mapping[str, Any]
) -> tuple[int, ...]:
    """Begin a heatmap, or go on with one that was begun.

    A store of another token or format version answers another question and is deleted. The new store appears at
    its path only once its plan is written. What killed processes left in it is removed, so nothing may be writing
    to it.

    Parameters
    ----------
    path
        Folder of the store; by custom its name ends in ``.zarr``.
    store
        Tile store of the slide.
    grid
        Cells to look at, planned from `store`.
    token
        Fingerprint of everything that the values depend on: tiles, settings, weights, code.
    provenance
        What made it: settings, model, versions. Neither paths nor file names nor labels.

    Returns
    -------
    tuple of int
        Blocks that are still to be written, ascending. Blocks whose file is not whole, or has other bytes than were
        written, count among them, even of a store that was complete.

    Raises
    ------
    OSError
        If the store cannot be written.
    """
    remove_leftovers(path)
    try:
        plan = read_heatmap_plan(path, token)
    except StoreError:
        plan = _create(path, store, grid, token, provenance)
    if plan.is_complete:
        if all(_is_sound(plan, block) for block in plan.grid.blocks):
            return ()
        plan = _create(path, store, grid, token, provenance)
    # The power may have been cut before what the ledger tells of was on the disk.
    done = BlockLedger(plan.ledger, token).done()
    return tuple(block for block in plan.grid.blocks if block not in done or not _is_sound(plan, block))


def _create(
    path: Path, store: TileStore, grid: CellGrid, token: str, provenance: Mapping[str, Any]
) -> HeatmapPlan:
    cell_um = store.pixel_size0.scaled(grid.cell_px0)
    attributes = {
        "format": "heatmap",
        "format_version": HEATMAP_VERSION,
        "complete": False,
        "token": token,
        "slide": {
            "id": store.slide_id,
            "size_px0": list(store.size_px0),
            "pixel_size_um": [store.pixel_size0.x_um, store.pixel_size0.y_um],
        },
        "grid": {
            "stride_px": grid.stride_px,
            "scale_px0": list(grid.scale_px0),
            "block_cells": grid.block_cells,
        },
        "provenance": dict(provenance),
        "counts": None,
    }
    plan = HeatmapPlan(path, attributes, grid)
    remove_tree(path)
    BlockLedger(plan.ledger, token).clear()
    with atomic_folder(path) as folder:
        write_sharded_array(folder / PROBABILITY, _layout(grid))
        write_small_array(folder / WANTED, grid.is_wanted.astype(np.uint8), ("y", "x"))
        image = multiscales(store.slide_id, ("y", "x"), [(cell_um.y_um, cell_um.x_um)])
        write_group(folder, {"ome": image, "slidepipe": attributes})
    return plan


def _layout(grid: CellGrid) -> ShardedArray:
    chunks = grid.block_cells // grid.chunk_cells
    return ShardedArray(
        shape=grid.shape,
        chunk=(grid.chunk_cells, grid.chunk_cells),
        chunks_per_shard=(chunks, chunks),
        dtype="float32",
        fill_value="NaN",
        chunk_codecs=_CODECS,
        dimension_names=("y", "x"),
    )


def _is_whole(plan: HeatmapPlan, block: int) -> bool:
    try:
        check_block(plan, block)
    except StoreError:
        return False
    return True


def _is_sound(plan: HeatmapPlan, block: int) -> bool:
    """Tell whether a block is whole and all its checksums match."""
    try:
        check_block(plan, block)
        check_shard(plan.shard_file(block), _layout(plan.grid).chunks_per_shard)
    except StoreError as error:
        _log.info("slide %s: block %d of the heatmap is not believed: %s", plan.slide_id, block, error)
        return False
    return True


def write_block(
    plan: HeatmapPlan, block: int, probability: NDArray[np.float32], apart: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Write the values of one block and note that it is done.

    Parameters
    ----------
    plan
        A begun store, read by the task with the token of its work.
    block
        Index of the block.
    probability
        One value for each of ``plan.grid.cells_of(block)``, in that order, 0 to 1.
    apart
        How far these values are from what another way of computing them gives: number of ``cells`` compared, ``sum``
        and ``largest`` of the differences. None where they were not compared.

    Returns
    -------
    dict
        ``cells``: how many values were written; ``highest``: the highest of them; and `apart`.

    Raises
    ------
    StoreError
        If there is not one probability per wanted cell, or one of them is none.
    OSError
        If the store cannot be written, for example because the disk is full.
    """
    grid = plan.grid
    cells = grid.cells_of(block)
    if probability.shape != (len(cells),) or not ((probability >= 0) & (probability <= 1)).all():
        raise StoreError(
            f"slide {plan.slide_id}: block {block} of the heatmap takes {len(cells)} probabilities from 0 to 1, "
            f"got shape {probability.shape} with values from {probability.min(initial=1)} to "
            f"{probability.max(initial=0)}"
        )
    position = grid.position_of(block)
    values = np.full((grid.block_cells, grid.block_cells), np.nan, dtype="<f4")
    values[tuple((cells - np.array(position) * grid.block_cells).T)] = probability
    write_shard(
        plan.path / PROBABILITY,
        position,
        _encode_chunks(values, grid.chunk_cells),
        _layout(grid).chunks_per_shard,
    )
    report: dict[str, Any] = {"cells": len(cells), "highest": float(probability.max(initial=0))}
    if apart is not None:
        report["apart"] = dict(apart)
    BlockLedger(plan.ledger, plan.token).record(block, report)
    return report


def _encode_chunks(values: NDArray[np.float32], side: int) -> Iterator[tuple[ChunkIndex, bytes]]:
    """Encode the chunks of a block that hold a value."""
    for row in range(0, values.shape[0], side):
        for column in range(0, values.shape[1], side):
            chunk = values[row : row + side, column : column + side]
            if not np.isnan(chunk).all():
                data = imagecodecs.zstd_encode(chunk.tobytes(), level=_ZSTD_LEVEL)
                yield (row // side, column // side), seal(bytes(data))


def finish_heatmap(plan: HeatmapPlan) -> dict[str, Any]:
    """Check that every block is there and mark the heatmap as complete, as the last thing that is written to it.

    Parameters
    ----------
    plan
        The store; finishing a complete one changes nothing.

    Returns
    -------
    dict
        ``blocks`` and ``cells``: how many there are; ``highest``: the highest probability, 0 without any cell;
        ``apart``, where values were compared: number of ``cells``, ``mean`` and ``largest`` difference.

    Raises
    ------
    StoreIncompleteError
        If blocks have not been written, or their files are not whole.
    """
    ledger = BlockLedger(plan.ledger, plan.token)
    if plan.is_complete:
        ledger.clear()
        return dict(plan.attributes["counts"])
    done = ledger.done()
    missing = [block for block in plan.grid.blocks if block not in done or not _is_whole(plan, block)]
    if missing:
        named = ", ".join(map(str, missing[:_MOST_NAMED])) + (", …" if len(missing) > _MOST_NAMED else "")
        raise StoreIncompleteError(
            f"slide {plan.slide_id}: {len(missing)} of {len(plan.grid.blocks)} blocks of the heatmap are missing "
            f"({named}): run the heatmap stage again, it goes on where it stopped"
        )
    counts: dict[str, Any] = {
        "blocks": len(plan.grid.blocks),
        "cells": int(plan.grid.is_wanted.sum()),
        "highest": max((float(done[block]["highest"]) for block in plan.grid.blocks), default=0.0),
    }
    if compared := [done[block]["apart"] for block in plan.grid.blocks if "apart" in done[block]]:
        n_cells = sum(part["cells"] for part in compared)
        counts["apart"] = {
            "cells": n_cells,
            "mean": sum(part["sum"] for part in compared) / n_cells,
            "largest": max(part["largest"] for part in compared),
        }
    remove_leftovers(plan.path)  # of workers that were killed while they wrote
    attributes = read_attributes(plan.path)
    attributes["slidepipe"] = plan.attributes | {"complete": True, "counts": counts}
    flush_tree(plan.path / PROBABILITY)
    write_group(plan.path, attributes)
    ledger.clear()
    return counts
