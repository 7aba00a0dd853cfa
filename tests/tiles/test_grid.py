"""The planner: all tissue is covered, and blocks part the tiles among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slidepipe.errors import PixelSizeError
from slidepipe.geometry import PixelSize
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.tiles.grid import TileGrid, TileSettings, plan_tile_grid, source_level
from slidepipe.tiles.tissue import TissueMask


def _info(width: int, height: int, mpp: float = 0.5, tile: tuple[int, int] | None = None) -> SlideInfo:
    size = (width, height)
    return SlideInfo("s1", size, PixelSize(mpp, mpp), (SlideLevel(size, 1.0),), tile, "aperio", "openslide")


def _mask(pixels: np.ndarray, info: SlideInfo) -> TissueMask:
    return TissueMask(pixels, (info.size_px0[0] / pixels.shape[1], info.size_px0[1] / pixels.shape[0]))


_PLANS = st.tuples(
    arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.sampled_from([None, 0.5, 0.7, 1.0, 3.3]),
    st.sampled_from([16, 50, 128]),
    st.integers(1, 5),
)


@settings(deadline=None, max_examples=50)
@given(_PLANS)
def test_tiles_cover_all_tissue(plan: tuple[np.ndarray, int, int, float | None, int, int]) -> None:
    pixels, width, height, mpp, tile_px, shard_tiles = plan
    info = _info(width, height)
    mask = _mask(pixels, info)
    grid = plan_tile_grid(info, mask, TileSettings(mpp=mpp, tile_px=tile_px, shard_tiles=shard_tiles))
    side = tile_px * grid.scale_px0[0]
    for row, column in np.argwhere(pixels):
        centre_x, centre_y = (column + 0.5) * mask.scale_px0[0], (row + 0.5) * mask.scale_px0[1]
        assert grid.is_tissue[int(centre_y // side), int(centre_x // side)]
    assert grid.size_px[0] * grid.scale_px0[0] >= width * (1 - 1e-6)
    assert (grid.size_px[0] - 1) * grid.scale_px0[0] < width


@settings(deadline=None, max_examples=50)
@given(_PLANS)
def test_no_tile_is_stored_without_tissue(plan: tuple[np.ndarray, int, int, float | None, int, int]) -> None:
    pixels, width, height, mpp, tile_px, shard_tiles = plan
    info = _info(width, height)
    mask = _mask(pixels, info)
    grid = plan_tile_grid(info, mask, TileSettings(mpp=mpp, tile_px=tile_px, shard_tiles=shard_tiles))
    side = tile_px * grid.scale_px0[0]
    for row, column in np.argwhere(grid.is_tissue):
        first = int(row * side / mask.scale_px0[1]), int(column * side / mask.scale_px0[0])
        last = int((row + 1) * side / mask.scale_px0[1]), int((column + 1) * side / mask.scale_px0[0])
        assert pixels[first[0] : last[0] + 1, first[1] : last[1] + 1].any()


@settings(deadline=None, max_examples=50)
@given(_PLANS)
def test_blocks_part_the_tiles_among_them(plan: tuple[np.ndarray, int, int, float | None, int, int]) -> None:
    pixels, width, height, mpp, tile_px, shard_tiles = plan
    info = _info(width, height)
    grid = plan_tile_grid(
        info, _mask(pixels, info), TileSettings(mpp=mpp, tile_px=tile_px, shard_tiles=shard_tiles)
    )
    tiles = [tuple(tile) for block in grid.blocks for tile in grid.tiles_of(block)]
    assert len(tiles) == len(set(tiles)) == grid.is_tissue.sum()
    assert all(grid.is_tissue[tile] for tile in tiles)
    for block in grid.blocks:
        shards = grid.tiles_of(block) // shard_tiles
        assert (shards == grid.shard_of(block)).all()
    assert list(grid.blocks) == sorted(set(grid.blocks))


@pytest.mark.parametrize(
    ("file_tile", "mpp", "expected"),
    [
        ((256, 256), None, 256),
        ((256, 256), 0.5, 256),
        ((256, 256), 1.0, 512),
        ((240, 240), None, 240),
        ((256, 128), None, 512),
        ((64, 64), None, 512),
        ((4096, 4096), None, 512),
        (None, None, 512),
    ],
)
def test_the_tile_of_the_file_is_kept_where_it_can_be(
    file_tile: tuple[int, int] | None, mpp: float | None, expected: int
) -> None:
    info = _info(5000, 5000, tile=file_tile)
    grid = plan_tile_grid(info, _mask(np.ones((5, 5), bool), info), TileSettings(mpp=mpp))
    assert grid.tile_px == expected


@pytest.mark.parametrize("mpp", [2.0, 1.9985, 2.0015])
def test_the_pixels_of_a_level_are_taken_as_they_are_if_they_are_nearly_as_large(mpp: float) -> None:
    size = (5001, 4001)
    levels = (SlideLevel(size, 1.0), SlideLevel((1250, 1000), 4.0))
    info = SlideInfo("s1", size, PixelSize(0.5, 0.5), levels, (240, 240), "aperio", "openslide")
    grid = plan_tile_grid(info, _mask(np.ones((5, 5), bool), info), TileSettings(mpp=mpp))
    assert grid.scale_px0 == (4.0, 4.0)
    assert grid.size_px == (1250, 1000)
    assert grid.tile_px == 240
    assert source_level(info, grid.scale_px0) == 1


@pytest.mark.parametrize(("mpp", "level"), [(1.997, 0), (2.003, 1), (1.0, 0)])
def test_other_pixels_are_made_of_the_coarsest_level_that_is_not_coarser(mpp: float, level: int) -> None:
    size = (5001, 4001)
    levels = (SlideLevel(size, 1.0), SlideLevel((1250, 1000), 4.0))
    info = SlideInfo("s1", size, PixelSize(0.5, 0.5), levels, (240, 240), "aperio", "openslide")
    grid = plan_tile_grid(info, _mask(np.ones((5, 5), bool), info), TileSettings(mpp=mpp))
    assert grid.scale_px0 == (mpp / 0.5, mpp / 0.5)
    assert grid.tile_px == 512
    assert source_level(info, grid.scale_px0) == level


def test_rounding_does_not_add_a_column_of_pixels() -> None:
    for width in range(1000, 1400):
        info = _info(width * 3, 30, mpp=0.1)
        assert (
            plan_tile_grid(info, _mask(np.ones((1, 1), bool), info), TileSettings(mpp=0.3)).size_px[0]
            == width
        )


def test_tiles_with_too_little_tissue_are_left_out() -> None:
    info = _info(400, 100)
    mask = TissueMask(np.array([[True] * 10 + [False] * 30]), (10.0, 100.0))
    mask.mask[0, 13:17] = True
    half = plan_tile_grid(info, mask, TileSettings(tile_px=100, min_tissue=0.5))
    assert half.is_tissue.tolist() == [[True, False, False, False]]
    some = plan_tile_grid(info, mask, TileSettings(tile_px=100, min_tissue=0.4))
    assert some.is_tissue.tolist() == [[True, True, False, False]]


def test_a_slide_without_tissue_has_no_blocks() -> None:
    info = _info(400, 100)
    grid = plan_tile_grid(info, _mask(np.zeros((3, 3), bool), info), TileSettings())
    assert grid.blocks == ()


def test_finer_pixels_than_the_slides_own_are_refused_with_its_name() -> None:
    info = _info(400, 100)
    with pytest.raises(PixelSizeError, match=r"slide s1: pixels of 0\.25 µm were asked for"):
        plan_tile_grid(info, _mask(np.ones((3, 3), bool), info), TileSettings(mpp=0.25))


def test_a_grid_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) tile rows and columns, got \(2, 2\)"):
        TileGrid((300, 200), 100, (1.0, 1.0), 4, np.ones((2, 2), bool))


def test_a_block_that_does_not_exist_is_refused() -> None:
    grid = TileGrid((300, 200), 100, (1.0, 1.0), 2, np.ones((2, 3), bool))
    assert grid.shape_in_shards == (1, 2)
    with pytest.raises(ValueError, match="block 2 does not exist"):
        grid.tiles_of(2)
