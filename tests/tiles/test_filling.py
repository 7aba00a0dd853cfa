"""Which way a store is filled, and that it is said."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from slidepipe.errors import ConfigError, SlideFormatError
from slidepipe.slides import tiff_reader
from slidepipe.slides.handles import borrow_slide, close_borrowed
from slidepipe.slides.tiff_index import JpegLevel
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.storage.arrays import read_attributes
from slidepipe.tiles.filling import Filling, choose_filling
from slidepipe.tiles.grid import TileGrid, TileSettings
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, plan_tiling, tile_block

from .conftest import MPP, draw_tissue

MakeJob = Callable[..., TileJob]


@pytest.fixture(autouse=True)
def _close_slides() -> Iterator[None]:
    yield
    close_borrowed()


def _choose(job: TileJob) -> Filling:
    info, _, grid = plan_tiling(job)
    return choose_filling(job.source, info, grid, job.settings, job.slide_fingerprint)


@pytest.fixture
def lzw_slide(tmp_path: Path) -> Path:
    """A slide in tiles that are not JPEG."""
    path = tmp_path / "lzw.tif"
    resolution = (1e4 / MPP, 1e4 / MPP)
    tifffile.imwrite(
        path, draw_tissue(), tile=(512, 512), compression="lzw", photometric="rgb", metadata=None,
        resolution=resolution, resolutionunit="CENTIMETER",
    )  # fmt: skip
    return path


@pytest.mark.parametrize("reader", ["auto", "tiff"])
def test_tiles_are_copied_where_they_can_be(
    make_job: MakeJob, reader: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        filling = _choose(make_job(reader=reader, settings=TileSettings()))
    assert (filling.mode, filling.reader, filling.level) == ("copy", "tiff", 0)
    assert "slide drawn: copy through tiff: JPEG tiles" in caplog.text


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (TileSettings(mode="encode"), "the mode encode was asked for"),
        (TileSettings(codec="zstd"), "the codec zstd was asked for"),
        (TileSettings(tile_px=256), "tiles of 256 px were asked for, and those of the file are 512 × 512 px"),
        (TileSettings(mpp=3.0), r"pixels of 1.5 × 1.5 level-0 pixels were asked for"),
    ],
)
def test_what_cannot_be_copied_is_encoded_from_the_fast_reader(
    make_job: MakeJob, settings: TileSettings, reason: str
) -> None:
    filling = _choose(make_job(reader="auto", settings=settings))
    assert (filling.mode, filling.reader) == ("encode", "tiff")
    assert reason in filling.reason


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_a_reader_asked_for_by_name_reads_the_pixels(make_job: MakeJob, reader: str) -> None:
    filling = _choose(make_job(reader=reader, settings=TileSettings()))
    assert filling == Filling("encode", reader, 0, f"the reader {reader} was asked for")  # type: ignore[arg-type]


def test_other_compressions_are_read_by_openslide(make_job: MakeJob, lzw_slide: Path) -> None:
    filling = _choose(make_job(lzw_slide, reader="auto", settings=TileSettings()))
    assert (filling.mode, filling.reader) == ("encode", "openslide")
    assert "compression LZW" in filling.reason


@pytest.mark.parametrize("name", ["boxes.tiff", "tcga-cr-7395-01a-01-ts1.svs", "boxes_0.dcm"])
def test_real_slides_of_other_kinds_are_read_by_openslide(
    make_job: MakeJob, shared_data: Path, name: str
) -> None:
    job = make_job(shared_data / "slides" / name, reader="auto", settings=TileSettings())
    job = replace(job, source=replace(job.source, mpp=0.5))
    with borrow_slide(job.source) as reader:
        info = reader.info
    columns, rows = (-(-side // 512) for side in info.size_px0)
    grid = TileGrid(info.size_px0, 512, (1.0, 1.0), 4, np.ones((rows, columns), dtype=bool))
    filling = choose_filling(job.source, info, grid, job.settings, job.slide_fingerprint)
    assert (filling.mode, filling.reader) == ("encode", "openslide")
    assert filling.reason.startswith("the TIFF reader does not read it")


def test_copying_by_order_is_refused_where_it_is_impossible_and_the_way_out_is_named(
    make_job: MakeJob, lzw_slide: Path
) -> None:
    asked = TileSettings(mode="copy")
    with pytest.raises(SlideFormatError, match=r"slide drawn: .*compression LZW.*Set tiles\.mode to auto"):
        _choose(make_job(lzw_slide, reader="auto", settings=asked))
    with pytest.raises(SlideFormatError, match=r"tiles of 300 px .* leave tiles\.tile_px out"):
        _choose(make_job(settings=replace(asked, tile_px=300)))
    with pytest.raises(SlideFormatError, match=r"leave tiles\.mpp out, or ask for that of a level"):
        _choose(make_job(settings=replace(asked, mpp=3.0)))
    with pytest.raises(SlideFormatError, match="the reader openslide was asked for"):
        _choose(make_job(reader="openslide", settings=asked))
    with pytest.raises(ConfigError, match=r"tiles\.codec must be jpeg"):
        TileSettings(mode="copy", codec="zstd")


def test_grey_slides_are_not_copied(make_job: MakeJob, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "grey.tif", draw_tissue()[..., 1], tile=(512, 512), compression="jpeg",
        photometric="minisblack", metadata=None, resolution=(5000, 5000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    job = make_job(tmp_path / "grey.tif", settings=TileSettings())
    info, _, grid = plan_tiling(job)
    grid = replace(grid, is_tissue=np.ones_like(grid.is_tissue))
    filling = choose_filling(job.source, info, grid, job.settings, job.slide_fingerprint)
    assert (filling.mode, filling.reason) == ("encode", "they are grey")


@pytest.fixture
def _wrong_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the TIFF reader decode a little wrongly, as it would with colours that it misunderstands."""
    decode_tile = tiff_reader.decode_tile

    def decode(data: bytes, level: JpegLevel) -> NDArray[np.uint8]:
        pixels = decode_tile(data, level)
        return np.bitwise_xor(pixels, 2, dtype=np.uint8)

    monkeypatch.setattr(tiff_reader, "decode_tile", decode)


