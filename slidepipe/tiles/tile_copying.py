"""Tiles taken out of a slide as they are: compressed bytes in, compressed bytes out, without comments in them.

The tables that all tiles of a level share, and what their colours mean, go into the codec of the store, so that every
reader of it decodes the pixels that the slide has. Tiles at the right and bottom edges are padded in the file as they
are in the store; the padding is not part of the array.

A store that only refers to its slide gets pointers to the same tiles instead, after the same checks. What it points to
includes the comments, which decoders skip.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.slides.handles import borrow_slide
from slidepipe.slides.jpeg_checks import StreamCheck
from slidepipe.slides.jpeg_segments import without_texts
from slidepipe.slides.reader import SlideReader, SlideSource
from slidepipe.slides.tiff_index import JpegLevel
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.storage.byte_ranges import OutsideFile, point_to
from slidepipe.storage.tile_codec import JpegCodec
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.tile_reading import Tile

_log = logging.getLogger(__name__)


def copying_obstacle(source: SlideSource, level: int, grid: TileGrid) -> str | None:
    """Say why the tiles of a grid cannot be copied from a level.

    Parameters
    ----------
    source
        A slide that the TIFF reader reads.
    level
        Level of the file.
    grid
        The tiles to be stored.

    Returns
    -------
    str or None
        What stands in the way, and what to ask for instead; None if nothing does.

    Raises
    ------
    SlideError
        If the TIFF reader does not read the slide.
    """
    tiles = _jpeg_level(source, level)
    factor = tiles.factor
    if grid.scale_px0 != (factor, factor):
        return (
            f"pixels of {grid.scale_px0[0]:g} × {grid.scale_px0[1]:g} level-0 pixels were asked for, and the nearest "
            f"finer level has {factor:g} × {factor:g}; leave tiles.mpp out, or ask for that of a level"
        )
    if tiles.tile_px != (grid.tile_px, grid.tile_px):
        return (
            f"tiles of {grid.tile_px} px were asked for, and those of the file are {tiles.tile_px[0]} × "
            f"{tiles.tile_px[1]} px; leave tiles.tile_px out, or ask for that size"
        )
    if tiles.colour_space == "GRAYSCALE":
        return "they are grey"
    return None


def copied_grid(source: SlideSource, level: int, grid: TileGrid) -> TileGrid:
    """Leave out the tiles that the file does not have.

    Parameters
    ----------
    source
        The slide.
    level
        Level of the file.
    grid
        The tiles to be stored.

    Returns
    -------
    TileGrid
        Without tiles of no bytes, which are white like all that is not stored.

    Raises
    ------
    SlideError
        If the TIFF reader does not read the slide.
    """
    tiles = _jpeg_level(source, level)
    rows, columns = grid.shape
    return replace(grid, is_tissue=grid.is_tissue & (tiles.byte_counts[:rows, :columns] > 0))


def copied_codec(source: SlideSource, level: int) -> JpegCodec:
    """Return the codec that decodes the tiles of a level.

    Parameters
    ----------
    source
        The slide.
    level
        Level of the file.

    Returns
    -------
    JpegCodec
        With the file's tables and colours, and without settings for encoding.

    Raises
    ------
    SlideError
        If the TIFF reader does not read the slide.
    """
    tiles = _jpeg_level(source, level)
    return JpegCodec(
        colorspace_jpeg="RGB" if tiles.colour_space == "RGB" else "YCBCR",
        tables=None if tiles.tables is None else without_texts(tiles.tables),
    )


def slide_file(source: SlideSource) -> OutsideFile:
    """Describe the file of a slide to a store that refers to it.

    Parameters
    ----------
    source
        A slide of one file, as all slides that the TIFF reader reads are.

    Returns
    -------
    OutsideFile
        Its absolute path and present size.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    path = Path(source.path).absolute()
    return OutsideFile(str(path), path.stat().st_size)


def copy_tiles(
    source: SlideSource, level: int, tiles: NDArray[np.int64]
) -> Iterator[tuple[Tile, bytes | None]]:
    """Read compressed tiles of a slide.

    Parameters
    ----------
    source
        The slide; borrowed anew for every row of tiles.
    level
        Level of the file.
    tiles
        int64, shape (n, 2), columns (tile row, tile column), row by row.

    Yields
    ------
    tuple
        Tile row and column, and its JPEG stream; None where the file ends too early or what lies there is not a whole
        JPEG stream of the right size. In the order of `tiles`.

    Raises
    ------
    SlideError
        If the TIFF reader does not read the slide.
    """
    for tile, _, stream in _read_tiles(source, level, tiles):
        yield tile, stream


def point_to_tiles(
    source: SlideSource, level: int, tiles: NDArray[np.int64]
) -> Iterator[tuple[Tile, bytes | None]]:
    """Read compressed tiles of a slide and make pointers to them.

    Parameters
    ----------
    source
        The slide; borrowed anew for every row of tiles.
    level
        Level of the file.
    tiles
        int64, shape (n, 2), columns (tile row, tile column), row by row.

    Yields
    ------
    tuple
        Tile row and column, and the pointer; None for the tiles that `copy_tiles` gives None for.

    Raises
    ------
    SlideError
        If the TIFF reader does not read the slide.
    """
    layout = _jpeg_level(source, level)
    for tile, data, stream in _read_tiles(source, level, tiles):
        yield tile, None if stream is None else point_to(int(layout.offsets[tile]), data)


def _read_tiles(
    source: SlideSource, level: int, tiles: NDArray[np.int64]
) -> Iterator[tuple[Tile, bytes, bytes | None]]:
    """Read tiles as they lie in the file, and what is picture of them; None for the picture of a damaged one."""
    source = _through_tiff(source)
    layout = _jpeg_level(source, level)
    check = StreamCheck(layout.tile_px, layout.components)
    for row, group in itertools.groupby(tiles.tolist(), key=lambda tile: int(tile[0])):
        columns = [int(column) for _, column in group]
        for column, data in zip(columns, _read_row(source, level, row, columns), strict=True):
            length = int(layout.byte_counts[row, column])
            yield (row, column), data, _whole(source, check, (row, column), data, length)


def _read_row(source: SlideSource, level: int, row: int, columns: list[int]) -> list[bytes]:
    """Read one row, a second time with the slide opened anew if that fails; no bytes if it fails twice."""
    for attempt in ("again", "no more"):
        try:
            with borrow_slide(source) as reader:
                return _tiff_reader(reader).read_streams(level, row, columns)
        except RegionReadError as error:
            _log.warning("slide %s: reading %s, because %s", source.slide_id, attempt, error)
    return [b""] * len(columns)


def _whole(source: SlideSource, check: StreamCheck, tile: Tile, data: bytes, length: int) -> bytes | None:
    try:
        if len(data) < length:
            raise ValueError(f"{len(data)} of its {length} bytes can be read")
        return check.whole(data)
    except ValueError as error:
        _log.warning("slide %s: tile at row %d, column %d is damaged: %s", source.slide_id, *tile, error)
        return None


def _jpeg_level(source: SlideSource, level: int) -> JpegLevel:
    with borrow_slide(_through_tiff(source)) as reader:
        return _tiff_reader(reader).index.levels[level]


def _through_tiff(source: SlideSource) -> SlideSource:
    return replace(source, reader="tiff")


def _tiff_reader(reader: SlideReader) -> TiffReader:
    if not isinstance(reader, TiffReader):
        raise SlideFormatError(f"slide {reader.info.slide_id}: only the TIFF reader gives compressed tiles")
    return reader
