from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.slides.opening import fingerprint_slide, open_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.slides.tiffslide_reader import TiffSlideReader

WriteTiff = Callable[..., Path]


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


@pytest.mark.parametrize("vendor", ["generic-tiff", "philips"])
def test_it_gives_the_pixels_of_the_tiff_reader(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, vendor: str
) -> None:
    source = SlideSource("s1", str(write_tiff(tmp_path / "a.tif", pixels, vendor=vendor, left_out={0, 6})))
    with TiffReader(source) as ours, TiffSlideReader(source) as theirs:
        assert theirs.info.levels == ours.info.levels
        assert theirs.info.pixel_size == ours.info.pixel_size
        for level in range(3):
            for origin, size in [((0, 0), (500, 300)), ((-20, -30), (90, 80)), ((333, 111), (400, 400))]:
                np.testing.assert_array_equal(
                    theirs.read_region(origin, level, size), ours.read_region(origin, level, size)
                )


def test_a_slide_on_a_server_is_read_by_its_url(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, memory: fsspec.AbstractFileSystem
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels)
    memory.pipe("/bucket/a.tif", path.read_bytes())
    source = SlideSource("a", "memory://bucket/a.tif", "tiffslide")
    with open_slide(source) as far, open_slide(SlideSource("a", str(path))) as near:
        np.testing.assert_array_equal(
            far.read_region((10, 20), 1, (100, 100)), near.read_region((10, 20), 1, (100, 100))
        )
    before = fingerprint_slide(source)
    memory.pipe("/bucket/a.tif", path.read_bytes()[:-1] + b"?")
    assert fingerprint_slide(source) != before


def test_a_url_that_is_not_there_is_not_found(memory: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(FileNotFoundError):
        open_slide(SlideSource("a", "memory://bucket/none.tif", "tiffslide"))


@pytest.mark.parametrize("reader", ["openslide", "wsidicom"])
def test_other_readers_do_not_take_urls(reader: str) -> None:
    with pytest.raises(SlideFormatError, match="set its reader to auto, tiff or tiffslide"):
        open_slide(SlideSource("a", "s3://bucket/a.tif", reader))  # type: ignore[arg-type]


def test_it_is_not_chosen_for_a_url_that_the_tiff_reader_refuses(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/bucket/a.tif", b"II*\0 this is not a slide")
    with pytest.raises(SlideFormatError, match="fetch the file"):
        open_slide(SlideSource("a", "memory://bucket/a.tif"))


def test_jpeg_2000_is_read(shared_data: Path) -> None:
    path = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    with open_slide(SlideSource("a", str(path), "tiffslide", 0.25)) as reader:
        region = reader.read_region((1000, 1000), 0, (256, 256))
    with open_slide(SlideSource("a", str(path), "openslide", 0.25)) as reader:
        expected = reader.read_region((1000, 1000), 0, (256, 256))
    assert np.abs(region.astype(int) - expected).max() <= 2


def test_a_damaged_tile_is_a_damaged_region(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(
        tmp_path / "a.tif", pixels, change_tile=lambda n, data: b"\0" * len(data) if n == 1 else data
    )
    with TiffSlideReader(SlideSource("s1", str(path))) as reader:
        with pytest.raises(RegionReadError, match=r"slide s1: 10 × 10 px at \(130, 0\) of level 0"):
            reader.read_region((130, 0), 0, (10, 10))
        assert reader.read_region((0, 0), 0, (10, 10)).shape == (10, 10, 3)
