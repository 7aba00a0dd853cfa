"""A process that is killed leaves nothing that the next one would believe: the same bytes come out."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from slidepipe.storage.shards import shard_path
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store_plan import PIXELS, read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.verification import verify_tiles

MakeJob = Callable[..., TileJob]
COPY = TileSettings(mode="copy", shard_tiles=2)
ENCODE = TileSettings(mode="encode", tile_px=256, shard_tiles=2)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")


def _cut(job: TileJob) -> None:
    for block in begin_tiling(job):
        tile_block(job, block)
    finish_tiling(job)


def _cut_and_die(job: TileJob, after: int) -> None:
    """Kill this process when it is about to rename for the (`after` + 1)th time."""
    rename, done = Path.replace, 0

    def rename_or_die(path: Path, target: Path) -> Path:
        nonlocal done
        if done == after:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return rename(path, target)

    Path.replace = rename_or_die  # type: ignore[assignment, method-assign]
    _cut(job)


def _count_renames(job: TileJob, monkeypatch: pytest.MonkeyPatch) -> int:
    rename, targets = Path.replace, []

    def count(path: Path, target: Path) -> Path:
        targets.append(target)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", count)
        _cut(job)
    return len(targets)


def _digests(folder: str) -> dict[str, str]:
    root = Path(folder)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("settings", "shares"), [(COPY, (0.0, 0.4, 0.7)), (ENCODE, (0.6,))], ids=["copy", "encode"]
)
def test_whenever_a_process_is_killed_the_next_one_writes_the_same_bytes(
    make_job: MakeJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: TileSettings,
    shares: tuple[float, ...],
) -> None:
    undisturbed = make_job(settings=settings)
    n_renames = _count_renames(undisturbed, monkeypatch)
    expected = _digests(undisturbed.store)
    # The last but one completes the store, the last one takes the ledger away.
    moments = [int(share * n_renames) for share in shares] + [n_renames - 2]
    jobs = [replace(undisturbed, store=str(tmp_path / f"{moment}" / "a.zarr")) for moment in moments]

    def kill(job: TileJob, moment: int) -> int | None:
        process = multiprocessing.get_context("spawn").Process(target=_cut_and_die, args=(job, moment))
        process.start()
        process.join()
        return process.exitcode

    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(kill, jobs, moments)) == {-signal.SIGKILL}
    assert not read_store_plan(Path(jobs[-1].store)).is_complete
    for job in jobs:
        _cut(job)
        assert _digests(job.store) == expected
        assert verify_tiles(job, job.token, decode=True) == []
        assert [path.name for path in Path(job.store).parent.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("settings", [COPY, ENCODE], ids=["copy", "encode"])
def test_shards_that_a_power_cut_left_without_their_content_are_written_again(
    make_job: MakeJob, tmp_path: Path, settings: TileSettings
) -> None:
    undisturbed = make_job(settings=settings)
    _cut(undisturbed)
    job = replace(undisturbed, store=str(tmp_path / "cut.zarr"))
    blocks = begin_tiling(job)
    for block in blocks:
        tile_block(job, block)
    plan = read_store_plan(Path(job.store))
    shards = [shard_path(plan.path / PIXELS, plan.shard_index(block)) for block in blocks]
    # The right size, and nothing or not all in it.
    shards[0].write_bytes(bytes(shards[0].stat().st_size))
    content = shards[1].read_bytes()
    shards[1].write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    assert begin_tiling(job) == blocks[:2]
    _cut(job)
    assert _digests(job.store) == _digests(undisturbed.store)


@pytest.mark.parametrize("what", ["emptied", "lost"])
def test_ledger_entries_that_a_power_cut_took_cost_their_blocks_only(
    make_job: MakeJob, tmp_path: Path, what: str
) -> None:
    undisturbed = make_job(settings=COPY)
    _cut(undisturbed)
    job = replace(undisturbed, store=str(tmp_path / "cut.zarr"))
    blocks = begin_tiling(job)
    for block in blocks:
        tile_block(job, block)
    entry = Path(f"{job.store}.work", f"{blocks[1]}.json")
    entry.write_bytes(b"") if what == "emptied" else entry.unlink()
    assert begin_tiling(job) == blocks[1:2]
    _cut(job)
    assert _digests(job.store) == _digests(undisturbed.store)
    shutil.rmtree(job.store)
