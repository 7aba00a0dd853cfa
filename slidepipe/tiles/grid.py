"""Which tiles of a slide are stored: a plan in plain numbers. Reads no file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from slidepipe.errors import ConfigError, PixelSizeError
from slidepipe.geometry import NATIVE_TOLERANCE, Scale, ceil_div
from slidepipe.slides.reader import SlideInfo
from slidepipe.tiles.tissue import TissueMask

_DEFAULT_TILE_PX = 512
_OWN_TILE_PX = range(128, 2049)
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSettings:
    """How slides are cut into tiles, and how tiles are stored."""

    mode: Literal["auto", "copy", "encode", "reference"] = "auto"
    """How the store is filled. ``copy``: the compressed tiles of the file as they are, nothing lost and nothing
    decoded; only from JPEG-tiled TIFF slides, at the pixel size of one of their levels and with their own tiles.
    ``encode``: read, resample where asked for, encode. ``auto``: copy where possible and `codec` is ``jpeg``,
    else encode; which of them and why stands in the log and in the store. ``reference``: possible where ``copy`` is,
    but no pixels are stored: the store points to places in the slide file, which it names and which has to stay where
    it is, unchanged; ``auto`` never chooses it."""
    mpp: Annotated[float, Gt(0)] | None = None
    """Size of a stored pixel in µm; None keeps the slide's own pixels, which costs no sharpness and no
    time. A size within a thousandth of that of a level of the file means that level's pixels as they are."""
    tile_px: Annotated[int, Ge(16), Le(8192)] | None = None
    """Side of a tile in pixels. None takes the tiles of the file itself where they are square, between 128
    and 2048 px and not resampled, so that every one of them is decoded once or not at all; 512 otherwise."""
    shard_tiles: Annotated[int, Ge(1), Le(64)] = 16
    """Tiles along each side of a shard, the file that one task writes. 16 × 16 tiles of 512 px are 12 MB of
    tissue, and a whole slide is some hundred files."""
    min_tissue: Annotated[float, Ge(0), Le(1)] = 0.0
    """Tiles with a smaller share of tissue, margin included, are not stored. 0 stores every tile with any
    tissue."""
    codec: Literal["jpeg", "zstd"] = "jpeg"
    """``jpeg``, or ``zstd``: without loss, and about ten times as large."""
    quality: Annotated[int, Ge(1), Le(100)] = 90
    """JPEG quality of tiles that are encoded."""
    subsampling: Literal["444", "422", "420"] = "444"
    """JPEG chroma subsampling of tiles that are encoded; ``444`` keeps the colour of nuclei as sharp as their
    shape."""
    max_damaged: Annotated[float, Ge(0), Le(1)] = 0.01
    """Share of the tissue tiles that may be damaged before the slide fails."""
    stage_dir: str | None = None
    """Scratch folder on the machine that cuts, for slides on slow or far storage: each slide is copied there first,
    and the copy is removed afterwards. It needs room for two slides per worker, and may begin with a variable of the
    workers' environment, as in ``$TMPDIR/slides``. None, and the mode ``reference``, read slides where they lie.
    Changes no byte of a store."""

    def __post_init__(self) -> None:
        if self.mode in {"copy", "reference"} and self.codec == "zstd":
            raise ConfigError(
                f"tiles.mode {self.mode} keeps the JPEG tiles of the slide, so tiles.codec must be jpeg; set "
                "tiles.mode to encode for zstd"
            )


