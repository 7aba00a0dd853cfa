"""Which cells of a slide are looked at: a plan in plain numbers. Reads no pixel and knows no model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from slidepipe.errors import ConfigError
from slidepipe.geometry import Scale, ceil_div
from slidepipe.tiles.store import TileStore
from slidepipe.tiles.store_plan import DAMAGED, STORED

_BLOCK_PX = 8192
_CHUNK_CELLS = 64
_CELLS_AT_ONCE = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatmapSettings:
    """How densely a slide is looked at."""

    stride_px: Annotated[int, Ge(1)] | None = None
    """Side of a cell, and distance between neighbouring patches, in stored pixels. None is half a patch: every
    spot of tissue is seen four times."""
    min_tissue: Annotated[float, Ge(0), Le(1)] = 0.0
    """Cells with a smaller share of tissue are not looked at. 0 looks at every cell with any tissue."""
    block_cells: Annotated[int, Ge(1)] | None = None
    """Cells along each side of a block, which one task computes and one file holds; a power of two. None is the
    power of two whose block is nearest to 8192 stored pixels, the size of a block of tiles."""

    def __post_init__(self) -> None:
        if self.block_cells is not None and self.block_cells.bit_count() != 1:
            raise ConfigError(f"heatmap: block_cells must be a power of two, got {self.block_cells}")


@dataclass(frozen=True, slots=True, eq=False)
class CellGrid:
    """The cells of one slide: a regular grid from its top-left corner that covers all of it."""

    stride_px: int
    """Side of a cell in stored pixels."""
    scale_px0: Scale
    """Level-0 pixels per stored pixel, along x and y."""
    block_cells: int
    """Cells along each side of a block."""
    is_wanted: NDArray[np.bool_]
    """Which cells are looked at, shape (rows, columns)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        rows, columns = self.is_wanted.shape
        return rows, columns

    @property
    def cell_px0(self) -> Scale:
        """Level-0 pixels that a cell spans along x and y."""
        return (self.stride_px * self.scale_px0[0], self.stride_px * self.scale_px0[1])

    @property
    def chunk_cells(self) -> int:
        """Cells along each side of a chunk, the smallest piece of a block that can be read."""
        return min(_CHUNK_CELLS, self.block_cells)

    @property
    def shape_in_blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks; those at the end may be partly empty."""
        return ceil_div(self.shape[0], self.block_cells), ceil_div(self.shape[1], self.block_cells)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Indices of the blocks with wanted cells, ascending, counted row by row over all blocks."""
        rows, columns = np.nonzero(self.is_wanted)
        indices = rows // self.block_cells * self.shape_in_blocks[1] + columns // self.block_cells
        return tuple(np.unique(indices).tolist())

    def position_of(self, block: int) -> tuple[int, int]:
        """Return where a block lies.

        Parameters
        ----------
        block
            Index of the block.

        Returns
        -------
        tuple of int
            Block row and block column.

        Raises
        ------
        ValueError
            If there is no such block.
        """
        rows, columns = self.shape_in_blocks
        if not 0 <= block < rows * columns:
            raise ValueError(f"block {block} does not exist: there are {rows} × {columns} blocks")
        return divmod(block, columns)

    def cells_of(self, block: int) -> NDArray[np.int64]:
        """Return the cells that are looked at in a block.

        Parameters
        ----------
        block
            Index of the block.

        Returns
        -------
        ndarray
            int64, shape (n, 2), columns (row, column) in the whole grid, row by row.

        Raises
        ------
        ValueError
            If there is no such block.
        """
        row, column = (index * self.block_cells for index in self.position_of(block))
        inside = self.is_wanted[row : row + self.block_cells, column : column + self.block_cells]
        cells: NDArray[np.int64] = np.argwhere(inside) + np.array((row, column))
        return cells


def plan_cells(store: TileStore, patch_px: int, settings: HeatmapSettings) -> CellGrid:
    """Choose the cells to look at on a slide.

    A cell is wanted if it holds enough tissue, some of it on a stored tile, and if no damaged tile lies under the
    patch centred on it. Equal inputs give an equal grid.

    Parameters
    ----------
    store
        Tile store of the slide; only its tissue mask and the tiles' states are used.
    patch_px
        Side of the patch that the network looks at for a cell, in stored pixels. It may be larger or smaller
        than a cell.
    settings
        Stride, share of tissue and size of a block.

    Returns
    -------
    CellGrid
        Without any wanted cell on a slide without tissue.
    """
    stride = settings.stride_px or max(patch_px // 2, 1)
    width, height = store.size_px
    top = np.arange(ceil_div(height, stride)) * stride
    left = np.arange(ceil_div(width, stride)) * stride
    before = (stride - patch_px) // 2
    wanted = _enough_tissue(store, top, left, stride, settings.min_tissue)
    wanted &= _touches(store.status == STORED, top, left, stride, store.tile_px)
    wanted &= ~_touches(store.status == DAMAGED, top + before, left + before, patch_px, store.tile_px)
    block_cells = settings.block_cells or 2 ** max(round(math.log2(_BLOCK_PX / stride)), 0)
    return CellGrid(stride, store.scale_px0, block_cells, wanted)


def _enough_tissue(
    store: TileStore, top: NDArray[np.int64], left: NDArray[np.int64], stride: int, min_tissue: float
) -> NDArray[np.bool_]:
    """Compare the share of tissue of each cell with the least; in bands of rows, to bound memory."""
    scale_x, scale_y = store.scale_px0
    enough = np.empty((len(top), len(left)), dtype=np.bool_)
    band = max(_CELLS_AT_ONCE // len(left), 1)
    for start in range(0, len(top), band):
        rows = slice(start, start + band)
        share = store.tissue.fraction(
            left * scale_x, top[rows, None] * scale_y, stride * scale_x, stride * scale_y
        )
        enough[rows] = (share > 0) & (share >= min_tissue)
    return enough


def _touches(
    is_marked: NDArray[np.bool_], top: NDArray[np.int64], left: NDArray[np.int64], side: int, tile_px: int
) -> NDArray[np.bool_]:
    """Tell which squares of a grid touch a marked tile.

    Parameters
    ----------
    is_marked
        Tiles, shape (tile rows, tile columns).
    top, left
        First row of pixels of each row of squares, first column of pixels of each column of squares.
    side
        Side of a square in pixels.
    tile_px
        Side of a tile.

    Returns
    -------
    ndarray
        bool, shape (rows, columns) of squares.
    """
    sums = np.pad(is_marked.astype(np.int32).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, columns = is_marked.shape
    first_row, end_row = np.clip(top // tile_px, 0, rows), np.clip(-(-(top + side) // tile_px), 0, rows)
    first_column = np.clip(left // tile_px, 0, columns)
    end_column = np.clip(-(-(left + side) // tile_px), 0, columns)
    count = sums[np.ix_(end_row, end_column)] - sums[np.ix_(first_row, end_column)]
    count += sums[np.ix_(first_row, first_column)] - sums[np.ix_(end_row, first_column)]
    touches: NDArray[np.bool_] = count > 0
    return touches
