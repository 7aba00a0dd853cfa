"""Making a tile store: empty, with its plan, first; complete last. What it holds: `slidepipe.tiles.store`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.slides.levels import WHITE
from slidepipe.slides.reader import SlideInfo
from slidepipe.storage.arrays import (
    ShardedArray,
    read_attributes,
    write_group,
    write_sharded_array,
    write_small_array,
)
from slidepipe.storage.byte_ranges import OutsideFile
from slidepipe.storage.ome import multiscales, rgb_channels
from slidepipe.storage.publish import atomic_folder, flush_tree, remove_tree
from slidepipe.storage.tile_codec import TileCodec, chunk_codecs
from slidepipe.tiles.filling import Filling
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.store_plan import (
    BACKGROUND,
    DAMAGED,
    PIXELS,
    STATUS,
    STORE_VERSION,
    STORED,
    TISSUE,
    StorePlan,
)
from slidepipe.tiles.tissue import TissueMask


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What a new store says about where it comes from."""

    info: SlideInfo
    """The slide."""
    fingerprint: str
    """Fingerprint of the slide's content."""
    token: str
    """Fingerprint of whatever determines the store: slide, settings, code."""
    settings: dict[str, Any]
    """Every setting that changes a byte, by section."""
    software: dict[str, str]
    """Versions of the software, by name."""
    filling: Filling | None = None
    """How the tiles come into the store; None where they come from elsewhere than a slide."""


def create_tile_store(
    path: Path, facts: StoreFacts, grid: TileGrid, tissue: TissueMask, codec: TileCodec
) -> None:
    """Make an empty tile store, replacing whatever lies at its path.

    The store appears at its path only once all of this is written.

    Parameters
    ----------
    path
        Folder of the store.
    facts
        Where it comes from.
    grid
        The tiles to be stored.
    tissue
        The tissue mask, without margin.
    codec
        How tiles are encoded.
    """
    status = np.where(grid.is_tissue, STORED, BACKGROUND).astype(np.uint8)
    remove_tree(path)
    with atomic_folder(path) as folder:
        write_sharded_array(folder / PIXELS, _pixel_array(grid, codec))
        write_small_array(folder / STATUS, status, ("y", "x"))
        write_small_array(folder / TISSUE, tissue.mask.astype(np.uint8), ("y", "x"))
        write_group(folder, {"ome": _ome(facts, grid), "slidepipe": _attributes(facts, grid, tissue)})


def point_store(plan: StorePlan, slide_file: OutsideFile) -> None:
    """Have a store that refers to its slide look for it elsewhere, in one step.

    Parameters
    ----------
    plan
        The store.
    slide_file
        Where the slide lies now; its content has to be the same.

    Raises
    ------
    ValueError
        If the store does not refer to its slide.
    """
    if plan.codec.outside is None:
        raise ValueError(f"{plan.path} does not refer to its slide")
    write_sharded_array(plan.path / PIXELS, _pixel_array(plan.grid, replace(plan.codec, outside=slide_file)))


def _pixel_array(grid: TileGrid, codec: TileCodec) -> ShardedArray:
    return ShardedArray(
        shape=(3, grid.size_px[1], grid.size_px[0]),
        chunk=(3, grid.tile_px, grid.tile_px),
        chunks_per_shard=(1, grid.shard_tiles, grid.shard_tiles),
        dtype="uint8",
        fill_value=WHITE,
        chunk_codecs=tuple(chunk_codecs(codec)),
        dimension_names=("c", "y", "x"),
    )


def _ome(facts: StoreFacts, grid: TileGrid) -> dict[str, Any]:
    size = facts.info.pixel_size.scaled(grid.scale_px0)
    return multiscales(facts.info.slide_id, "cyx", [(1, size.y_um, size.x_um)]) | {"omero": rgb_channels()}


def _attributes(facts: StoreFacts, grid: TileGrid, tissue: TissueMask) -> dict[str, Any]:
    info = facts.info
    return {
        "format": "tiles",
        "format_version": STORE_VERSION,
        "complete": False,
        "token": facts.token,
        "slide": {
            "id": info.slide_id,
            "size_px0": list(info.size_px0),
            "pixel_size_um": [info.pixel_size.x_um, info.pixel_size.y_um],
            "levels": [asdict(level) for level in info.levels],
            "objective_power": info.objective_power,
            "bounds_px0": info.bounds_px0,
            "vendor": info.vendor,
            "reader": info.reader,
            "fingerprint": facts.fingerprint,
        },
        "grid": {
            "size_px": list(grid.size_px),
            "tile_px": grid.tile_px,
            "scale_px0": list(grid.scale_px0),
            "shard_tiles": grid.shard_tiles,
        },
        "tissue": {"scale_px0": list(tissue.scale_px0), "thresholds": dict(tissue.thresholds)},
        "filling": None if facts.filling is None else asdict(facts.filling),
        "settings": facts.settings,
        "software": facts.software,
        "counts": None,
    }


def complete_store(plan: StorePlan, damaged: NDArray[np.int64], counts: dict[str, int]) -> None:
    """Mark a store as complete, as the last thing that is written to it, when all else is on the disk.

    Parameters
    ----------
    plan
        The store.
    damaged
        int64, shape (n, 2), columns (tile row, tile column): the tiles that could not be read.
    counts
        What was stored, for the attributes.
    """
    status = np.where(plan.grid.is_tissue, STORED, BACKGROUND).astype(np.uint8)
    status[tuple(damaged.T)] = DAMAGED
    if not np.array_equal(status, plan.status):
        write_small_array(plan.path / STATUS, status, ("y", "x"))
    flush_tree(plan.path / PIXELS)
    attributes = read_attributes(plan.path)
    attributes["slidepipe"] = plan.attributes | {"complete": True, "counts": counts}
    write_group(plan.path, attributes)