@dataclass(frozen=True, slots=True, eq=False)
class TileGrid:
    """Tiles chosen on one slide: a regular grid from the slide's top-left corner that covers all of it."""

    size_px: tuple[int, int]
    """Width and height of the stored level."""
    tile_px: int
    """Side of a tile. Tiles at the right and bottom edges reach past the slide and are whole all the same."""
    scale_px0: Scale
    """Level-0 pixels per stored pixel, along x and y."""
    shard_tiles: int
    """Tiles along each side of a shard."""
    is_tissue: NDArray[np.bool_]
    """Which tiles are stored, shape (tile rows, tile columns)."""

    def __post_init__(self) -> None:
        expected = (ceil_div(self.size_px[1], self.tile_px), ceil_div(self.size_px[0], self.tile_px))
        if self.is_tissue.shape != expected:
            raise ValueError(
                f"{self.size_px[0]} × {self.size_px[1]} px in tiles of {self.tile_px} px are {expected} tile rows "
                f"and columns, got {self.is_tissue.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Tile rows and tile columns."""
        rows, columns = self.is_tissue.shape
        return rows, columns

    @property
    def shape_in_shards(self) -> tuple[int, int]:
        """Shard rows and shard columns; those at the end may be partly empty."""
        rows, columns = self.shape
        return ceil_div(rows, self.shard_tiles), ceil_div(columns, self.shard_tiles)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Indices of the shards with tissue, ascending, counted row by row over all shards."""
        rows, columns = np.nonzero(self.is_tissue)
        indices = rows // self.shard_tiles * self.shape_in_shards[1] + columns // self.shard_tiles
        return tuple(np.unique(indices).tolist())

    def shard_of(self, block: int) -> tuple[int, int]:
        """Return where the shard of a block lies.

        Parameters
        ----------
        block
            Index of the block.

        Returns
        -------
        tuple of int
            Shard row and shard column.

        Raises
        ------
        ValueError
            If there is no such shard.
        """
        rows, columns = self.shape_in_shards
        if not 0 <= block < rows * columns:
            raise ValueError(f"block {block} does not exist: there are {rows} × {columns} shards")
        return divmod(block, columns)

    def tiles_of(self, block: int) -> NDArray[np.int64]:
        """Return the tiles that a block stores.

        Parameters
        ----------
        block
            Index of the block.

        Returns
        -------
        ndarray
            int64, shape (n, 2), columns (tile row, tile column) in the whole grid, row by row.

        Raises
        ------
        ValueError
            If there is no such shard.
        """
        row, column = (index * self.shard_tiles for index in self.shard_of(block))
        inside = self.is_tissue[row : row + self.shard_tiles, column : column + self.shard_tiles]
        tiles: NDArray[np.int64] = np.argwhere(inside).astype(np.int64) + (row, column)  # noqa: RUF005 (adds)
        return tiles


def plan_tile_grid(info: SlideInfo, mask: TissueMask, settings: TileSettings) -> TileGrid:
    """Choose the tiles to store on a slide.

    Equal inputs give an equal grid.

    Parameters
    ----------
    info
        The slide.
    mask
        Where it has tissue, margin included: see `TissueMask.grown`.
    settings
        Tile size, pixel size and share of tissue.

    Returns
    -------
    TileGrid
        Without any tile on a slide without tissue. Its scale is exactly the factor of a level of the slide where it
        is within a thousandth of it, and its size is then that level's.

    Raises
    ------
    PixelSizeError
        If `TileSettings.mpp` is finer than the slide's own pixels.
    """
    try:
        scale = info.pixel_size.scale_to(settings.mpp)
    except PixelSizeError as error:
        raise PixelSizeError(f"slide {info.slide_id}: {error}") from error
    level = info.levels[source_level(info, scale)]
    if is_level := all(abs(s / level.factor - 1) <= NATIVE_TOLERANCE for s in scale):
        scale = (level.factor, level.factor)
    tile_px = settings.tile_px or (_own_tile_px(info) if is_level else _DEFAULT_TILE_PX)
    # Some quotients come out as 400.00000000000006, and a 401st column would hold nothing.
    resampled = (math.ceil(side / s - _ROUNDING) for side, s in zip(info.size_px0, scale, strict=True))
    width, height = level.size_px if is_level else resampled
    columns, rows = ceil_div(width, tile_px), ceil_div(height, tile_px)
    side_px0 = (tile_px * scale[0], tile_px * scale[1])
    share = mask.fraction(np.arange(columns) * side_px0[0], np.arange(rows)[:, None] * side_px0[1], *side_px0)
    is_tissue = (share > 0) & (share >= settings.min_tissue)
    return TileGrid((width, height), tile_px, scale, settings.shard_tiles, is_tissue)


def source_level(info: SlideInfo, scale: Scale) -> int:
    """Return the level that pixels of a wanted size are made of: the coarsest that is not coarser.

    Parameters
    ----------
    info
        The slide.
    scale
        Level-0 pixels per wanted pixel, 1 or more.

    Returns
    -------
    int
        Its number.
    """
    limit = max(1.0, min(scale) * (1 + NATIVE_TOLERANCE))
    return max(number for number, level in enumerate(info.levels) if level.factor <= limit)


def _own_tile_px(info: SlideInfo) -> int:
    if info.tile_px is not None:
        width, height = info.tile_px
        if width == height and width in _OWN_TILE_PX:
            return width
    return _DEFAULT_TILE_PX
