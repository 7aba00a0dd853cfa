"""Begin, blocks in any order, finish: whatever happens in between, the same bytes come out."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidepipe.errors import (
    DamagedSlideError,
    PixelSizeError,
    SlideChangedError,
    StoreConflictError,
    StoreIncompleteError,
)
from slidepipe.provenance import fingerprint_file
from slidepipe.slides import tiff_reader
from slidepipe.slides.handles import borrow_slide, close_borrowed
from slidepipe.slides.resample import read_scaled
from slidepipe.slides.slide_writer import write_slide
from slidepipe.slides.tiff_index import TiffIndex
from slidepipe.storage.arrays import read_attributes
from slidepipe.storage.ledger import BlockLedger
from slidepipe.storage.shards import shard_path
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import DAMAGED, PIXELS, STORED, read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, plan_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.tiles.verification import verify_tiles

from .conftest import GLASS, MPP, draw_tissue

MakeJob = Callable[..., TileJob]


def _digests(folder: str) -> dict[str, str]:
    root = Path(folder)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _cut(job: TileJob, blocks: Iterable[int] | None = None) -> dict[str, Any]:
    begun = begin_tiling(job)
    for block in begun if blocks is None else blocks:
        tile_block(job, block)
    return finish_tiling(job)


def _damage(slide: Path, tiles: Iterable[int]) -> None:
    """Overwrite tiles of level 0 with zeros, as a broken download or disk does."""
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        places = [(page.dataoffsets[tile], page.databytecounts[tile]) for tile in tiles]
    with slide.open("r+b") as file:
        for offset, length in places:
            file.seek(offset)
            file.write(bytes(length))


@pytest.fixture
def damaged_slide(drawn_slide: Path, tmp_path: Path) -> Path:
    """A slide whose second tile, of 3 × 3 tiles of 512 px, is damaged."""
    path = tmp_path / "damaged.tif"
    shutil.copy(drawn_slide, path)
    _damage(path, [1])
    return path


def test_a_store_without_loss_holds_the_pixels_of_the_slide(make_job: MakeJob) -> None:
    job = make_job(settings=TileSettings(tile_px=128, shard_tiles=4, codec="zstd"))
    summary = _cut(job)
    with open_tile_store(Path(job.store)) as store, borrow_slide(job.source) as reader:
        assert store.status.shape == (9, 11)
        assert summary["n_tiles"] == summary["n_stored"] == (store.status == STORED).sum()
        assert summary["n_damaged"] == 0
        assert 0 < summary["n_tiles"] < 99
        for row, column in np.argwhere(store.status == STORED)[::5].tolist():
            window = store.read_window(column * 128, row * 128, 128, 128)
            np.testing.assert_array_equal(
                window, reader.read_region((column * 128, row * 128), 0, (128, 128))
            )


def test_a_resampled_store_holds_resampled_pixels(make_job: MakeJob) -> None:
    job = make_job(settings=TileSettings(tile_px=100, shard_tiles=3, mpp=3.7, codec="zstd"))
    _cut(job)
    with open_tile_store(Path(job.store)) as store, borrow_slide(job.source) as reader:
        assert store.scale_px0 == (1.85, 1.85)
        assert store.size_px == (703, 595)
        assert store.pixel_size.x_um == pytest.approx(3.7)
        whole = read_scaled(reader, (0, 0), (800, 600), store.scale_px0)
        for row, column in np.argwhere(store.status == STORED).tolist():
            if (column + 1) * 100 <= 703 and (row + 1) * 100 <= 595:
                window = store.read_window(column * 100, row * 100, 100, 100)
                np.testing.assert_array_equal(window, whole[row * 100 :, column * 100 :][:100, :100])


def test_a_jpeg_store_is_close_to_the_slide_and_smaller(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job()
    lossless = make_job(settings=replace(job.settings, codec="zstd"), store=str(tmp_path / "lossless.zarr"))
    assert _cut(job)["bytes"] < 0.6 * _cut(lossless)["bytes"]
    with open_tile_store(Path(job.store)) as one, open_tile_store(Path(lossless.store)) as other:
        difference = one.read_window(200, 200, 400, 400) - other.read_window(200, 200, 400, 400).astype(int)
    assert np.abs(difference).mean() < 3


def test_all_tissue_is_stored_and_the_mask_is_kept_without_its_margin(make_job: MakeJob) -> None:
    job = make_job(tissue=TissueSettings(margin_um=300))
    _cut(job)
    with open_tile_store(Path(job.store)) as store:
        rows, columns = np.nonzero(store.tissue.mask)
        centres = (rows * 4 + 2) // 128, (columns * 4 + 2) // 128
        assert (store.status[centres] == STORED).all()
        share = store.tissue.fraction(np.arange(11) * 128, np.arange(9)[:, None] * 128, 128, 128)
        assert ((store.status == STORED) & (share == 0)).any()


def test_order_and_repetition_of_blocks_change_no_byte(make_job: MakeJob, tmp_path: Path) -> None:
    straight = make_job()
    blocks = begin_tiling(straight)
    assert len(blocks) > 3
    _cut(straight)
    shuffled = replace(straight, store=str(tmp_path / "shuffled.zarr"))
    begin_tiling(shuffled)
    _cut(shuffled, [*reversed(blocks), *blocks[::2]])
    assert _digests(straight.store) == _digests(shuffled.store)


@pytest.mark.parametrize("mode", ["copy", "encode", "reference"])
def test_workers_and_a_loop_write_the_same_bytes(make_job: MakeJob, tmp_path: Path, mode: str) -> None:
    loop = make_job(settings=TileSettings(mode=mode, shard_tiles=2))  # type: ignore[arg-type]
    _cut(loop)
    job = replace(loop, store=str(tmp_path / "workers.zarr"))
    blocks = begin_tiling(job)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(tile_block, [job] * len(blocks), blocks))
    finish_tiling(job)
    assert _digests(loop.store) == _digests(job.store)


def test_a_run_that_was_killed_goes_on_where_it_stopped(make_job: MakeJob, tmp_path: Path) -> None:
    undisturbed = make_job()
    _cut(undisturbed)
    job = replace(undisturbed, store=str(tmp_path / "killed.zarr"))
    blocks = begin_tiling(job)
    tile_block(job, blocks[0])
    tile_block(job, blocks[1])
    (Path(f"{job.store}.work") / f"{blocks[1]}.json").unlink()  # killed between data and ledger
    assert begin_tiling(job) == blocks[1:]
    row = Path(job.store) / PIXELS / "c" / "0" / "0"
    (row / ".1.0123abcd.tmp").write_bytes(b"killed while writing a shard")
    (tmp_path / ".killed.zarr.0123abcd.tmp").mkdir()  # killed while making the store
    for block in blocks[1:]:
        tile_block(job, block)
    assert begin_tiling(job) == ()
    finish_tiling(job)
    assert _digests(job.store) == _digests(undisturbed.store)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.zarr", "killed.zarr"]


def test_a_shard_that_was_torn_or_lost_is_written_again(make_job: MakeJob) -> None:
    job = make_job()
    blocks = begin_tiling(job)
    for block in blocks:
        tile_block(job, block)
    plan = read_store_plan(Path(job.store))
    torn, lost = (shard_path(plan.path / PIXELS, plan.shard_index(block)) for block in blocks[:2])
    torn.write_bytes(torn.read_bytes()[:-30])
    lost.unlink()
    with pytest.raises(
        StoreIncompleteError, match=f"2 of {len(blocks)} blocks are missing: {blocks[0]}, {blocks[1]};"
    ):
        finish_tiling(job)
    assert begin_tiling(job) == blocks[:2]


@pytest.mark.parametrize(
    "settings", [TileSettings(mode="copy", shard_tiles=1), TileSettings(tile_px=128, shard_tiles=4)]
)
def test_the_pages_of_a_slide_are_read_once_by_each_process(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, settings: TileSettings
) -> None:
    indices = []
    read_tiff_index = tiff_reader.read_tiff_index

    def count(path: Path, slide_id: str) -> TiffIndex:
        indices.append(path)
        return read_tiff_index(path, slide_id)

    monkeypatch.setattr(tiff_reader, "read_tiff_index", count)
    close_borrowed()
    job = make_job(settings=settings)
    assert _cut(job)["n_blocks"] > 1
    assert indices == [Path(job.source.path)]


def test_a_second_run_does_nothing(make_job: MakeJob) -> None:
    job = make_job()
    summary = _cut(job)
    before = {path: path.stat().st_mtime_ns for path in Path(job.store).rglob("*")}
    assert begin_tiling(job) == ()
    assert finish_tiling(job) == summary
    assert {path: path.stat().st_mtime_ns for path in Path(job.store).rglob("*")} == before


def test_another_token_starts_again(make_job: MakeJob) -> None:
    job = make_job()
    blocks = begin_tiling(job)
    tile_block(job, blocks[0])
    other = replace(job, token="other", settings=replace(job.settings, quality=50))
    assert begin_tiling(other) == blocks
    with pytest.raises(StoreConflictError, match="token other, expected token"):
        tile_block(job, blocks[0])
    with pytest.raises(StoreConflictError, match="other settings"):
        finish_tiling(job)
    _cut(other)
    with open_tile_store(Path(job.store)) as store:
        assert store.token == "other"


def test_a_damaged_store_is_made_again(make_job: MakeJob) -> None:
    job = make_job()
    _cut(job)
    (Path(job.store) / "zarr.json").write_text("{")
    assert begin_tiling(job)


def test_a_block_that_is_not_planned_is_refused(make_job: MakeJob) -> None:
    job = make_job(settings=TileSettings(tile_px=128, shard_tiles=1))
    blocks = begin_tiling(job)
    empty = min(set(range(max(blocks))) - set(blocks))
    for block in (999, empty):
        with pytest.raises(StoreConflictError, match=f"has no block {block}:"):
            tile_block(job, block)


def test_a_slide_without_tissue_makes_an_empty_store(make_job: MakeJob, tmp_path: Path) -> None:
    write_slide(tmp_path / "empty.tif", np.full((600, 700, 3), GLASS, np.uint8), "asap", MPP)
    job = make_job(tmp_path / "empty.tif")
    assert begin_tiling(job) == ()
    assert finish_tiling(job)["n_tiles"] == 0
    with open_tile_store(Path(job.store)) as store:
        assert (store.read_window(0, 0, 700, 600) == 255).all()
    assert verify_tiles(job, job.token) == []


@pytest.mark.parametrize("reader", ["tiff", "openslide"])
@pytest.mark.parametrize("tile_px", [128, 512])
def test_a_damaged_tile_is_marked_and_counted_and_costs_no_other(
    make_job: MakeJob, damaged_slide: Path, reader: str, tile_px: int
) -> None:
    settings = TileSettings(tile_px=tile_px, shard_tiles=4, max_damaged=0.5, codec="zstd")
    job = make_job(damaged_slide, reader=reader, settings=settings)
    summary = _cut(job)
    with open_tile_store(Path(job.store)) as store:
        inside = np.zeros(store.status.shape, bool)
        tiles_per_file_tile = 512 // tile_px
        inside[:tiles_per_file_tile, tiles_per_file_tile : 2 * tiles_per_file_tile] = True
        np.testing.assert_array_equal(store.status == DAMAGED, inside & (store.status != 0))
        assert summary["n_damaged"] == (store.status == DAMAGED).sum() > 0
        assert summary["n_stored"] + summary["n_damaged"] == summary["n_tiles"]
        assert (store.read_window(520, 10, 400, 400) == 255).all()
        with borrow_slide(job.source) as slide:
            np.testing.assert_array_equal(
                store.read_window(200, 200, 300, 300), slide.read_region((200, 200), 0, (300, 300))
            )
    assert verify_tiles(job, job.token, decode=True) == []


def test_too_much_damage_fails_the_slide_with_numbers(make_job: MakeJob, damaged_slide: Path) -> None:
    job = make_job(damaged_slide)
    with pytest.raises(
        DamagedSlideError, match=r"slide drawn: \d+ of \d+ tiles \(\d+\.\d%\) are damaged, and 1\.0%"
    ):
        _cut(job)
    assert not read_store_plan(Path(job.store)).is_complete


def test_blocks_with_damage_are_read_again_and_only_they(
    make_job: MakeJob, drawn_slide: Path, damaged_slide: Path
) -> None:
    job = make_job(damaged_slide)
    blocks = begin_tiling(job)
    damaged = [block for block in blocks if tile_block(job, block)["n_damaged"]]
    assert 0 < len(damaged) < len(blocks)
    assert begin_tiling(job) == tuple(damaged)
    shutil.copy(drawn_slide, damaged_slide)
    for block in damaged:
        assert tile_block(job, block)["n_damaged"] == 0


def test_a_block_whose_tiles_are_all_damaged_has_no_shard(make_job: MakeJob, damaged_slide: Path) -> None:
    _damage(damaged_slide, range(9))
    job = make_job(damaged_slide, settings=TileSettings(tile_px=128, shard_tiles=4, max_damaged=1.0))
    blocks = begin_tiling(job)
    report = tile_block(job, blocks[0])
    assert (report["n_stored"], report["bytes"]) == (0, 0)
    _cut(job)
    with open_tile_store(Path(job.store)) as store:
        assert (store.status != STORED).all()
    assert verify_tiles(job, job.token) == []


def test_damage_in_the_overview_counts_as_tissue(make_job: MakeJob, tmp_path: Path) -> None:
    pixels = draw_tissue()
    path = tmp_path / "single.tif"
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="jpeg", photometric="rgb", metadata=None)
    job = make_job(path)
    job = replace(
        job, source=replace(job.source, mpp=MPP), settings=TileSettings(tile_px=256, max_damaged=0.5)
    )
    _, _, whole = plan_tiling(job)
    assert not whole.is_tissue[4, 0]
    _damage(path, [4 * 6])
    _, mask, grid = plan_tiling(job)
    assert grid.is_tissue[4, 0]
    assert mask.mask[256:, :64].all()
    others = np.ones_like(grid.is_tissue)
    others[3:, :2] = False
    np.testing.assert_array_equal(grid.is_tissue[others], whole.is_tissue[others])


def test_a_slide_that_changed_meanwhile_is_refused(
    make_job: MakeJob, drawn_slide: Path, tmp_path: Path
) -> None:
    path = tmp_path / "changing.tif"
    shutil.copy(drawn_slide, path)
    job = make_job(path)
    for block in begin_tiling(job):
        tile_block(job, block)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SlideChangedError, match="slide drawn: the file changed"):
        finish_tiling(job)
    assert not Path(job.store).exists()


def test_a_given_mask_takes_the_place_of_the_rule(make_job: MakeJob, tmp_path: Path) -> None:
    mask = np.zeros((110, 130), np.uint8)
    mask[:20, :20] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    job = make_job(tissue_mask=str(tmp_path / "mask.png"))
    assert _cut(job)["n_tiles"] == 4
    provenance = read_attributes(Path(job.store))["slidepipe"]
    assert provenance["settings"]["tissue_mask"] == fingerprint_file(tmp_path / "mask.png")
    assert provenance["tissue"]["thresholds"] == {}


def test_a_finer_pixel_than_the_slides_own_is_refused_before_anything_is_written(make_job: MakeJob) -> None:
    job = make_job(settings=TileSettings(mpp=0.5))
    with pytest.raises(PixelSizeError, match="slide drawn"):
        begin_tiling(job)
    assert not Path(job.store).exists()


def test_the_ledger_tells_what_each_block_did(make_job: MakeJob) -> None:
    job = make_job()
    blocks = begin_tiling(job)
    report = tile_block(job, blocks[0])
    assert BlockLedger(Path(f"{job.store}.work"), job.token).done() == {blocks[0]: report}
    assert report["block"] == blocks[0]
    assert report["n_tiles"] == report["n_stored"] > 0
    assert report["damaged"] == []
    plan = read_store_plan(Path(job.store))
    assert report["bytes"] == shard_path(plan.path / PIXELS, plan.shard_index(blocks[0])).stat().st_size
