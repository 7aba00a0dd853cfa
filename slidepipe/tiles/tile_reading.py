"""Reading the tiles of a block: each pixel of the file once if possible, and no tile given up too early.

Tiles that coincide with the tiles of the file are read one by one. All others are read in squares of several
tiles, because a tile that cuts through those of the file, or that is resampled, would otherwise have its
neighbours' pixels decoded again: with file tiles of 240 px and stored tiles of 512 px, twice over. Where a
square holds little tissue, its tiles are read one by one all the same. File tiles that lie across the borders
of what is read are kept decoded by the TIFF reader until the block is done, so that it decodes no tile twice.

A read that fails is tried once more with the slide opened anew, since some libraries refuse every read after
the first failure, and networks have hiccups. A square that fails is read tile by tile, so that one damaged
spot costs one tile. A tile that fails twice is damaged.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError
from slidepipe.slides.handles import borrow_slide
from slidepipe.slides.reader import SlideInfo, SlideSource
from slidepipe.slides.resample import read_scaled
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.tiles.grid import TileGrid

_log = logging.getLogger(__name__)

Tile = tuple[int, int]
"""Tile row and tile column."""

_SQUARE_PX = 4096
"""Side of the largest square that is read at once, in pixels of the level that is read: 50 MB."""
_KEPT_BYTES = 256 * 2**20
"""Decoded file tiles that are kept during a block. Those along the borders of a block of 8192 px and its squares
are 20 to 200 MB, depending on how much finer the level read is than the tiles."""
_WORTHWHILE = 0.5
"""Share of wanted tiles from which reading a whole square is cheaper than its tiles one by one."""


def read_tiles(
    source: SlideSource, grid: TileGrid, tiles: NDArray[np.int64]
) -> Iterator[tuple[Tile, NDArray[np.uint8] | None]]:
    """Read tiles of a slide.

    Parameters
    ----------
    source
        The slide; borrowed anew for every read.
    grid
        Where the tiles lie.
    tiles
        int64, shape (n, 2), columns (tile row, tile column), row by row.

    Yields
    ------
    tuple
        Tile row and column, and its pixels: uint8 RGB, shape (tile, tile, 3), white beyond the slide's edge;
        None where the slide is damaged. Square by square, row by row within a square; equal plans give equal
        orders.

    Raises
    ------
    SlideError
        If the slide cannot be opened.
    """
    with borrow_slide(source) as reader:
        side = _tiles_per_square(reader.info, grid)
    wanted = [(int(row), int(column)) for row, column in tiles]
    squares = sorted(wanted, key=lambda tile: (tile[0] // side, tile[1] // side, tile))
    for _, square in itertools.groupby(squares, key=lambda tile: (tile[0] // side, tile[1] // side)):
        yield from _read_square(source, grid, list(square))
    with borrow_slide(source) as reader:
        if isinstance(reader, TiffReader):
            reader.keep_cut_tiles(0)


def _tiles_per_square(info: SlideInfo, grid: TileGrid) -> int:
    if grid.scale_px0 == (1.0, 1.0) and info.tile_px == (grid.tile_px, grid.tile_px):
        return 1
    scale = min(grid.scale_px0)
    factor = max((level.factor for level in info.levels if level.factor <= scale), default=1.0)
    return max(1, int(_SQUARE_PX // (grid.tile_px * max(grid.scale_px0) / factor)))


def _read_square(
    source: SlideSource, grid: TileGrid, tiles: list[Tile]
) -> Iterator[tuple[Tile, NDArray[np.uint8] | None]]:
    first = min(row for row, _ in tiles), min(column for _, column in tiles)
    rows, columns = (max(tile[axis] for tile in tiles) + 1 - first[axis] for axis in (0, 1))
    if 1 < len(tiles) >= _WORTHWHILE * rows * columns:
        try:
            pixels = _read(source, grid, first, (rows, columns))
        except RegionReadError as error:
            _log.info("slide %s: reading tile by tile, because %s", source.slide_id, error)
        else:
            side = grid.tile_px
            for row, column in tiles:
                y, x = (row - first[0]) * side, (column - first[1]) * side
                yield (row, column), pixels[y : y + side, x : x + side]
            return
    for tile in tiles:
        yield tile, _read_tile(source, grid, tile)


def _read_tile(source: SlideSource, grid: TileGrid, tile: Tile) -> NDArray[np.uint8] | None:
    try:
        return _read(source, grid, tile, (1, 1))
    except RegionReadError as error:
        _log.info("slide %s: reading tile %s again, because %s", source.slide_id, tile, error)
    try:
        return _read(source, grid, tile, (1, 1))
    except RegionReadError as error:
        _log.warning("slide %s: tile at row %d, column %d is damaged: %s", source.slide_id, *tile, error)
        return None


def _read(source: SlideSource, grid: TileGrid, first: Tile, shape: tuple[int, int]) -> NDArray[np.uint8]:
    side = grid.tile_px
    # Borrowed for one read only: a slide on which a read has failed is opened anew for the next one.
    with borrow_slide(source) as reader:
        if isinstance(reader, TiffReader):
            reader.keep_cut_tiles(_KEPT_BYTES)
        origin, size = (first[1] * side, first[0] * side), (shape[1] * side, shape[0] * side)
        return read_scaled(reader, origin, size, grid.scale_px0)
