"""Damage to a finished store is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidepipe.storage.arrays import write_small_array
from slidepipe.storage.shards import shard_path
from slidepipe.tiles.store_plan import DAMAGED, PIXELS, STORED, read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.verification import verify_tiles


@pytest.fixture
def job(make_job: Callable[..., TileJob]) -> TileJob:
    """A job that is done."""
    job = make_job()
    for block in begin_tiling(job):
        tile_block(job, block)
    finish_tiling(job)
    return job


def _first_shard(job: TileJob) -> Path:
    plan = read_store_plan(Path(job.store))
    return shard_path(plan.path / PIXELS, plan.shard_index(plan.grid.blocks[0]))


def test_a_good_store_has_no_problems(job: TileJob) -> None:
    assert verify_tiles(job, "token", decode=True) == []
    assert verify_tiles(Path(job.store), "token") == verify_tiles(job.store, "token") == []


def test_another_token_is_a_problem(job: TileJob) -> None:
    (problem,) = verify_tiles(job, "other")
    assert "carries token token, expected other" in problem


def test_a_missing_store_is_a_problem(tmp_path: Path) -> None:
    (problem,) = verify_tiles(tmp_path / "missing.zarr", "token")
    assert "missing.zarr" in problem


def test_an_incomplete_store_is_a_problem(make_job: Callable[..., TileJob]) -> None:
    job = make_job()
    for block in begin_tiling(job):
        tile_block(job, block)
    assert verify_tiles(job, "token") == [f"{job.store} is incomplete"]


def test_a_missing_shard_is_a_problem(job: TileJob) -> None:
    shard = _first_shard(job)
    shard.unlink()
    assert verify_tiles(job, "token") == [f"{shard} is missing"]


def test_a_torn_shard_is_a_problem(job: TileJob) -> None:
    shard = _first_shard(job)
    shard.write_bytes(shard.read_bytes()[:-9])
    (problem,) = verify_tiles(job, "token")
    assert problem.startswith(f"{shard} has an index that does not match its checksum")


def test_a_flipped_bit_is_a_problem_when_tiles_are_decoded(job: TileJob) -> None:
    shard = _first_shard(job)
    content = bytearray(shard.read_bytes())
    content[200] ^= 1
    shard.write_bytes(content)
    assert verify_tiles(job, "token") == []
    (problem,) = verify_tiles(job, "token", decode=True)
    assert "does not match its checksum" in problem


def test_a_file_that_does_not_belong_is_a_problem(job: TileJob) -> None:
    stray = Path(job.store) / PIXELS / "c" / "0" / "7" / "7"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")
    assert verify_tiles(job, "token") == [f"{stray} does not belong there"]


def test_tiles_and_status_that_disagree_are_a_problem(job: TileJob) -> None:
    plan = read_store_plan(Path(job.store))
    status = plan.status.copy()
    stored, background = np.argwhere(status == STORED)[0], np.argwhere(status[:4, :4] == 0)[0]
    status[tuple(stored)] = DAMAGED
    status[tuple(background)] = STORED
    write_small_array(plan.path / "status", status, ("y", "x"))
    assert [problem.split(" ", 1)[1] for problem in verify_tiles(job, "token")] == [
        f"misses 1 of {int((status[:4, :4] == STORED).sum())} tiles",
        "holds 1 tiles that should not be there",
    ]
