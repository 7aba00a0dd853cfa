"""What a tile store holds, or is to hold while it is filled: its attributes, its grid, the status of its tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError, StoreVersionError
from slidepipe.storage.arrays import read_attributes, read_chunk_codecs, read_small_array
from slidepipe.storage.tile_codec import TileCodec, codec_from
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.tissue import TissueMask

STORE_VERSION = 2
BACKGROUND, STORED, DAMAGED = 0, 1, 2
PIXELS = "0"
STATUS, TISSUE = "status", "tissue"
_KEYS = ("complete", "token", "slide", "grid", "tissue", "filling", "counts")


@dataclass(frozen=True, slots=True, eq=False)
class StorePlan:
    """What a store holds or is to hold, complete or not."""

    path: Path
    """Folder of the store."""
    attributes: dict[str, Any]
    """The attribute ``slidepipe``."""
    grid: TileGrid
    """The planned tiles."""
    status: NDArray[np.uint8]
    """Status of each tile, shape (tile rows, tile columns). Until the store is complete, every planned tile
    is `STORED`."""
    codec: TileCodec
    """How tiles are encoded."""

    @property
    def token(self) -> str:
        """Token of the work that fills the store."""
        return str(self.attributes["token"])

    @property
    def is_complete(self) -> bool:
        """Whether all tiles are there."""
        return self.attributes["complete"] is True

    @property
    def slide_id(self) -> str:
        """The slide."""
        return str(self.attributes["slide"]["id"])

    @property
    def tissue(self) -> TissueMask:
        """The tissue mask without the margin for which tiles are stored as well; read anew, or a `StoreError`."""
        facts = self.attributes["tissue"]
        scale_x, scale_y = facts["scale_px0"]
        mask = read_small_array(self.path / TISSUE) != 0
        return TissueMask(mask, (scale_x, scale_y), facts["thresholds"])

    @property
    def shard_shape(self) -> tuple[int, int, int]:
        """Chunks of a shard along c, y and x."""
        return (1, self.grid.shard_tiles, self.grid.shard_tiles)

    def shard_index(self, block: int) -> tuple[int, int, int]:
        """Return the position of a block's shard in the array of pixels.

        Parameters
        ----------
        block
            Index of the block.

        Returns
        -------
        tuple of int
            Along c, y and x.
        """
        return (0, *self.grid.shard_of(block))


def read_store_plan(path: Path) -> StorePlan:
    """Read what a store holds or is to hold.

    Parameters
    ----------
    path
        Folder of the store.

    Returns
    -------
    StorePlan
        Of a store that may be incomplete.

    Raises
    ------
    StoreError
        If there is no tile store, or it is damaged.
    StoreVersionError
        If it was written by another format version.
    """
    attributes = read_attributes(path).get("slidepipe")
    if not isinstance(attributes, dict) or attributes.get("format") != "tiles":
        raise StoreError(f"{path} is a Zarr group, but no tile store of slidepipe")
    version = attributes.get("format_version")
    if version != STORE_VERSION:
        raise StoreVersionError(
            f"{path} is a tile store of format version {version}, and this slidepipe reads version {STORE_VERSION}: "
            "cut the slide again, or use the slidepipe that wrote it"
        )
    status = read_small_array(path / STATUS)
    try:
        facts = attributes["grid"]
        (width, height), (scale_x, scale_y) = facts["size_px"], facts["scale_px0"]
        is_tissue = status != BACKGROUND
        grid = TileGrid(
            (width, height), facts["tile_px"], (scale_x, scale_y), facts["shard_tiles"], is_tissue
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} has attributes that do not fit together: {error}") from error
    if missing := [key for key in _KEYS if key not in attributes]:
        raise StoreError(f"{path} lacks the attributes {', '.join(missing)}")
    return StorePlan(path, attributes, grid, status, codec_from(read_chunk_codecs(path / PIXELS)))