@pytest.mark.usefixtures("_wrong_colours")
@pytest.mark.parametrize("settings", [TileSettings(), TileSettings(tile_px=128, mpp=3.0, codec="zstd")])
def test_a_fast_reader_that_is_wrong_is_not_used(
    make_job: MakeJob, settings: TileSettings, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(reader="auto", settings=settings)
    with caplog.at_level(logging.INFO):
        blocks = begin_tiling(job)
    said = read_attributes(Path(job.store))["slidepipe"]["filling"]
    assert (said["mode"], said["reader"]) == ("encode", "openslide")
    assert said["reason"].startswith(
        "the TIFF reader and OpenSlide differ by up to 2 grey levels at tile row"
    )
    assert said["reason"] in caplog.text
    for block in blocks:
        tile_block(job, block)
    finish_tiling(job)
    if settings.codec == "zstd":
        expected = replace(
            job, source=replace(job.source, reader="openslide"), store=job.store.replace("drawn", "other")
        )
        for block in begin_tiling(expected):
            tile_block(expected, block)
        finish_tiling(expected)
        with open_tile_store(Path(job.store)) as one, open_tile_store(Path(expected.store)) as other:
            np.testing.assert_array_equal(
                one.read_window(0, 0, *one.size_px), other.read_window(0, 0, *one.size_px)
            )


@pytest.mark.usefixtures("_wrong_colours")
def test_a_wrong_reader_that_was_asked_for_is_an_error(make_job: MakeJob) -> None:
    with pytest.raises(SlideFormatError, match=r"differ by up to 2 grey levels.*reader to auto or openslide"):
        _choose(make_job(reader="tiff", settings=TileSettings()))
    with pytest.raises(SlideFormatError, match="cannot be copied: the TIFF reader and OpenSlide differ"):
        _choose(make_job(reader="auto", settings=TileSettings(mode="copy")))


def test_four_tiles_are_compared_and_always_the_same(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(reader="auto")
    info, _, grid = plan_tiling(job)
    seen: list[tuple[int, int]] = []
    read_region = TiffReader.read_region

    def watch(reader: TiffReader, origin: tuple[int, int], *rest: Any) -> NDArray[np.uint8]:
        seen.append(origin)
        return read_region(reader, origin, *rest)

    monkeypatch.setattr(TiffReader, "read_region", watch)
    for _ in range(2):
        choose_filling(job.source, info, grid, job.settings, job.slide_fingerprint)
    assert seen[:4] == seen[4:]
    assert len(set(seen)) == 4
    assert all(grid.is_tissue[y // 128, x // 128] for x, y in seen)


@pytest.mark.parametrize("settings", [TileSettings(tile_px=200), TileSettings(tile_px=96, mpp=3.3)])
def test_each_tile_of_the_file_is_decoded_once_per_block(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, settings: TileSettings
) -> None:
    job = make_job(reader="auto", settings=replace(settings, shard_tiles=8))
    blocks = begin_tiling(job)
    decoded: Counter[int] = Counter()
    decode_tile = tiff_reader.decode_tile

    def count(data: bytes, level: JpegLevel) -> NDArray[np.uint8]:
        decoded[hash(data)] += 1
        return decode_tile(data, level)

    monkeypatch.setattr(tiff_reader, "decode_tile", count)
    for block in blocks:
        decoded.clear()
        tile_block(job, block)
        assert decoded
        assert max(decoded.values()) == 1
    with borrow_slide(replace(job.source, reader="tiff")) as reader:
        assert isinstance(reader, TiffReader)
        assert not reader._kept
