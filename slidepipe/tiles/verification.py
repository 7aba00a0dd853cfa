"""Proof that a tile store still is what was written: nothing missing, nothing cut short, nothing changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.provenance import fingerprint_file
from slidepipe.storage.locations import location
from slidepipe.storage.shards import ChunkIndex, is_stored, read_chunks, read_shard_index, shard_path
from slidepipe.storage.tile_codec import decode_tile
from slidepipe.tiles.store_plan import PIXELS, STORED, StorePlan, read_store_plan
from slidepipe.tiles.tiling import TileJob


def verify_tiles(store: TileJob | Path | str, token: str, decode: bool = False) -> list[str]:
    """Check a tile store against what it says of itself.

    Parameters
    ----------
    store
        The store, or the job that made it.
    token
        Fingerprint that it should carry.
    decode
        Whether to read and decode every tile as well, which finds changed bytes and takes about as long as
        cutting did. Without it, the index of every shard is read and checked.

    Returns
    -------
    list of str
        What is wrong, in words; empty if nothing is.
    """
    path = location(str(store.store if isinstance(store, TileJob) else store))
    try:
        plan = read_store_plan(path)
    except StoreError as error:
        return [str(error)]
    problems = []
    if plan.token != token:
        problems.append(
            f"{path} carries token {plan.token}, expected {token}: slide, settings or code have changed"
        )
    if not plan.is_complete:
        problems.append(f"{path} is incomplete")
    problems += _check_slide(plan)
    expected = {block for block in plan.grid.blocks if _expected_tiles(plan, block).any()}
    for block in sorted(expected):
        problems += _check_block(plan, block, decode)
    known = {shard_path(path / PIXELS, plan.shard_index(block)) for block in expected}
    shards = {file for file in (path / PIXELS / "c").rglob("*") if file.is_file()}
    return problems + [f"{file} does not belong there" for file in sorted(shards - known)]


def _check_slide(plan: StorePlan) -> list[str]:
    """Check the file that a store refers to: there, of its size and of its content."""
    file = plan.codec.outside
    if file is None:
        return []
    if fault := file.find_fault():
        return [f"{plan.path} refers to its slide, and {fault}"]
    if fingerprint_file(Path(file.path)) != plan.attributes["slide"]["fingerprint"]:
        return [f"{plan.path} refers to {file.path}, which was changed since"]
    return []


def _expected_tiles(plan: StorePlan, block: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which chunks of a shard should be there, in the shape of the shard in chunks."""
    side = plan.grid.shard_tiles
    expected = np.zeros(plan.shard_shape, dtype=bool)
    tiles = plan.grid.tiles_of(block)
    stored = tiles[plan.status[tuple(tiles.T)] == STORED]
    expected[0, stored[:, 0] % side, stored[:, 1] % side] = True
    return expected


def _check_block(plan: StorePlan, block: int, decode: bool) -> list[str]:
    file = shard_path(plan.path / PIXELS, plan.shard_index(block))
    try:
        index = read_shard_index(file, plan.shard_shape)
    except StoreError as error:
        return [str(error)]
    expected, found = _expected_tiles(plan, block), is_stored(index)
    problems = []
    if n_missing := int((expected & ~found).sum()):
        problems.append(f"{file} misses {n_missing} of {int(expected.sum())} tiles")
    if n_unexpected := int((found & ~expected).sum()):
        problems.append(f"{file} holds {n_unexpected} tiles that should not be there")
    if decode:
        for row in np.flatnonzero(found.any(axis=(0, 2))).tolist():
            problems += _check_row(
                plan, file, index, [(0, row, int(at)) for at in np.flatnonzero(found[0, row])]
            )
    return problems


def _check_row(plan: StorePlan, file: Path, index: NDArray[np.uint64], row: list[ChunkIndex]) -> list[str]:
    """Decode the tiles of one row of a shard, which is as much as is held in memory."""
    problems = []
    for chunk, data in zip(row, read_chunks(file, index, row), strict=True):
        try:
            decode_tile(plan.codec, data, plan.grid.tile_px)
        except StoreError as error:
            problems.append(f"{file}, tile at row {chunk[1]}, column {chunk[2]} of the shard: {error}")
    return problems
