from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.geometry import PixelSize
from slidepipe.slides import tiff_reader
from slidepipe.slides.opening import fingerprint_slide, open_slide
from slidepipe.slides.openslide_reader import OpenSlideReader
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.tiff_index import JpegLevel
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.storage.remote import RemotePath

WriteTiff = Callable[..., Path]


def _source(path: Path) -> SlideSource:
    return SlideSource("s1", str(path))


def _assert_same_as_openslide(path: Path, regions: int = 12) -> None:
    rng = np.random.default_rng(5)
    with TiffReader(_source(path)) as ours, OpenSlideReader(_source(path)) as theirs:
        assert ours.info.levels == theirs.info.levels
        assert ours.info.pixel_size.x_um == pytest.approx(theirs.info.pixel_size.x_um)
        assert ours.info.pixel_size.y_um == pytest.approx(theirs.info.pixel_size.y_um)
        assert (ours.info.vendor, ours.info.tile_px) == (theirs.info.vendor, theirs.info.tile_px)
        for level, known in enumerate(ours.info.levels):
            whole = ours.read_region((0, 0), level, known.size_px)
            np.testing.assert_array_equal(whole, theirs.read_region((0, 0), level, known.size_px))
            for _ in range(regions):
                x, y = (int(rng.integers(-40, side)) for side in ours.info.size_px0)
                size = (int(rng.integers(1, 300)), int(rng.integers(1, 300)))
                np.testing.assert_array_equal(
                    ours.read_region((x, y), level, size), theirs.read_region((x, y), level, size)
                )


@pytest.mark.parametrize(
    "name",
    ["CMU-1-Small-Region.svs", "small.svs", "tumor_072_level7_philips.tif", "tumor_072_level7_asap.tif"],
)
def test_real_slides_have_the_pixels_that_openslide_gives(shared_data: Path, name: str) -> None:
    _assert_same_as_openslide(shared_data / "slides" / name)


