"""By which of its ways a store is filled, and through which reader: trusted, then checked.

The TIFF reader is several times as fast as OpenSlide, and alone can hand out compressed tiles. Whether it is right is
tried on every slide: a few of the tiles to be stored are read by both and compared bit for bit. Where the pixels
differ, or the file is compressed otherwise, OpenSlide reads the slide. What was chosen, and why, stands in the log and
in the store.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import PixelSizeError, RegionReadError, SlideFormatError
from slidepipe.slides.handles import borrow_slide
from slidepipe.slides.levels import level_origin_px0
from slidepipe.slides.reader import ReaderName, SlideInfo, SlideSource
from slidepipe.storage.locations import is_url
from slidepipe.tiles.grid import TileGrid, TileSettings, source_level
from slidepipe.tiles.tile_copying import copying_obstacle

_log = logging.getLogger(__name__)

_N_COMPARED = 4
_N_TRIED = 16
"""A tile that one of the readers cannot read, since it is damaged, is replaced by another one, up to so many."""
_COMPARED_PX = 512


@dataclass(frozen=True, slots=True)
class Filling:
    """How the tiles of one slide come into its store."""

    mode: Literal["copy", "encode", "reference"]
    """``copy``: as they lie in the file; ``encode``: read and encoded; ``reference``: where they lie in the file."""
    reader: ReaderName
    """Where pixels or compressed tiles come from; metadata and tissue come from the reader of the slide."""
    level: int
    """Level of the file that is read."""
    reason: str
    """Why, in words."""


def choose_filling(
    source: SlideSource, info: SlideInfo, grid: TileGrid, settings: TileSettings, slide_fingerprint: str
) -> Filling:
    """Choose how to fill the store of a slide.

    Parameters
    ----------
    source
        The slide.
    info
        What its own reader knows of it.
    grid
        The tiles to be stored.
    settings
        The mode asked for.
    slide_fingerprint
        Seeds the choice of tiles that are compared: equal slides, equal choice.

    Returns
    -------
    Filling
        ``reference`` if asked for, else ``copy`` if possible and not declined, else ``encode``; through the TIFF
        reader if it passes, or if the reader ``tiff`` was asked for.

    Raises
    ------
    SlideFormatError
        If the mode ``copy`` or ``reference`` was asked for and is impossible, or the reader ``tiff`` was asked for and
        gives other pixels than OpenSlide.
    """
    level = source_level(info, grid.scale_px0)
    doubt = _doubt(source, info, grid, slide_fingerprint)
    obstacle = doubt or _obstacle(source, level, grid, settings)
    if settings.mode in {"copy", "reference"} and obstacle:
        done = "copied" if settings.mode == "copy" else "referred to"
        raise SlideFormatError(
            f"slide {source.slide_id}: its tiles cannot be {done}: {obstacle}. Set tiles.mode to auto to encode them"
        )
    if obstacle is None:
        mode: Literal["copy", "reference"] = "reference" if settings.mode == "reference" else "copy"
        filling = Filling(mode, "tiff", level, "JPEG tiles of the size and pixels asked for")
    else:
        reader = "tiff" if doubt is None else source.reader
        filling = Filling("encode", reader if reader != "auto" else "openslide", level, obstacle)
    _log.info("slide %s: %s through %s: %s", source.slide_id, filling.mode, filling.reader, filling.reason)
    return filling


def _obstacle(source: SlideSource, level: int, grid: TileGrid, settings: TileSettings) -> str | None:
    """Say why tiles are not copied although the TIFF reader can be trusted."""
    if settings.mode == "encode":
        return "the mode encode was asked for"
    if settings.codec == "zstd":
        return "the codec zstd was asked for"
    if settings.mode == "reference" and is_url(source.path):
        return "it is a URL, and a store refers to files on a disk"
    return copying_obstacle(source, level, grid)


def _doubt(source: SlideSource, info: SlideInfo, grid: TileGrid, slide_fingerprint: str) -> str | None:
    """Say why the TIFF reader is not to be used; None if it can be trusted.

    Raises
    ------
    SlideFormatError
        If it was asked for by name and gives other pixels than OpenSlide.
    """
    if source.reader not in ("auto", "tiff"):
        return f"the reader {source.reader} was asked for"
    if info.reader == "tiff" and not _openslide_opens(source):
        return None
    try:
        with borrow_slide(replace(source, reader="tiff")) as reader:
            levels = reader.info.levels
    except (SlideFormatError, PixelSizeError) as error:
        return f"the TIFF reader does not read it: {error}"
    if levels != info.levels:
        return "the TIFF reader finds other levels than OpenSlide"
    n_compared, difference = _compare(source, info, grid, slide_fingerprint)
    if difference and source.reader == "tiff":
        raise SlideFormatError(f"slide {source.slide_id}: {difference}: set its reader to auto or openslide")
    if n_compared == 0 and source.reader == "auto" and grid.is_tissue.any():
        return "no tile could be read by both the TIFF reader and OpenSlide"
    return difference


def _openslide_opens(source: SlideSource) -> bool:
    try:
        with borrow_slide(replace(source, reader="openslide")):
            return True
    except (SlideFormatError, PixelSizeError):
        return False


def _compare(
    source: SlideSource, info: SlideInfo, grid: TileGrid, slide_fingerprint: str
) -> tuple[int, str | None]:
    """Compare tiles of the TIFF reader with OpenSlide's: how many were, and the first difference in words."""
    tiles = np.argwhere(grid.is_tissue)
    random = np.random.default_rng(list(slide_fingerprint.encode()))
    n_compared = 0
    for row, column in tiles[random.permutation(len(tiles))[:_N_TRIED]].tolist():
        try:
            ours = _read_tile(replace(source, reader="tiff"), info, grid, (row, column))
            theirs = _read_tile(replace(source, reader="openslide"), info, grid, (row, column))
        except RegionReadError as error:
            _log.info("slide %s: not compared: %s", info.slide_id, error)
            continue
        n_compared += 1
        if not np.array_equal(ours, theirs):
            worst = int(np.abs(ours.astype(int) - theirs).max())
            where = f"tile row {row}, column {column}"
            return n_compared, f"the TIFF reader and OpenSlide differ by up to {worst} grey levels at {where}"
        if n_compared == _N_COMPARED:
            break
    return n_compared, None


def _read_tile(
    source: SlideSource, info: SlideInfo, grid: TileGrid, tile: tuple[int, int]
) -> NDArray[np.uint8]:
    """Read what a stored tile is made of, or the first part of it, from the level that it is made of."""
    level = source_level(info, grid.scale_px0)
    factor = info.levels[level].factor
    x, y = (
        level_origin_px0(int(index * grid.tile_px * scale / factor), factor)
        for index, scale in zip(reversed(tile), grid.scale_px0, strict=True)
    )
    side = min(grid.tile_px, _COMPARED_PX)
    with borrow_slide(source) as reader:
        return reader.read_region((x, y), level, (side, side))
