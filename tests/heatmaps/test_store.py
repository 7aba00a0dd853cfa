import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from slidepipe.errors import (
    StoreConflictError,
    StoreError,
    StoreIncompleteError,
    StoreVersionError,
)
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.grid import CellGrid, HeatmapSettings, plan_cells
from slidepipe.heatmaps.store import HeatmapPlan, open_heatmap, read_heatmap_plan, verify_heatmap
from slidepipe.heatmaps.store_making import begin_heatmap, finish_heatmap, write_block
from slidepipe.storage.ledger import BlockLedger
from slidepipe.tiles.store import TileStore

TOKEN = "a" * 32
SETTINGS = HeatmapSettings(stride_px=20, block_cells=8)


@pytest.fixture
def tiles(make_store: Callable[..., TileStore], tissue: NDArray[np.bool_]) -> TileStore:
    return make_store(tissue)


@pytest.fixture
def grid(tiles: TileStore) -> CellGrid:
    return plan_cells(tiles, 96, SETTINGS)


def values(cells: NDArray[np.int64]) -> NDArray[np.float32]:
    """A probability that is different for each cell."""
    return (cells @ np.array((1, 100)) / 10_000).astype(np.float32)


def write_all(plan: HeatmapPlan, blocks: tuple[int, ...]) -> None:
    for block in blocks:
        write_block(plan, block, values(plan.grid.cells_of(block)))


@pytest.fixture
def complete(tmp_path: Path, tiles: TileStore, grid: CellGrid) -> Path:
    path = tmp_path / "heatmap.zarr"
    blocks = begin_heatmap(path, tiles, grid, TOKEN, {"model": "m"})
    plan = read_heatmap_plan(path, TOKEN)
    write_all(plan, blocks)
    finish_heatmap(plan)
    return path


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_heatmap_comes_back_with_nan_where_nothing_was_looked_at(complete: Path, grid: CellGrid) -> None:
    heatmap = open_heatmap(complete)
    assert heatmap.slide_id == "planned"
    assert heatmap.size_px0 == (2000, 1200)
    assert heatmap.cell_px0 == (40.0, 40.0)
    assert heatmap.cell_um == PixelSize(10.0, 10.4)
    assert heatmap.probability.shape == (30, 50)
    assert np.array_equal(~np.isnan(heatmap.probability), grid.is_wanted)
    cells = np.argwhere(grid.is_wanted)
    assert np.array_equal(heatmap.probability[grid.is_wanted], values(cells))
    assert verify_heatmap(complete, TOKEN) == []
    assert not complete.with_name("heatmap.zarr.work").exists()


def test_any_reader_of_zarr_finds_an_ome_image_in_shards(complete: Path, grid: CellGrid) -> None:
    group = zarr.open_group(complete, mode="r")
    assert group.attrs["ome"]["version"] == "0.5"
    (image,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["y", "x"]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [10.4, 10.0]}]
    array = group["0"]
    assert (array.dtype, array.shards, array.chunks) == (np.float32, (8, 8), (8, 8))
    assert np.array_equal(np.isnan(array[...]), ~grid.is_wanted)
    assert "/" not in json.dumps(group.attrs["slidepipe"])


def test_blocks_in_another_order_and_written_twice_leave_the_same_bytes(
    tmp_path: Path, complete: Path, tiles: TileStore, grid: CellGrid
) -> None:
    path = tmp_path / "again.zarr"
    blocks = begin_heatmap(path, tiles, grid, TOKEN, {"model": "m"})
    plan = read_heatmap_plan(path)
    write_all(plan, blocks[::-1])
    write_all(plan, blocks[:2])
    counts = finish_heatmap(plan)
    assert counts == {
        "blocks": len(blocks),
        "cells": int(grid.is_wanted.sum()),
        "highest": pytest.approx(0.2419),
    }
    assert digest(path) == digest(complete)


def test_a_killed_heatmap_goes_on_where_it_stopped(tmp_path: Path, tiles: TileStore, grid: CellGrid) -> None:
    path = tmp_path / "heatmap.zarr"
    blocks = begin_heatmap(path, tiles, grid, TOKEN, {})
    plan = read_heatmap_plan(path)
    write_all(plan, blocks[:3])
    with pytest.raises(StoreIncompleteError, match="is incomplete"):
        open_heatmap(path)
    with pytest.raises(StoreIncompleteError, match=f"{len(blocks) - 3} of {len(blocks)} blocks"):
        finish_heatmap(plan)
    assert begin_heatmap(path, tiles, grid, TOKEN, {}) == blocks[3:]
    tear(plan.shard_file(blocks[1]))
    assert begin_heatmap(path, tiles, grid, TOKEN, {}) == (blocks[1], *blocks[3:])
    spoil(plan.shard_file(blocks[0]))  # as after a power cut: the size is right, the bytes are not
    assert begin_heatmap(path, tiles, grid, TOKEN, {}) == (*blocks[:2], *blocks[3:])


