"""DICOM slides that OpenSlide refuses."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.slides.opening import fingerprint_slide, open_slide
from slidepipe.slides.openslide_reader import OpenSlideReader
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.wsidicom_reader import WsiDicomReader

TILE = 64


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (70, 150, 3), dtype=np.uint8)


@pytest.fixture
def rle_slide(shared_data: Path, tmp_path: Path, picture: NDArray[np.uint8]) -> SlideSource:
    """A DICOM slide of 150 x 70 px in RLE, which is lossless and not read by OpenSlide."""
    height, width = picture.shape[:2]
    columns, rows = -(-width // TILE), -(-height // TILE)
    padded = np.full((rows * TILE, columns * TILE, 3), 255, dtype=np.uint8)
    padded[:height, :width] = picture
    frames = padded.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    dataset = pydicom.dcmread(shared_data / "slides" / "boxes_0.dcm")
    dataset.decompress()
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = width, height
    dataset.NumberOfFrames = len(frames)
    dataset.ImagedVolumeWidth, dataset.ImagedVolumeHeight = width * 0.000499, height * 0.000499
    dataset.PhotometricInterpretation = "RGB"
    dataset.compress(RLELossless, frames)
    path = tmp_path / "slide.dcm"
    dataset.save_as(path)
    return SlideSource("s1", str(path))


def test_what_openslide_refuses_is_read_by_wsidicom(
    rle_slide: SlideSource, picture: NDArray[np.uint8]
) -> None:
    with pytest.raises(SlideFormatError, match="transfer syntax"):
        OpenSlideReader(rle_slide)
    with open_slide(rle_slide) as reader:
        info = reader.info
        assert (info.reader, info.vendor, info.size_px0, info.tile_px) == (
            "wsidicom",
            "dicom",
            (150, 70),
            (64, 64),
        )
        assert info.pixel_size.x_um == pytest.approx(0.499)
        np.testing.assert_array_equal(reader.read_region((0, 0), 0, (150, 70)), picture)
        part = reader.read_region((140, -2), 0, (20, 12))
    expected = np.full((12, 20, 3), 255, dtype=np.uint8)
    expected[2:, :10] = picture[:10, 140:]
    np.testing.assert_array_equal(part, expected)


def test_both_readers_see_the_same_slide(shared_data: Path) -> None:
    source = SlideSource("s1", str(shared_data / "slides" / "boxes_0.dcm"))
    with OpenSlideReader(source) as one, WsiDicomReader(source) as other:
        assert [level.size_px for level in one.info.levels] == [level.size_px for level in other.info.levels]
        assert one.info.pixel_size == other.info.pixel_size
        np.testing.assert_array_equal(
            one.read_region((0, 0), 0, (16, 16)), other.read_region((0, 0), 0, (16, 16))
        )
    with open_slide(source) as reader:
        assert reader.info.reader == "openslide"


def test_damage_is_told_with_its_place(rle_slide: SlideSource) -> None:
    path = Path(rle_slide.path)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    dataset.save_as(path)
    with (
        pytest.raises((RegionReadError, SlideFormatError), match="slide s1"),
        open_slide(rle_slide) as reader,
    ):
        reader.read_region((0, 0), 0, (150, 70))


def test_a_file_of_another_kind_is_refused(shared_data: Path) -> None:
    path = shared_data / "slides" / "small.svs"
    with pytest.raises(SlideFormatError, match="slide s1: wsidicom cannot open it"):
        open_slide(SlideSource("s1", str(path), reader="wsidicom"))


def test_a_closed_reader_says_so_and_may_be_closed_again(rle_slide: SlideSource) -> None:
    reader = WsiDicomReader(rle_slide)
    reader.close()
    reader.close()
    with pytest.raises(RegionReadError, match="closed"):
        reader.read_region((0, 0), 0, (1, 1))


def test_the_fingerprint_does_not_depend_on_the_reader(rle_slide: SlideSource) -> None:
    assert fingerprint_slide(rle_slide) == fingerprint_slide(
        SlideSource("other", rle_slide.path, reader="wsidicom")
    )
