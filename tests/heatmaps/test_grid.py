from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slidepipe.errors import ConfigError
from slidepipe.heatmaps.grid import CellGrid, HeatmapSettings, plan_cells
from slidepipe.tiles.store import TileStore

MakeStore = Callable[..., TileStore]
Mask = NDArray[np.bool_]


def test_cells_with_any_tissue_are_wanted_and_the_grid_covers_the_slide(
    make_store: MakeStore, tissue: Mask
) -> None:
    grid = plan_cells(make_store(tissue), 96, HeatmapSettings())
    assert grid.stride_px == 48
    assert grid.shape == (13, 21)
    assert grid.cell_px0 == (96.0, 96.0)
    expected = np.zeros((13, 21), dtype=np.bool_)
    expected[2:9, 2:11] = True
    assert np.array_equal(grid.is_wanted, expected)


def test_the_least_share_of_tissue_leaves_out_cells_on_the_edge(make_store: MakeStore, tissue: Mask) -> None:
    settings = HeatmapSettings(stride_px=40, min_tissue=0.6)
    wanted = np.argwhere(plan_cells(make_store(tissue), 96, settings).is_wanted)
    # Column 2 covers x from 80 to 120: tissue begins in its middle, and so for rows.
    assert wanted.min(axis=0).tolist() == [3, 3]
    assert wanted.max(axis=0).tolist() == [9, 11]


@pytest.mark.parametrize(("stride_px", "patch_px"), [(48, 96), (50, 33), (7, 96), (96, 96), (64, 1)])
def test_no_patch_of_a_wanted_cell_touches_a_damaged_tile_and_all_others_are_wanted(
    make_store: MakeStore, stride_px: int, patch_px: int
) -> None:
    store = make_store(np.ones((30, 50), dtype=np.bool_), damaged=[(2, 3), (4, 6)])
    grid = plan_cells(store, patch_px, HeatmapSettings(stride_px=stride_px))
    for row, column in np.ndindex(grid.shape):
        top, left = (index * stride_px + (stride_px - patch_px) // 2 for index in (row, column))
        touched = any(
            top < 100 * r + 100
            and top + patch_px > 100 * r
            and left < 100 * c + 100
            and left + patch_px > 100 * c
            for r, c in ((2, 3), (4, 6))
        )
        assert grid.is_wanted[row, column] == (not touched)


def test_tissue_on_tiles_that_are_not_stored_is_not_looked_at(make_store: MakeStore, tissue: Mask) -> None:
    is_tissue = np.zeros((6, 10), dtype=np.bool_)
    is_tissue[1, 1] = True
    grid = plan_cells(make_store(tissue, is_tissue=is_tissue), 96, HeatmapSettings(stride_px=50))
    assert np.argwhere(grid.is_wanted).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_a_slide_without_tissue_has_no_block(make_store: MakeStore, tissue: Mask) -> None:
    grid = plan_cells(make_store(np.zeros_like(tissue)), 96, HeatmapSettings())
    assert grid.blocks == ()


@pytest.mark.parametrize(
    ("stride_px", "block_cells"), [(48, 128), (32, 256), (64, 128), (224, 32), (20_000, 1)]
)
def test_a_block_is_about_8192_px(
    make_store: MakeStore, tissue: Mask, stride_px: int, block_cells: int
) -> None:
    grid = plan_cells(make_store(tissue), 96, HeatmapSettings(stride_px=stride_px))
    assert grid.block_cells == block_cells


def test_a_block_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ConfigError, match="power of two, got 96"):
        HeatmapSettings(block_cells=96)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), power=st.integers(0, 5), seed=st.integers(0, 10))
def test_the_blocks_hold_every_wanted_cell_exactly_once(
    rows: int, columns: int, power: int, seed: int
) -> None:
    is_wanted = np.random.default_rng(seed).random((rows, columns)) < 0.1
    grid = CellGrid(32, (1.0, 1.0), 2**power, is_wanted)
    cells = [cell for block in grid.blocks for cell in map(tuple, grid.cells_of(block).tolist())]
    assert len(cells) == len(set(cells))
    assert set(cells) == set(map(tuple, np.argwhere(is_wanted).tolist()))
    assert all(len(grid.cells_of(block)) for block in grid.blocks)


def test_a_block_beyond_the_grid_is_an_error() -> None:
    grid = CellGrid(32, (1.0, 1.0), 4, np.ones((5, 5), dtype=np.bool_))
    assert grid.blocks == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="block 4 does not exist: there are 2 × 2"):
        grid.cells_of(4)