@pytest.mark.parametrize("goes_on", [True, False], ids=["a later run", "the same run"])
def test_what_a_killed_worker_was_writing_is_gone_from_a_finished_heatmap(
    goes_on: bool, complete: Path, tmp_path: Path, tiles: TileStore, grid: CellGrid
) -> None:
    path = tmp_path / "killed.zarr"
    blocks = begin_heatmap(path, tiles, grid, TOKEN, {"model": "m"})
    plan = read_heatmap_plan(path)
    write_all(plan, blocks)
    shard = plan.shard_file(blocks[-1])
    shard.with_name(f".{shard.name}.0123abcd.tmp").write_bytes(b"killed while writing a shard")
    if goes_on:
        (tmp_path / ".killed.zarr.0123abcd.tmp").mkdir()  # killed while making the store
        assert begin_heatmap(path, tiles, grid, TOKEN, {"model": "m"}) == ()
        assert not list(tmp_path.glob(".killed.*"))
        assert digest(path).keys() == digest(complete).keys()
    finish_heatmap(plan)
    assert digest(path) == digest(complete)


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:8] = bytes(8)
    path.write_bytes(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def test_a_finished_heatmap_has_nothing_to_do_and_can_be_finished_again(
    complete: Path, tiles: TileStore, grid: CellGrid
) -> None:
    before = digest(complete)
    assert begin_heatmap(complete, tiles, grid, TOKEN, {}) == ()
    assert finish_heatmap(read_heatmap_plan(complete))["blocks"] == len(grid.blocks)
    assert digest(complete) == before


def test_a_heatmap_killed_before_its_ledger_was_cleared_clears_it_when_it_is_finished_again(
    complete: Path, tiles: TileStore, grid: CellGrid
) -> None:
    plan = read_heatmap_plan(complete)
    BlockLedger(plan.ledger, plan.token).record(grid.blocks[0], {})
    assert begin_heatmap(complete, tiles, grid, TOKEN, {}) == ()
    finish_heatmap(plan)
    assert not plan.ledger.exists()


def test_other_work_begins_again(complete: Path, tiles: TileStore, grid: CellGrid) -> None:
    plan = read_heatmap_plan(complete)
    assert begin_heatmap(complete, tiles, grid, "b" * 32, {}) == grid.blocks
    assert not plan.shard_file(grid.blocks[0]).exists()
    with pytest.raises(StoreConflictError, match=r"belongs to the work b+, not to a+"):
        read_heatmap_plan(complete, TOKEN)


def test_a_slide_without_tissue_has_a_heatmap_of_nan(
    tmp_path: Path, make_store: Callable[..., TileStore], tissue: NDArray[np.bool_]
) -> None:
    tiles = make_store(np.zeros_like(tissue))
    path = tmp_path / "heatmap.zarr"
    assert begin_heatmap(path, tiles, plan_cells(tiles, 96, SETTINGS), TOKEN, {}) == ()
    assert finish_heatmap(read_heatmap_plan(path)) == {"blocks": 0, "cells": 0, "highest": 0.0}
    assert np.isnan(open_heatmap(path).probability).all()
    assert verify_heatmap(path) == []


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.5])
def test_values_that_are_no_probabilities_are_refused(
    tmp_path: Path, tiles: TileStore, grid: CellGrid, wrong: float
) -> None:
    path = tmp_path / "heatmap.zarr"
    block = begin_heatmap(path, tiles, grid, TOKEN, {})[0]
    plan = read_heatmap_plan(path)
    probability = values(grid.cells_of(block))
    with pytest.raises(StoreError, match=f"takes {len(probability)} probabilities"):
        write_block(plan, block, probability[1:])
    probability[0] = wrong
    with pytest.raises(StoreError, match="probabilities from 0 to 1"):
        write_block(plan, block, probability)
    assert not plan.shard_file(block).exists()


def test_a_lost_or_torn_block_is_noticed_and_the_heatmap_begun_again(
    complete: Path, tiles: TileStore, grid: CellGrid
) -> None:
    shard = read_heatmap_plan(complete).shard_file(grid.blocks[0])
    tear(shard)
    assert "cut short" in verify_heatmap(complete)[0]
    shard.unlink()
    (problem,) = verify_heatmap(complete)
    assert "missing" in problem
    with pytest.raises(StoreError, match="missing"):
        open_heatmap(complete)
    assert begin_heatmap(complete, tiles, grid, TOKEN, {}) == grid.blocks


def test_a_changed_byte_is_noticed(complete: Path, grid: CellGrid) -> None:
    shard = read_heatmap_plan(complete).shard_file(grid.blocks[0])
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)
    assert "cannot be read" in verify_heatmap(complete)[0]


def test_a_block_in_the_place_of_another_is_noticed(complete: Path, grid: CellGrid) -> None:
    plan = read_heatmap_plan(complete)
    whole = next(b for b in grid.blocks if len(grid.cells_of(b)) == 64)
    part = next(b for b in grid.blocks if len(grid.cells_of(b)) < 64)
    plan.shard_file(part).write_bytes(plan.shard_file(whole).read_bytes())
    assert "have a value and should not" in verify_heatmap(complete)[0]


def test_another_version_is_refused_with_both_numbers(complete: Path) -> None:
    metadata = json.loads((complete / "zarr.json").read_text())
    metadata["attributes"]["slidepipe"]["format_version"] = 7
    (complete / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreVersionError, match="version 7, and this slidepipe reads version 1"):
        open_heatmap(complete)


def test_a_tile_store_is_no_heatmap(tiles: TileStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no heatmap of slidepipe"):
        open_heatmap(tiles.path)
    assert verify_heatmap(tmp_path / "nothing.zarr")


def test_how_far_two_ways_of_computing_are_apart_is_summed_up(
    tmp_path: Path, tiles: TileStore, grid: CellGrid
) -> None:
    path = tmp_path / "compared.zarr"
    blocks = begin_heatmap(path, tiles, grid, TOKEN, {})
    plan = read_heatmap_plan(path)
    for block in blocks:
        apart = {"cells": 4, "sum": 1.0, "largest": 0.5} if block == blocks[0] else None
        write_block(plan, block, values(grid.cells_of(block)), apart)
    expected = {"cells": 4, "mean": 0.25, "largest": 0.5}
    assert finish_heatmap(plan)["apart"] == expected
    assert finish_heatmap(read_heatmap_plan(path))["apart"] == expected
