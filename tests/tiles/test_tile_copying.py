"""Copied tiles are the file's own bytes, and decode to the pixels that OpenSlide shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from slidepipe.errors import RegionReadError
from slidepipe.slides.handles import borrow_slide, close_borrowed
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.slide_writer import write_slide
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.storage.arrays import open_array
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import BACKGROUND, DAMAGED, PIXELS, STORED
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.tiles.verification import verify_tiles

from .conftest import MPP, draw_tissue

MakeJob = Callable[..., TileJob]
COPY = TileSettings(mode="copy", shard_tiles=2)


@pytest.fixture(autouse=True)
def _close_slides() -> Iterator[None]:
    yield
    close_borrowed()


def _cut(job: TileJob) -> dict[str, int]:
    for block in begin_tiling(job):
        tile_block(job, block)
    return finish_tiling(job)


def _whole_slide_mask(job: TileJob, folder: Path) -> TileJob:
    """Store all tiles, whatever they show."""
    with borrow_slide(job.source) as reader:
        width, height = reader.info.size_px0
    Image.fromarray(np.ones((-(-height // 8), -(-width // 8)), np.uint8)).save(folder / "mask.png")
    return replace(job, tissue_mask=str(folder / "mask.png"))


def _level(source: SlideSource, level: int, reader: str) -> NDArray[np.uint8]:
    with borrow_slide(replace(source, reader=reader)) as slide:  # type: ignore[arg-type]
        return slide.read_region((0, 0), level, slide.info.levels[level].size_px)


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("CMU-1-Small-Region.svs", "aperio"),
        ("tumor_072_level7_philips.tif", "philips"),
        ("tumor_072_level7_asap.tif", "generic-tiff"),
    ],
)
@pytest.mark.parametrize("reader", ["auto", "tiff"])
def test_real_slides_are_copied_and_show_the_pixels_of_openslide(
    make_job: MakeJob, shared_data: Path, tmp_path: Path, name: str, vendor: str, reader: str
) -> None:
    job = make_job(shared_data / "slides" / name, reader=reader, settings=COPY)
    job = _whole_slide_mask(job, tmp_path)
    summary = _cut(job)
    assert summary["n_damaged"] == 0
    expected = _level(job.source, 0, "openslide")
    with open_tile_store(Path(job.store)) as store:
        assert store.provenance["slide"]["vendor"] == vendor
        assert store.provenance["filling"]["mode"] == "copy"
        np.testing.assert_array_equal(store.read_window(0, 0, *store.size_px), expected)
        with TiffReader(job.source) as slide:
            for row, column in np.argwhere(store.status == STORED).tolist():
                assert store.read_encoded(row, column) == slide.read_streams(0, row, [column])[0]
    # What Zarr alone makes of it, with the tables and colours from zarr.json.
    np.testing.assert_array_equal(np.moveaxis(open_array(Path(job.store) / PIXELS)[...], 0, 2), expected)
    assert verify_tiles(job, job.token, decode=True) == []


@pytest.mark.parametrize("container", ["asap", "philips"])
@pytest.mark.parametrize("level", [0, 1])
def test_any_level_of_the_file_can_be_copied(
    make_job: MakeJob, tmp_path: Path, container: str, level: int
) -> None:
    path = tmp_path / "slide.tif"
    write_slide(path, draw_tissue(), container, MPP)  # type: ignore[arg-type]
    # Less than a thousandth away from the level counts as the level.
    settings = replace(COPY, mpp=MPP * 2**level * 1.0004)
    job = _whole_slide_mask(make_job(path, reader="auto", settings=settings), tmp_path)
    _cut(job)
    expected = _level(job.source, level, "openslide")
    with open_tile_store(Path(job.store)) as store:
        assert store.scale_px0 == (2.0**level, 2.0**level)
        assert store.pixel_size.x_um == pytest.approx(MPP * 2**level)
        assert store.size_px == (expected.shape[1], expected.shape[0])
        np.testing.assert_array_equal(store.read_window(0, 0, *store.size_px), expected)
        assert (store.read_window(store.size_px[0], 0, 50, 50) == 255).all()


def test_tiles_that_the_file_does_not_have_are_background_and_white(
    make_job: MakeJob, tmp_path: Path
) -> None:
    pixels = draw_tissue()
    pixels[:512, :512] = 255
    path = tmp_path / "slide.tif"
    write_slide(path, pixels, "philips", MPP)
    job = _whole_slide_mask(make_job(path, settings=COPY), tmp_path)
    summary = _cut(job)
    assert (summary["n_tiles"], summary["n_stored"]) == (8, 8)
    with open_tile_store(Path(job.store)) as store:
        assert store.status[0, 0] == BACKGROUND
        assert (store.read_window(0, 0, 512, 512) == 255).all()
    assert verify_tiles(job, job.token, decode=True) == []


def _spoil(slide: Path, tile: int, change: Callable[[bytes], bytes]) -> None:
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        offset, length = page.dataoffsets[tile], page.databytecounts[tile]
    with slide.open("r+b") as file:
        file.seek(offset)
        data = change(file.read(length))
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: bytes(len(data)),
        lambda data: data[:-4] + bytes(4),
        lambda data: data.replace(b"\xff\xc0\x00\x11\x08\x02\x00", b"\xff\xc0\x00\x11\x08\x01\x00"),
    ],
    ids=["zeros", "no end", "another size"],
)
def test_a_tile_that_is_no_whole_jpeg_is_damaged_and_costs_no_other(
    make_job: MakeJob, drawn_slide: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "slide.tif"
    shutil.copy(drawn_slide, path)
    _spoil(path, 1, change)
    job = _whole_slide_mask(make_job(path, settings=replace(COPY, max_damaged=0.2)), tmp_path)
    summary = _cut(job)
    assert (summary["n_stored"], summary["n_damaged"]) == (8, 1)
    with open_tile_store(Path(job.store)) as store:
        assert np.argwhere(store.status == DAMAGED).tolist() == [[0, 1]]
        assert (store.read_window(512, 0, 512, 512) == 255).all()
        with borrow_slide(job.source) as slide:
            np.testing.assert_array_equal(
                store.read_window(0, 0, 512, 512), slide.read_region((0, 0), 0, (512, 512))
            )


def test_a_file_that_was_cut_short_loses_the_tiles_beyond_its_end(
    make_job: MakeJob, drawn_slide: Path, tmp_path: Path
) -> None:
    path = tmp_path / "slide.tif"
    shutil.copy(drawn_slide, path)
    job = _whole_slide_mask(make_job(path, settings=replace(COPY, max_damaged=1.0)), tmp_path)
    with TiffReader(job.source) as slide:
        end = int(slide.index.levels[0].offsets[2, 1]) + 10
    blocks = begin_tiling(job)
    path.write_bytes(path.read_bytes()[:end])
    damaged = [tile for block in blocks for tile in tile_block(job, block)["damaged"]]
    assert damaged == [[2, 1], [2, 2]]


def test_a_read_that_fails_once_is_tried_with_the_slide_opened_anew(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _whole_slide_mask(make_job(settings=COPY), tmp_path)
    blocks = begin_tiling(job)
    readers: list[TiffReader] = []
    read_streams = TiffReader.read_streams

    def fail_first(reader: TiffReader, level: int, row: int, columns: list[int]) -> list[bytes]:
        readers.append(reader)
        if len(readers) == 1:
            raise RegionReadError("a hiccup")
        return read_streams(reader, level, row, columns)

    monkeypatch.setattr(TiffReader, "read_streams", fail_first)
    assert tile_block(job, blocks[0])["n_damaged"] == 0
    assert readers[0] is not readers[1]


def test_copied_and_encoded_stores_without_loss_give_the_same_pixels(
    make_job: MakeJob, tmp_path: Path
) -> None:
    copied = make_job(settings=COPY, tissue=TissueSettings(margin_um=20))
    encoded = replace(copied, store=str(tmp_path / "encoded.zarr"), settings=TileSettings(codec="zstd"))
    assert _cut(copied)["n_tiles"] == _cut(encoded)["n_tiles"]
    with open_tile_store(Path(copied.store)) as one, open_tile_store(Path(encoded.store)) as other:
        assert one.size_px == other.size_px
        np.testing.assert_array_equal(
            one.read_window(-5, -7, 1400, 1200), other.read_window(-5, -7, 1400, 1200)
        )


def test_a_killed_copy_goes_on_in_any_order_and_writes_the_same_bytes(
    make_job: MakeJob, tmp_path: Path
) -> None:
    straight = make_job(settings=COPY)
    _cut(straight)
    other = replace(straight, store=str(tmp_path / "other.zarr"))
    blocks = begin_tiling(other)
    assert len(blocks) > 1
    tile_block(other, blocks[-1])
    for block in reversed(begin_tiling(other)):
        tile_block(other, block)
    finish_tiling(other)
    one, two = (
        {file.relative_to(store): file.read_bytes() for file in Path(store).rglob("*") if file.is_file()}
        for store in (straight.store, other.store)
    )
    assert one == two


def test_a_copied_store_opens_with_plain_zarr(make_job: MakeJob) -> None:
    job = make_job(settings=COPY)
    _cut(job)
    group = zarr.open_group(job.store, mode="r")
    assert group.attrs["slidepipe"]["filling"] == {  # type: ignore[call-overload, index]
        "mode": "copy",
        "reader": "tiff",
        "level": 0,
        "reason": "JPEG tiles of the size and pixels asked for",
    }
    assert fingerprint_slide(job.source) == group.attrs["slidepipe"]["slide"]["fingerprint"]  # type: ignore[call-overload, index]
