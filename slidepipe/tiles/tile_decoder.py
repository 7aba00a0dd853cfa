"""Who else may decode the tiles of a store, and into what memory, than the CPU into arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from slidepipe.storage.tile_codec import TileCodec


class TileDecoder(Protocol):
    """Decodes many tiles at a time, for example on a GPU, into memory of its own."""

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Make memory for pixels.

        Parameters
        ----------
        shape
            Shape of the pixels.

        Returns
        -------
        Any
            uint8, indexed, sliced and assigned to like an array.
        """

    def decode(self, codec: TileCodec, chunks: Sequence[bytes], tile_px: int) -> Iterator[Any]:
        """Decode tiles.

        Parameters
        ----------
        codec
            As the tiles were encoded.
        chunks
            What the store holds of them, at least one.
        tile_px
            Side of a tile.

        Yields
        ------
        Any
            Pixels of each tile in order, uint8 RGB of shape (tile_px, tile_px, 3), which can be assigned to memory that
            `empty` made.

        Raises
        ------
        StoreError
            If a tile is damaged; those before it have been given.
        """
