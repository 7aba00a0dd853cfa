"""The tiles of a store as they are stored: found in their shards, many at a time."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.storage.shards import read_chunks, read_shard_index, shard_path

_Tile = tuple[int, int]
"""Row and column."""


class EncodedTiles:
    """Reads encoded tiles; remembers where they lie.

    Parameters
    ----------
    array
        Folder of the array of pixels.
    shard_tiles
        Tiles along each side of a shard.
    """

    def __init__(self, array: Path, shard_tiles: int) -> None:
        self._array = array
        self._shard_tiles = shard_tiles
        self._indices: dict[_Tile, NDArray[np.uint64]] = {}
        self._fetched: dict[_Tile, bytes] = {}

    def fetch(self, tiles: Iterable[_Tile]) -> None:
        """Fetch tiles that `read` will be asked for next: each shard is opened once.

        Parameters
        ----------
        tiles
            Row and column of each. Those fetched before and not read are forgotten. What is missing or damaged is left
            to `read`, which knows of which tile to complain.
        """
        self._fetched.clear()
        by_shard: dict[_Tile, list[_Tile]] = {}
        for row, column in tiles:
            by_shard.setdefault((row // self._shard_tiles, column // self._shard_tiles), []).append(
                (row, column)
            )
        for shard, inside in by_shard.items():
            with suppress(StoreError):
                self._fetched.update(zip(inside, self._read(shard, inside), strict=True))

    def read(self, row: int, column: int) -> bytes:
        """Read a tile.

        Parameters
        ----------
        row, column
            Position of the tile in the grid.

        Returns
        -------
        bytes
            As it was stored.

        Raises
        ------
        StoreError
            If its shard is missing or damaged, or does not hold it.
        """
        chunk = self._fetched.pop((row, column), b"")
        if not chunk:
            shard = (row // self._shard_tiles, column // self._shard_tiles)
            (chunk,) = self._read(shard, [(row, column)])
            if not chunk:
                raise StoreError(f"{shard_path(self._array, (0, *shard))} does not hold it")
        return chunk

    def _read(self, shard: _Tile, tiles: list[_Tile]) -> list[bytes]:
        side = self._shard_tiles
        file = shard_path(self._array, (0, *shard))
        if shard not in self._indices:
            self._indices[shard] = read_shard_index(file, (1, side, side))
        return read_chunks(
            file, self._indices[shard], [(0, row % side, column % side) for row, column in tiles]
        )

    def forget(self) -> None:
        """Forget where tiles lie."""
        self._indices.clear()
        self._fetched.clear()
