from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray

from slidepipe.errors import PixelSizeError, RegionReadError
from slidepipe.slides.openslide_reader import OpenSlideReader
from slidepipe.slides.reader import SlideSource

WriteTiff = Callable[..., Path]


def test_a_damaged_tile_does_not_take_the_rest_of_the_slide_with_it(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    whole = write_tiff(tmp_path / "whole.tif", pixels)
    broken = write_tiff(tmp_path / "a.tif", pixels, change_tile=lambda n, data: data[:-9] if n == 1 else data)
    with OpenSlideReader(SlideSource("s1", str(broken))) as reader:
        with pytest.raises(RegionReadError, match=r"slide s1: 100 × 50 px at \(100, 10\) of level 0 .*JPEG"):
            reader.read_region((100, 10), 0, (100, 50))
        region = reader.read_region((256, 0), 0, (100, 300))
    with OpenSlideReader(SlideSource("s1", str(whole))) as reader:
        np.testing.assert_array_equal(region, reader.read_region((256, 0), 0, (100, 300)))


def test_tiles_that_the_file_does_not_have_are_white(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels // 2, vendor="philips", left_out={1})
    with OpenSlideReader(SlideSource("s1", str(path))) as reader:
        assert (reader.read_region((128, 0), 0, (128, 128)) == 255).all()
        assert (reader.read_region((0, 0), 0, (128, 128)) < 200).all()


def test_a_level_with_a_broken_factor_is_the_same_in_one_read_and_in_many(shared_data: Path) -> None:
    source = SlideSource("s1", str(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"), mpp=0.25)
    with OpenSlideReader(source) as reader:
        level = reader.info.levels[1]
        assert level.factor == 2
        assert not openslide.OpenSlide(source.path).level_downsamples[1].is_integer()
        whole = reader.read_region((1000, 1000), 1, (300, 200))
        parts = [reader.read_region((1000 + 2 * x, 1000), 1, (100, 200)) for x in (0, 100, 200)]
        shifted = reader.read_region((1062, 1024), 1, (200, 180))
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    np.testing.assert_array_equal(whole[12:192, 31:231], shifted)


def test_such_a_level_stays_within_a_pixel_of_level_0(shared_data: Path) -> None:
    source = SlideSource("s1", str(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"), mpp=0.25)
    with OpenSlideReader(source) as reader:
        width, height = reader.info.levels[1].size_px
        x, y = width - 256, height - 256
        coarse = reader.read_region((2 * x, 2 * y), 1, (256, 256)).astype(float).mean(axis=2)
        sharp = reader.read_region((2 * x - 8, 2 * y - 8), 0, (528, 528)).astype(float).mean(axis=2)
    errors = {}
    for dx in range(-4, 5):
        for dy in range(-4, 5):
            part = sharp[8 + dy : 8 + dy + 508, 8 + dx : 8 + dx + 508]
            halved = part.reshape(254, 2, 254, 2).mean(axis=(1, 3))
            errors[dx, dy] = np.abs(halved - coarse[:254, :254]).mean()
    best = min(errors, key=lambda shift: errors[shift])
    assert max(abs(best[0]), abs(best[1])) <= 1


def test_resolution_in_inches_counts_where_openslide_leaves_it_out(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, resolution=(50_800, 101_600), unit="INCH")
    with OpenSlideReader(SlideSource("s1", str(path))) as reader:
        assert reader.info.pixel_size.x_um == pytest.approx(0.5)
        assert reader.info.pixel_size.y_um == pytest.approx(0.25)


def test_one_pixel_per_unit_is_no_pixel_size(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    for unit in ("INCH", "CENTIMETER"):
        path = write_tiff(tmp_path / f"{unit}.tif", pixels, resolution=(1, 1), unit=unit)
        with pytest.raises(PixelSizeError, match="set mpp"):
            OpenSlideReader(SlideSource("s1", str(path)))


def test_a_dicom_slide_opens_by_any_file_of_its_series(shared_data: Path) -> None:
    regions = []
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        with OpenSlideReader(SlideSource("s1", str(shared_data / "slides" / name))) as reader:
            assert (reader.info.vendor, reader.info.pixel_size.x_um) == ("dicom", 0.499)
            regions.append(reader.read_region((0, 0), 0, (16, 16)))
    np.testing.assert_array_equal(*regions)


def test_a_closed_reader_says_so_and_may_be_closed_again(shared_data: Path) -> None:
    reader = OpenSlideReader(SlideSource("s1", str(shared_data / "slides" / "small.svs")))
    reader.close()
    reader.close()
    with pytest.raises(RegionReadError, match="closed"):
        reader.read_region((0, 0), 0, (1, 1))
