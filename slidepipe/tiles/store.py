"""The tile store of one slide: a Zarr v3 group that is an OME-NGFF 0.5 image at the same time.

* ``0``: the pixels, uint8, axes c, y, x. A chunk is one tile; a shard is a square of tiles; what is not
  stored is white.
* ``status``: uint8 (tile rows, tile columns), `BACKGROUND`, `STORED` or `DAMAGED`.
* ``tissue``: uint8 (rows, columns), the tissue mask, 1 is tissue.
* attribute ``ome``: axes and pixel size; attribute ``slidepipe``: which slide, which settings, which
  software, and in which way the tiles came here: copied from the file as they are, or encoded. An allow-list:
  neither paths nor file names nor anything else that could name a patient.

A store of the mode ``reference`` holds pointers in place of tiles (`slidepipe.storage.byte_ranges`) and opens only as
long as the slide is there, unchanged. It is the one that names the slide's file, in the codecs of ``0``.

While a store is being filled, ``status`` says what is planned, and ``complete`` in its attributes is false;
such a store cannot be opened. Pixels are read as a picture, at any place and of any size, so that every patch
size and stride reads from the same tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError, StoreIncompleteError
from slidepipe.geometry import PixelSize, Scale
from slidepipe.slides.jpeg_segments import without_texts
from slidepipe.storage.tile_codec import TileCodec, decode_tile, encoded_tile
from slidepipe.tiles.encoded_tiles import EncodedTiles
from slidepipe.tiles.store_plan import PIXELS, STORED, StorePlan, read_store_plan
from slidepipe.tiles.tile_decoder import TileDecoder
from slidepipe.tiles.tissue import TissueMask
from slidepipe.tiles.windows import TiledPicture, WindowCutter

_CACHE_BYTES, _LEAST_TILES = 100_000_000, 4


def open_tile_store(
    path: Path, *, cache_tiles: int | None = None, threads: int = 1, decoder: TileDecoder | None = None
) -> TileStore:
    """Open a complete tile store.

    Parameters
    ----------
    path
        Folder of the store.
    cache_tiles
        How many decoded tiles are kept, the ones used last; None keeps as many as 100 MB hold, 127 tiles of 512 px,
        so that who reads row by row finds the tiles of the row before.
    threads
        Threads that decode tiles of one call. Their number changes no pixel.
    decoder
        Decodes the tiles in place of the CPU, and makes the memory for windows.

    Returns
    -------
    TileStore
        To be used by one thread at a time; open one per worker.

    Raises
    ------
    StoreError
        If there is no tile store, or it is damaged.
    StoreVersionError
        If it was written by another format version.
    StoreIncompleteError
        If blocks of it are missing.
    SlideChangedError
        If it refers to its slide, and the slide has moved or has another size now.
    """
    plan = read_store_plan(path)
    if not plan.is_complete:
        raise StoreIncompleteError(
            f"{path} of slide {plan.slide_id} is incomplete: run the tile stage again, it goes on where it stopped"
        )
    if plan.codec.outside is not None:
        plan.codec.outside.check(plan.slide_id)
    if cache_tiles is None:
        cache_tiles = max(_CACHE_BYTES // (3 * plan.grid.tile_px**2), _LEAST_TILES)
    return TileStore(plan, cache_tiles, threads, decoder)


class TileStore:
    """A complete tile store, opened by `open_tile_store`.

    Parameters
    ----------
    plan
        What it holds.
    cache_tiles
        How many decoded tiles are kept.
    threads
        Threads that decode.
    decoder
        Decodes in place of the CPU.
    """

    def __init__(
        self, plan: StorePlan, cache_tiles: int, threads: int = 1, decoder: TileDecoder | None = None
    ) -> None:
        self._plan = plan
        self._encoded = EncodedTiles(plan.path / PIXELS, plan.grid.shard_tiles)
        self._decoder = decoder
        self._decoded: dict[tuple[int, int], Any] = {}
        places = plan.grid.size_px, plan.grid.tile_px, plan.status == STORED
        if decoder is None:
            picture = TiledPicture(*places, self._decode, self._encoded.fetch)
        else:
            picture = TiledPicture(
                *places, self._take_decoded, partial(self._decode_many, decoder), decoder.empty
            )
        self._windows = WindowCutter(picture, cache_tiles, threads)
        self._tissue: TissueMask | None = None

    @property
    def decoder(self) -> TileDecoder | None:
        """What decodes in place of the CPU, and makes the memory for windows; None for the CPU."""
        return self._decoder

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self._plan.path

    @property
    def slide_id(self) -> str:
        """The slide."""
        return self._plan.slide_id

    @property
    def size_px0(self) -> tuple[int, int]:
        """Width and height of the slide in level-0 pixels."""
        width, height = self._plan.attributes["slide"]["size_px0"]
        return width, height

    @property
    def pixel_size0(self) -> PixelSize:
        """Size of a level-0 pixel."""
        return PixelSize(*self._plan.attributes["slide"]["pixel_size_um"])

    @property
    def pixel_size(self) -> PixelSize:
        """Size of a stored pixel."""
        return self.pixel_size0.scaled(self.scale_px0)

    @property
    def scale_px0(self) -> Scale:
        """Level-0 pixels per stored pixel, along x and y."""
        return self._plan.grid.scale_px0

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the stored level in its own pixels."""
        return self._plan.grid.size_px

    @property
    def tile_px(self) -> int:
        """Side of a tile."""
        return self._plan.grid.tile_px

    @property
    def shard_tiles(self) -> int:
        """Tiles along each side of a shard."""
        return self._plan.grid.shard_tiles

    @property
    def status(self) -> NDArray[np.uint8]:
        """`BACKGROUND`, `STORED` or `DAMAGED` for each tile, shape (tile rows, tile columns)."""
        return self._plan.status

    @property
    def tissue(self) -> TissueMask:
        """The tissue mask without the margin for which tiles are stored as well, or a `StoreError`."""
        if self._tissue is None:
            self._tissue = self._plan.tissue
        return self._tissue

    @property
    def token(self) -> str:
        """Fingerprint of whatever determined the store."""
        return self._plan.token

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything the store says about where it comes from: slide, grid, settings, software, counts."""
        return self._plan.attributes

    @property
    def codec(self) -> TileCodec:
        """How tiles are encoded."""
        return self._plan.codec

    def read_window(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle of the stored level.

        Parameters
        ----------
        x, y
            Top-left corner in stored pixels; may lie outside the slide.
        width, height
            Size in stored pixels.

        Returns
        -------
        ndarray
            uint8 RGB, shape (height, width, 3). White (255) outside the slide and where a tile is background
            or damaged; `status` tells which. Every tile is decoded once at most.

        Raises
        ------
        StoreError
            If a stored tile is missing or damaged on the disk.
        """
        windows = self.read_windows(np.array([(x, y)]), width, height)
        return windows.reshape(height, width, 3)

    def read_windows(
        self, corners: NDArray[np.int64], width: int, height: int, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Read rectangles of one size, such as a batch of patches.

        Parameters
        ----------
        corners
            Top-left corners (x, y) in stored pixels, shape (n, 2), in any order and anywhere.
        width, height
            Size in stored pixels.
        out
            Memory to read into, uint8 of shape (n, height, width, 3); None takes new memory.

        Returns
        -------
        ndarray
            Shape (n, height, width, 3), each window as `read_window` returns it; `out` if that was given. Every tile
            is decoded once at most.

        Raises
        ------
        StoreError
            If a stored tile is missing or damaged on the disk.
        """
        return self._windows.cut(corners, (width, height), out)

    def _decode(self, row: int, column: int, out: NDArray[np.uint8]) -> None:
        with self._reading(row, column):
            decode_tile(self.codec, self._encoded.read(row, column), self.tile_px, out)

    def _decode_many(self, decoder: TileDecoder, tiles: Sequence[tuple[int, int]]) -> None:
        self._decoded.clear()
        self._encoded.fetch(tiles)
        chunks = []
        for row, column in tiles:
            with self._reading(row, column):
                chunks.append(self._encoded.read(row, column))
        pixels = decoder.decode(self.codec, chunks, self.tile_px)
        for row, column in tiles:
            with self._reading(row, column):
                self._decoded[row, column] = next(pixels)

    def _take_decoded(self, row: int, column: int, out: Any) -> None:
        out[...] = self._decoded.pop((row, column))

    def read_encoded(self, row: int, column: int) -> bytes:
        """Read one stored tile without decoding it.

        Parameters
        ----------
        row, column
            Position of the tile in the grid.

        Returns
        -------
        bytes
            A JPEG stream without comments, or a zstd frame of the pixels: see `codec`. Its checksum has been checked.

        Raises
        ------
        StoreError
            If the tile is not stored, or damaged on the disk.
        """
        if self.status[row, column] != STORED:
            raise StoreError(f"slide {self.slide_id}: tile at row {row}, column {column} is not stored")
        with self._reading(row, column):
            encoded = encoded_tile(self.codec, self._encoded.read(row, column))
            return encoded if self.codec.outside is None else without_texts(encoded)

    @contextmanager
    def _reading(self, row: int, column: int) -> Iterator[None]:
        """Say of which tile an error is.

        Raises
        ------
        StoreError
            Instead of one that does not know.
        """
        try:
            yield
        except StoreError as error:
            raise StoreError(
                f"slide {self.slide_id}: tile at row {row}, column {column} of {self.path} cannot be read: {error}. "
                "Cut the slide again"
            ) from error

    def close(self) -> None:
        """Forget all decoded tiles. Closing twice is harmless."""
        self._windows.close()
        self._encoded.forget()
        self._decoded.clear()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget all decoded tiles."""
        self.close()
