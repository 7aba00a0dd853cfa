"""A store that refers to its slide reads like one that holds the tiles, as long as the slide is there, unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from slidepipe.errors import ConfigError, SlideChangedError, SlideFormatError, StoreError
from slidepipe.slides.handles import close_borrowed
from slidepipe.slides.slide_writer import write_slide
from slidepipe.storage.arrays import open_array
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import DAMAGED, PIXELS, STORED
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, is_tiled, tile_block
from slidepipe.tiles.verification import verify_tiles

from .conftest import MPP, draw_tissue

MakeJob = Callable[..., TileJob]
REFERENCE = TileSettings(mode="reference", shard_tiles=2)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _close_slides() -> Iterator[None]:
    yield
    close_borrowed()


@pytest.fixture
def slide(drawn_slide: Path, tmp_path: Path) -> Path:
    """A slide to be moved and spoilt."""
    path = tmp_path / "slides" / "drawn.tif"
    path.parent.mkdir()
    shutil.copy(drawn_slide, path)
    return path


def _cut(job: TileJob) -> dict[str, Any]:
    for block in begin_tiling(job):
        tile_block(job, block)
    return finish_tiling(job)


def _bytes_of(store: str) -> dict[str, bytes]:
    return {
        str(file.relative_to(store)): file.read_bytes() for file in Path(store).rglob("*") if file.is_file()
    }


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        value = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([value ^ 1]))


def _place(slide: Path, tile: int) -> tuple[int, int]:
    with tifffile.TiffFile(slide) as tiff:
        return tiff.pages.first.dataoffsets[tile], tiff.pages.first.databytecounts[tile]


def test_copied_encoded_and_referred_to_tiles_give_the_same_patches(
    make_job: MakeJob, tmp_path: Path
) -> None:
    settings = (TileSettings(mode="copy"), TileSettings(codec="zstd"), REFERENCE)
    jobs = [make_job(settings=each, store=str(tmp_path / f"{each.mode}.zarr")) for each in settings]
    sizes = [_cut(job)["bytes"] for job in jobs]
    assert sizes[2] < 0.1 * sizes[0] < sizes[1]
    random = np.random.default_rng(3)
    stores = [open_tile_store(Path(job.store)) for job in jobs]
    assert [store.provenance["filling"]["mode"] for store in stores] == ["copy", "encode", "reference"]
    for store in stores[1:]:
        np.testing.assert_array_equal(store.status, stores[0].status)
    for x, y in random.integers(-100, 1300, (20, 2)).tolist():
        one, two, three = (store.read_window(x, y, 300, 200) for store in stores)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "tumor_072_level7_philips.tif", "tumor_072_level7_asap.tif"]
)
def test_real_slides_give_the_same_tiles_as_their_copies(
    make_job: MakeJob, shared_data: Path, tmp_path: Path, name: str
) -> None:
    copied = make_job(shared_data / "slides" / name, reader="auto", settings=replace(REFERENCE, mode="copy"))
    referred = replace(copied, settings=REFERENCE, store=str(tmp_path / "referred.zarr"))
    assert _cut(copied)["n_stored"] == _cut(referred)["n_stored"] > 0
    with open_tile_store(Path(copied.store)) as one, open_tile_store(Path(referred.store)) as other:
        expected = one.read_window(0, 0, *one.size_px)
        np.testing.assert_array_equal(other.read_window(0, 0, *other.size_px), expected)
        for row, column in np.argwhere(one.status == STORED).tolist():
            assert other.read_encoded(row, column) == one.read_encoded(row, column)
    # What Zarr alone makes of it.
    np.testing.assert_array_equal(np.moveaxis(open_array(Path(referred.store) / PIXELS)[...], 0, 2), expected)
    assert verify_tiles(referred, referred.token, decode=True) == []


def test_zarr_opens_the_store_where_slidepipe_is_installed(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(settings=REFERENCE)
    _cut(job)
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["zarr.codecs"]
    installed = tmp_path / "site" / "slidepipe_under_test-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: slidepipe-under-test\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (installed / "entry_points.txt").write_text("\n".join(["[zarr.codecs]", *lines]) + "\n")
    read = f"zarr.open({job.store!r}, mode='r')['0'][...]"
    program = f"import zarr, numpy; numpy.save({str(tmp_path / 'p.npy')!r}, {read})"
    path = os.pathsep.join([str(installed.parent), str(ROOT)])
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": path})
    with open_tile_store(Path(job.store)) as store:
        expected = store.read_window(0, 0, *store.size_px)
    np.testing.assert_array_equal(np.moveaxis(np.load(tmp_path / "p.npy"), 0, 2), expected)


def test_a_slide_that_is_gone_or_has_another_size_is_refused_at_once(make_job: MakeJob, slide: Path) -> None:
    job = make_job(slide, settings=REFERENCE)
    _cut(job)
    with slide.open("ab") as file:
        file.write(b"more")
    with pytest.raises(SlideChangedError, match=r"slide drawn: .* bytes now, and had"):
        open_tile_store(Path(job.store))
    slide.unlink()
    with pytest.raises(SlideChangedError, match="there is no file"):
        open_tile_store(Path(job.store))
    (problem,) = verify_tiles(job.store, job.token)
    assert "there is no file" in problem


def test_a_changed_byte_is_refused_when_it_is_read_and_found_by_verify(
    make_job: MakeJob, slide: Path
) -> None:
    job = make_job(slide, settings=REFERENCE)
    _cut(job)
    offset, length = _place(slide, 0)
    _flip(slide, offset + length // 2)
    with open_tile_store(Path(job.store)) as store, pytest.raises(StoreError, match="was changed since"):
        store.read_window(0, 0, 600, 600)
    (problem,) = verify_tiles(job.store, job.token)
    assert "was changed since" in problem
    by_tile = verify_tiles(job.store, job.token, decode=True)[1:]
    assert len(by_tile) == 1
    assert "tile at row 0, column 0" in by_tile[0]


def test_the_store_follows_a_slide_that_has_moved(make_job: MakeJob, slide: Path, tmp_path: Path) -> None:
    job = make_job(slide, settings=REFERENCE)
    _cut(job)
    with open_tile_store(Path(job.store)) as store:
        expected = store.read_window(0, 0, 1000, 1000)
    assert is_tiled(job)
    moved = tmp_path / "elsewhere.tif"
    slide.rename(moved)
    job = replace(job, source=replace(job.source, path=str(moved)))
    assert not is_tiled(job)
    assert begin_tiling(job) == ()
    finish_tiling(job)
    assert is_tiled(job)
    with open_tile_store(Path(job.store)) as store:
        np.testing.assert_array_equal(store.read_window(0, 0, 1000, 1000), expected)


def test_a_killed_run_goes_on_in_any_order_and_writes_the_same_bytes(
    make_job: MakeJob, tmp_path: Path
) -> None:
    straight = make_job(settings=REFERENCE)
    _cut(straight)
    other = replace(straight, store=str(tmp_path / "other.zarr"))
    blocks = begin_tiling(other)
    assert len(blocks) > 1
    tile_block(other, blocks[-1])
    for block in reversed(begin_tiling(other)):
        tile_block(other, block)
    finish_tiling(other)
    assert _bytes_of(straight.store) == _bytes_of(other.store)


def test_damaged_tiles_are_those_that_a_copy_has(make_job: MakeJob, slide: Path, tmp_path: Path) -> None:
    offset, length = _place(slide, 1)
    with slide.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(length))
    job = make_job(slide, settings=replace(REFERENCE, max_damaged=0.5))
    copied = replace(job, store=str(tmp_path / "copied.zarr"), settings=replace(job.settings, mode="copy"))
    assert _cut(job)["n_damaged"] == _cut(copied)["n_damaged"] == 1
    with open_tile_store(Path(job.store)) as store, open_tile_store(Path(copied.store)) as other:
        np.testing.assert_array_equal(store.status, other.status)
        assert store.status[0, 1] == DAMAGED
    assert verify_tiles(job, job.token, decode=True) == []


def test_comments_in_the_slide_are_skipped_and_never_handed_out(
    make_job: MakeJob, drawn_slide: Path, tmp_path: Path
) -> None:
    path = tmp_path / "commented.tif"
    comment = b"\xff\xfe\x00\x0bDoe, Jane"
    with tifffile.TiffFile(drawn_slide) as tiff:
        page = tiff.pages.first
        streams = [
            tiff.filehandle.read_array("u1", n, offset=at).tobytes()
            for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        shape, subsampling = page.shape, page.subsampling
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            (stream[:2] + comment + stream[2:] + b"\0" for stream in streams), shape=shape, dtype="uint8",
            tile=(512, 512), photometric="ycbcr", subsampling=subsampling, compression="jpeg", metadata=None,
            resolution=(5000, 5000), resolutionunit="CENTIMETER",
        )  # fmt: skip
    job = make_job(path, settings=REFERENCE)
    plain = make_job(drawn_slide, settings=REFERENCE, store=str(tmp_path / "plain.zarr"))
    _cut(job)
    _cut(plain)
    with open_tile_store(Path(job.store)) as store, open_tile_store(Path(plain.store)) as other:
        np.testing.assert_array_equal(
            store.read_window(0, 0, 1300, 1100), other.read_window(0, 0, 1300, 1100)
        )
        assert b"Doe" not in store.read_encoded(0, 0)
        assert store.read_encoded(0, 0) == streams[0]


def test_what_cannot_be_copied_cannot_be_referred_to(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(SlideFormatError, match=r"cannot be referred to: pixels of 1\.85"):
        begin_tiling(make_job(settings=replace(REFERENCE, mpp=3.7)))
    other = tmp_path / "other.tif"
    write_slide(other, draw_tissue(), "asap", MPP)
    with pytest.raises(SlideFormatError, match="cannot be referred to: the reader openslide was asked for"):
        begin_tiling(make_job(other, reader="openslide", settings=REFERENCE))
    with pytest.raises(ConfigError, match=r"tiles\.mode reference keeps the JPEG tiles"):
        TileSettings(mode="reference", codec="zstd")
