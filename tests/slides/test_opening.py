import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.errors import PixelSizeError, RegionReadError, SlideError, SlideFormatError
from slidepipe.slides.opening import fingerprint_slide, open_slide
from slidepipe.slides.reader import ReaderName, SlideSource

WriteTiff = Callable[..., Path]
_READERS: tuple[ReaderName, ...] = ("auto", "openslide", "tiffslide", "tiff")


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize("name", ["broken.svs", "ndpi_test.ndpi", "zero_gi.tif"])
def test_what_is_not_a_slide_is_refused_by_every_reader(
    shared_data: Path, name: str, reader: ReaderName
) -> None:
    with pytest.raises(SlideFormatError, match="slide s1"):
        open_slide(SlideSource("s1", str(shared_data / "odd" / name), reader, 0.5))


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize("name", ["unopenable.tiff", "unreadable.svs", "small_la.tiff"])
def test_odd_slides_fail_as_slides_or_give_pixels(shared_data: Path, name: str, reader: ReaderName) -> None:
    source = SlideSource("s1", str(shared_data / "odd" / name), reader, 0.5)
    if (name, reader) in {("small_la.tiff", "auto"), ("small_la.tiff", "openslide")}:
        with open_slide(source) as slide:
            assert slide.read_region((0, 0), 0, (2, 1)).shape == (1, 2, 3)
        return
    with pytest.raises(SlideError, match="slide s1"), open_slide(source) as slide:
        slide.read_region((0, 0), 0, slide.info.size_px0)


def test_a_slide_that_opens_but_does_not_read_names_the_region_and_the_reason(shared_data: Path) -> None:
    with open_slide(SlideSource("s1", str(shared_data / "odd" / "unreadable.svs"))) as slide:
        for _ in range(2):
            with pytest.raises(
                RegionReadError, match=r"slide s1: 16 × 16 px at \(0, 0\) .*Bogus marker length"
            ):
                slide.read_region((0, 0), 0, (16, 16))


def test_a_git_lfs_pointer_is_told_from_a_broken_slide(shared_data: Path) -> None:
    with pytest.raises(SlideFormatError, match="git lfs pull"):
        open_slide(SlideSource("s1", str(shared_data / "odd" / "ndpi_test.ndpi")))


@pytest.mark.parametrize("reader", _READERS)
def test_a_missing_file_an_empty_file_and_a_folder_are_told_apart(tmp_path: Path, reader: ReaderName) -> None:
    with pytest.raises(FileNotFoundError, match="slide s1"):
        open_slide(SlideSource("s1", str(tmp_path / "none.tif"), reader))
    (tmp_path / "empty.tif").touch()
    with pytest.raises(SlideFormatError, match="empty"):
        open_slide(SlideSource("s1", str(tmp_path / "empty.tif"), reader))
    with pytest.raises(SlideFormatError, match="folder"):
        open_slide(SlideSource("s1", str(tmp_path), reader))


def test_auto_is_openslide_where_it_knows_the_file(shared_data: Path) -> None:
    with open_slide(SlideSource("s1", str(shared_data / "slides" / "tumor_072_level7_philips.tif"))) as slide:
        assert (slide.info.reader, slide.info.vendor) == ("openslide", "philips")
        assert slide.info.pixel_size.x_um == pytest.approx(28.969)
        assert [level.factor for level in slide.info.levels] == [1, 2, 4]


@pytest.mark.parametrize("reader", ["auto", "tiffslide"])
def test_a_slide_without_pixel_size_needs_one(shared_data: Path, reader: ReaderName) -> None:
    path = str(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs")
    with pytest.raises(PixelSizeError, match=r"slide s1: the file does not record .* set mpp"):
        open_slide(SlideSource("s1", path, reader))
    with open_slide(SlideSource("s1", path, reader, 0.25)) as slide:
        assert slide.info.pixel_size.mean_um == 0.25


def test_a_fingerprint_goes_by_content_not_by_name(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    one = write_tiff(tmp_path / "one.tif", pixels)
    two = Path(shutil.copy(one, tmp_path / "two.tif"))
    before = fingerprint_slide(SlideSource("a", str(one)))
    assert fingerprint_slide(SlideSource("b", str(two), "tiff", 0.5)) == before
    two.write_bytes(two.read_bytes()[:-1] + b"?")
    assert fingerprint_slide(SlideSource("b", str(two))) != before


def test_a_dicom_slide_has_one_fingerprint_by_any_file_and_all_its_files_count(
    shared_data: Path, tmp_path: Path
) -> None:
    for number in (0, 1):
        shutil.copy(shared_data / "slides" / f"boxes_{number}.dcm", tmp_path / f"{number}.dcm")
    (tmp_path / "notes.txt").write_text("not a slide")
    sources = [SlideSource("s", str(tmp_path / f"{number}.dcm")) for number in (0, 1)]
    before = fingerprint_slide(sources[0])
    assert fingerprint_slide(sources[1]) == before
    other = tmp_path / "1.dcm"
    other.chmod(0o644)
    other.write_bytes(other.read_bytes() + b"\0")
    assert fingerprint_slide(sources[0]) != before


def test_the_folder_of_an_mrxs_slide_counts(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_bytes(b"index")
    before = fingerprint_slide(SlideSource("a", str(tmp_path / "a.mrxs")))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixels")
    after = fingerprint_slide(SlideSource("a", str(tmp_path / "a.mrxs")))
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixelS")
    assert len({before, after, fingerprint_slide(SlideSource("a", str(tmp_path / "a.mrxs")))}) == 3


def test_the_images_that_a_vms_file_names_count(tmp_path: Path) -> None:
    (tmp_path / "a.vms").write_text("[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\n")
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    before = fingerprint_slide(SlideSource("a", str(tmp_path / "a.vms")))
    (tmp_path / "a.jpg").write_bytes(b"pixelS")
    assert fingerprint_slide(SlideSource("a", str(tmp_path / "a.vms"))) != before


def test_the_fingerprint_of_a_missing_slide_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint_slide(SlideSource("a", str(tmp_path / "none.tif")))
