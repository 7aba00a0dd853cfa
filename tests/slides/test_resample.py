from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slidepipe.geometry import PixelSize, Scale
from slidepipe.slides.levels import pyramid, read_padded
from slidepipe.slides.reader import SlideInfo, SlideSource
from slidepipe.slides.resample import read_overview, read_scaled
from slidepipe.slides.tiff_reader import TiffReader

WriteTiff = Callable[..., Path]
_RNG = np.random.default_rng(1)


class _ArrayReader:
    """A slide in memory, so that properties can be tried many times."""

    def __init__(self, levels: list[NDArray[np.uint8]], pixel_um: tuple[float, float] = (0.25, 0.25)) -> None:
        self._levels = levels
        sizes = [(level.shape[1], level.shape[0]) for level in levels]
        self.info = SlideInfo("s", sizes[0], PixelSize(*pixel_um), pyramid("s", sizes), None, "none", "none")
        self.sizes_read: list[tuple[int, tuple[int, int]]] = []

    def read_region(
        self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        self.sizes_read.append((level, size_px))
        return read_padded(self.info, origin_px0, level, size_px, self._read_level)

    def _read_level(
        self, level: int, origin_px: tuple[int, int], size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        x, y = origin_px
        return self._levels[level][y : y + size_px[1], x : x + size_px[0]]

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _picture(height: int, width: int) -> NDArray[np.uint8]:
    return _RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


_PICTURE = _picture(90, 120)


def _exact_mean(picture: NDArray[np.uint8], row: int, column: int, scale: Scale) -> list[int]:
    """Mean over the area of one pixel in fractions, white outside, halves rounded up."""
    (x0, x1), (y0, y1) = (
        (number * Fraction(step), (number + 1) * Fraction(step))
        for number, step in ((column, scale[0]), (row, scale[1]))
    )
    sums, area = [Fraction(0)] * 3, (x1 - x0) * (y1 - y0)
    for y in range(floor(y0), ceil(y1)):
        for x in range(floor(x0), ceil(x1)):
            share = (min(x1, x + 1) - max(x0, Fraction(x))) * (min(y1, y + 1) - max(y0, Fraction(y)))
            inside = 0 <= y < picture.shape[0] and 0 <= x < picture.shape[1]
            for channel in range(3):
                sums[channel] += share * (int(picture[y, x, channel]) if inside else 255)
    return [floor(total / area + Fraction(1, 2)) for total in sums]


@pytest.mark.parametrize(
    "scale", [(1.5, 1.5), (2.0, 3.0), (4.115, 4.115), (1.0, 2.25), (7.0, 7.0), (13.3, 7.1)]
)
def test_a_pixel_is_the_mean_of_the_area_it_covers(scale: Scale) -> None:
    reader = _ArrayReader([_PICTURE])
    result = read_scaled(reader, (-2, -1), (9, 7), scale)
    for row in range(7):
        for column in range(9):
            expected = _exact_mean(_PICTURE, row - 1, column - 2, scale)
            assert np.abs(result[row, column].astype(int) - expected).max() <= (
                0 if scale == (7.0, 7.0) else 1
            )


_SCALES = st.one_of(
    st.floats(1, 40, allow_nan=False), st.integers(1, 40).map(float), st.sampled_from([1.0288066, 2.0, 4.115])
)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(_SCALES, _SCALES), st.integers(-9, 20), st.integers(-9, 20), st.integers(1, 30), st.integers(1, 30),
    st.data(),
)  # fmt: skip
def test_any_tiling_gives_the_pixels_of_one_call(
    scale: Scale, x: int, y: int, width: int, height: int, data: st.DataObject
) -> None:
    reader = _ArrayReader([_PICTURE, _PICTURE[::2, ::2], _PICTURE[:88:4, ::4]])
    whole = read_scaled(reader, (x, y), (width, height), scale)
    cut_x, cut_y = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    top = [
        read_scaled(reader, (x, y), (cut_x, cut_y), scale),
        read_scaled(reader, (x + cut_x, y), (width - cut_x, cut_y), scale),
    ]
    bottom = [
        read_scaled(reader, (x, y + cut_y), (cut_x, height - cut_y), scale),
        read_scaled(reader, (x + cut_x, y + cut_y), (width - cut_x, height - cut_y), scale),
    ]
    parts = np.concatenate([np.concatenate(top, axis=1), np.concatenate(bottom, axis=1)])
    np.testing.assert_array_equal(parts, whole)


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 20), st.integers(2, 20))
def test_whole_factors_give_what_broken_ones_would(x_step: int, y_step: int) -> None:
    """The short way for whole factors against the sparse matrix, which the other axis cannot tell apart."""
    reader = _ArrayReader([_PICTURE])
    quick = read_scaled(reader, (0, 0), (4, 3), (float(x_step), float(y_step)))
    exact = [
        [_exact_mean(_PICTURE, row, column, (float(x_step), float(y_step))) for column in range(4)]
        for row in range(3)
    ]
    assert quick.tolist() == exact


