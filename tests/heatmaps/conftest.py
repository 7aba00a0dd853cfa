"""Tile stores that hold a plan and no pixel: all that planning and storing heatmaps looks at."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.geometry import PixelSize
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.storage.tile_codec import ZstdCodec
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.tiles.store_making import StoreFacts, complete_store, create_tile_store
from slidepipe.tiles.store_plan import read_store_plan
from slidepipe.tiles.tissue import TissueMask


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., TileStore]:
    """A slide of 1000 × 600 stored px in tiles of 100 px, a mask of 20 px per cell, 2 level-0 px per stored px."""

    def make(
        mask: NDArray[np.bool_],
        *,
        is_tissue: NDArray[np.bool_] | None = None,
        damaged: Sequence[tuple[int, int]] = (),
    ) -> TileStore:
        info = SlideInfo(
            slide_id="planned",
            size_px0=(2000, 1200),
            pixel_size=PixelSize(0.25, 0.26),
            levels=(SlideLevel((2000, 1200), 1.0),),
            tile_px=None,
            vendor="drawn",
            reader="drawn",
        )
        stored = np.ones((6, 10), dtype=np.bool_) if is_tissue is None else is_tissue
        grid = TileGrid((1000, 600), 100, (2.0, 2.0), 4, stored)
        path = tmp_path / "tiles.zarr"
        facts = StoreFacts(info=info, fingerprint="f", token="t", settings={}, software={})
        create_tile_store(path, facts, grid, TissueMask(mask, (40.0, 40.0)), ZstdCodec())
        complete_store(read_store_plan(path), np.array(damaged, dtype=np.int64).reshape(-1, 2), {})
        return open_tile_store(path)

    return make


@pytest.fixture
def tissue() -> NDArray[np.bool_]:
    """Tissue from x = 100 to 500 and y = 100 to 400, in stored pixels."""
    mask = np.zeros((30, 50), dtype=np.bool_)
    mask[5:20, 5:25] = True
    return mask