def test_a_generic_slide_has_the_pixels_that_openslide_gives(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    _assert_same_as_openslide(write_tiff(tmp_path / "a.tif", pixels, left_out={2, 5}))


def test_a_philips_slide_has_the_pixels_that_openslide_gives(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    _assert_same_as_openslide(write_tiff(tmp_path / "a.tif", pixels, vendor="philips", left_out={0, 7}))


def test_rgb_tiles_without_a_marker_are_not_taken_for_ycbcr(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, is_rgb=True)
    _assert_same_as_openslide(path)
    with TiffReader(_source(path)) as reader:
        region = reader.read_region((0, 0), 0, (500, 300))
    assert np.abs(region.astype(int) - pixels).mean() < 5


def test_levels_of_a_philips_slide_are_halves_of_level_0_whatever_their_padding(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, vendor="philips")
    with TiffReader(_source(path)) as reader:
        assert [level.factor for level in reader.info.levels] == [1, 2, 4]
        assert [level.size_px for level in reader.info.levels] == [(512, 384), (256, 192), (128, 96)]
        assert [level.byte_counts.shape for level in reader.index.levels] == [(3, 4), (2, 2), (1, 1)]


def test_the_measured_spacing_of_a_philips_slide_counts_row_before_column(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, vendor="philips")
    with TiffReader(_source(path)) as reader:
        assert reader.info.pixel_size.x_um == pytest.approx(0.24)
        assert reader.info.pixel_size.y_um == pytest.approx(0.25)


def test_aperio_says_pixel_size_and_power_in_words(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    text = "Aperio Image Library v12\n500x300 |AppMag = 40|MPP = 0.2520|Left = 1"
    path = write_tiff(tmp_path / "a.svs", pixels, description=text, resolution=None)
    with TiffReader(_source(path)) as reader:
        assert reader.info.pixel_size == PixelSize(0.252, 0.252)
        assert (reader.info.objective_power, reader.info.vendor) == (40, "aperio")


def test_tiles_that_the_file_does_not_have_are_white(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels // 2, left_out={1})
    with TiffReader(_source(path)) as reader:
        assert (reader.read_region((128, 0), 0, (128, 128)) == 255).all()
        assert (reader.read_region((0, 0), 0, (128, 128)) < 200).all()


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) * 9 // 10], lambda data: data[:-2], lambda data: b"\0" * len(data)],
)
def test_one_damaged_tile_fails_the_regions_that_touch_it_and_no_other(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, damage: Callable[[bytes], bytes]
) -> None:
    path = write_tiff(
        tmp_path / "a.tif", pixels, change_tile=lambda n, data: damage(data) if n == 1 else data
    )
    with TiffReader(_source(path)) as reader:
        with pytest.raises(
            RegionReadError, match=r"slide s1: 100 × 50 px at \(100, 10\) of level 0 .*column 1"
        ):
            reader.read_region((100, 10), 0, (100, 50))
        assert reader.read_region((256, 0), 0, (100, 50)).shape == (50, 100, 3)


def test_a_file_that_was_cut_short_fails_where_it_ends(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels)
    with TiffReader(_source(path)) as reader:
        offset = int(reader.index.levels[2].offsets[0, 0])
    path.write_bytes(path.read_bytes()[: offset + 100])
    with TiffReader(_source(path)) as reader:
        with pytest.raises(RegionReadError, match="ends after 100 of its"):
            reader.read_region((0, 0), 2, (10, 10))
        assert reader.read_region((0, 0), 0, (500, 300)).shape == (300, 500, 3)


def test_grey_slides_are_grey_in_colour(tmp_path: Path) -> None:
    grey = np.arange(256 * 256, dtype=np.uint32).reshape(256, 256).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", grey, tile=(128, 128), compression="jpeg", compressionargs={"level": 100},
        photometric="minisblack", resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    with TiffReader(_source(tmp_path / "a.tif")) as reader:
        region = reader.read_region((3, 0), 0, (200, 256))
    assert (region[..., 0] == region[..., 1]).all()
    assert (region[..., 0] == region[..., 2]).all()
    assert np.abs(region[..., 0].astype(int) - grey[:, 3:203]).mean() < 3


@pytest.mark.parametrize("name", ["boxes.tiff", "tcga-cr-7395-01a-01-ts1.svs"])
def test_other_compressions_are_refused_and_other_readers_named(shared_data: Path, name: str) -> None:
    with pytest.raises(SlideFormatError, match="use the reader openslide or tiffslide"):
        TiffReader(SlideSource("s1", str(shared_data / "slides" / name), mpp=0.5))


def test_a_closed_reader_says_so_and_may_be_closed_again(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    reader = TiffReader(_source(write_tiff(tmp_path / "a.tif", pixels)))
    reader.close()
    reader.close()
    with pytest.raises(RegionReadError, match="closed"):
        reader.read_region((0, 0), 0, (1, 1))


def test_tiles_that_borders_cut_are_decoded_once_within_the_memory_given(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    decode_tile = tiff_reader.decode_tile

    def count(data: bytes, level: JpegLevel) -> NDArray[np.uint8]:
        decoded.append(data)
        return decode_tile(data, level)

    monkeypatch.setattr(tiff_reader, "decode_tile", count)
    tile_bytes = 128 * 128 * 3
    with TiffReader(_source(write_tiff(tmp_path / "a.tif", pixels))) as reader:

        def sweep(n_bytes: int) -> tuple[int, NDArray[np.uint8]]:
            decoded.clear()
            reader.keep_cut_tiles(n_bytes)
            rows = [
                [reader.read_region((x, y), 0, (100, 100)) for x in range(0, 500, 100)]
                for y in range(0, 300, 100)
            ]
            return len(decoded), np.concatenate([np.concatenate(row, axis=1) for row in rows])

        whole = reader.read_region((0, 0), 0, (500, 300))
        for n_bytes, expected in ((0, 40), (12 * tile_bytes, 12)):
            n_decoded, picture = sweep(n_bytes)
            assert n_decoded == expected
            np.testing.assert_array_equal(picture, whole)
        assert 12 < sweep(3 * tile_bytes)[0] < 40
        assert sweep(tile_bytes - 1)[0] == 40


@pytest.mark.parametrize("n_bytes", [0, 10**7])
def test_what_is_read_belongs_to_the_caller(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, n_bytes: int
) -> None:
    with TiffReader(_source(write_tiff(tmp_path / "a.tif", pixels))) as reader:
        reader.keep_cut_tiles(n_bytes)
        reader.read_region((100, 100), 0, (100, 100))
        tile = reader.read_region((0, 0), 0, (128, 128))
        before = tile.copy()
        tile[:] = 7
        np.testing.assert_array_equal(reader.read_region((0, 0), 0, (128, 128)), before)


def test_compressed_tiles_come_as_they_lie_in_the_file(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, left_out={5})
    with TiffReader(_source(path)) as reader:
        streams = reader.read_streams(0, 1, [0, 1, 3])
        level = reader.index.levels[0]
        assert streams[1] == b""
        assert [len(stream) for stream in streams] == level.byte_counts[1, [0, 1, 3]].tolist()
        tile = tiff_reader.decode_tile(streams[0], level)
        np.testing.assert_array_equal(tile, reader.read_region((0, 128), 0, (128, 128)))
    with pytest.raises(RegionReadError, match="closed"):
        reader.read_streams(0, 1, [0])


@pytest.mark.parametrize("vendor", ["generic-tiff", "philips"])
def test_a_slide_in_an_object_store_has_the_pixels_of_the_file(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, vendor: str
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, vendor=vendor, left_out={0, 6})
    fsspec.filesystem("memory").pipe(f"/{vendor}/a.tif", path.read_bytes())
    source = SlideSource("s1", f"memory://{vendor}/a.tif")
    assert fingerprint_slide(source) == fingerprint_slide(_source(path))
    with open_slide(source) as far, TiffReader(_source(path)) as near:
        assert far.info == near.info
        assert isinstance(far, TiffReader)
        far.keep_cut_tiles(2**20)
        for level in range(3):
            for origin, size in [((0, 0), (500, 300)), ((-20, -30), (90, 80)), ((333, 111), (400, 400))]:
                np.testing.assert_array_equal(
                    far.read_region(origin, level, size), near.read_region(origin, level, size)
                )
        assert far.read_streams(0, 1, [0, 1, 2]) == near.read_streams(0, 1, [0, 1, 2])
    with pytest.raises(RegionReadError, match="closed"):
        far.read_region((0, 0), 0, (10, 10))


def test_all_tiles_of_a_region_are_asked_for_together(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").pipe("/together/a.tif", write_tiff(tmp_path / "a.tif", pixels).read_bytes())
    asked: list[int] = []
    read_ranges = RemotePath.read_ranges

    def noting(self: RemotePath, ranges: list[tuple[int, int]]) -> list[bytes]:
        asked.append(len(ranges))
        return read_ranges(self, ranges)

    with TiffReader(SlideSource("s1", "memory://together/a.tif")) as reader:
        monkeypatch.setattr(RemotePath, "read_ranges", noting)
        reader.read_region((0, 0), 0, (300, 300))
    assert asked == [9]