def test_halves_are_rounded_up() -> None:
    picture = np.array([[[0, 1, 254], [1, 2, 255]]], dtype=np.uint8)
    assert read_scaled(_ArrayReader([picture]), (0, 0), (1, 1), (2.0, 1.0)).tolist() == [[[1, 2, 255]]]


def test_scale_one_is_a_plain_read() -> None:
    reader = _ArrayReader([_PICTURE])
    np.testing.assert_array_equal(read_scaled(reader, (5, 6), (20, 10), (1.0, 1.0)), _PICTURE[6:16, 5:25])


@pytest.mark.parametrize(
    ("scale", "level"),
    [
        ((1.5, 1.5), 0),
        ((2.0, 2.0), 1),
        ((3.9, 4.5), 1),
        ((4.0, 4.0), 2),
        ((3.9999, 3.9999), 2),
        ((50.0, 50.0), 2),
    ],
)
def test_the_coarsest_level_that_is_sharp_enough_is_read(scale: Scale, level: int) -> None:
    reader = _ArrayReader([_PICTURE, _PICTURE[::2, ::2], _PICTURE[:88:4, ::4]])
    read_scaled(reader, (0, 0), (2, 2), scale)
    assert {read for read, _ in reader.sizes_read} == {level}


def test_a_level_of_the_wanted_size_is_given_as_it_is_stored() -> None:
    coarse = _picture(45, 60)
    reader = _ArrayReader([_PICTURE, coarse])
    np.testing.assert_array_equal(read_scaled(reader, (3, 4), (20, 10), (2.0, 2.0)), coarse[4:14, 3:23])


def test_an_overview_covers_the_slide_to_its_last_pixel() -> None:
    reader = _ArrayReader([_PICTURE])
    overview, scale = read_overview(reader, 1.0)
    assert (overview.shape, scale) == ((23, 30, 3), (4.0, 4.0))
    half_white = (_PICTURE[88:90, 0:4].astype(int).sum(axis=(0, 1)) + 8 * 255) / 16
    assert np.abs(overview[22, 0] - half_white).max() <= 0.5


def test_an_overview_finer_than_the_slide_is_the_slide() -> None:
    overview, scale = read_overview(_ArrayReader([_PICTURE], (0.25, 0.2500001)), 0.1)
    assert scale == (1.0, 1.0)
    np.testing.assert_array_equal(overview, _PICTURE)


def test_an_overview_of_a_slide_with_one_level_is_read_in_bounded_pieces() -> None:
    picture = np.broadcast_to(np.uint8(7), (9000, 7000, 3))
    reader = _ArrayReader([picture])
    overview, _ = read_overview(reader, 8.0)
    assert overview.shape == (282, 219, 3)
    assert (overview[:281, :218] == 7).all()
    assert max(width * height for _, (width, height) in reader.sizes_read) <= 2048 * 2048


def test_a_slide_from_a_file_is_read_alike_in_tiles_and_at_once(
    tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels, vendor="philips", left_out={3})
    scale = PixelSize(0.24, 0.25).scale_to(0.6)
    with TiffReader(SlideSource("s", str(path))) as reader:
        whole = read_scaled(reader, (0, 0), (220, 170), scale)
        tiles = [
            np.concatenate([read_scaled(reader, (x, y), (55, 85), scale) for x in range(0, 220, 55)], axis=1)
            for y in (0, 85)
        ]
    np.testing.assert_array_equal(np.concatenate(tiles), whole)
    assert (whole[-1] == 255).all()
    assert (whole[:100, :100] < 250).any()
