import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.geometry import PixelSize
from slidepipe.slides.levels import level_origin_px0, level_position, on_white, pyramid, read_padded
from slidepipe.slides.reader import SlideInfo, SlideLevel


def _factors(*sizes: tuple[int, int]) -> list[float]:
    return [level.factor for level in pyramid("s", sizes)]


def test_sizes_that_were_rounded_down_give_whole_factors() -> None:
    assert _factors((300, 250), (150, 125), (75, 62), (37, 31)) == [1, 2, 4, 8]


def test_sizes_that_were_rounded_up_give_whole_factors() -> None:
    assert _factors((4443, 3567), (2222, 1784), (278, 223)) == [1, 2, 16]


def test_a_long_thin_slide_goes_by_its_long_side() -> None:
    assert _factors((100_000, 10), (781, 1)) == [1, 128]


def test_a_factor_need_not_be_a_power_of_two() -> None:
    assert _factors((1000, 700), (333, 233)) == [1, 3]


def test_sizes_that_no_whole_factor_explains_give_their_ratio() -> None:
    assert _factors((1000, 1000), (700, 700))[1] == pytest.approx(1000 / 700)


@given(st.integers(1, 200_000), st.integers(1, 200_000), st.integers(0, 9))
def test_halved_sizes_always_give_the_power_of_two(width: int, height: int, level: int) -> None:
    small = (width >> level, height >> level)
    if max(width, height) >> level >= 64 and min(small) > 0:
        assert _factors((width, height), small)[1] == 2**level


@pytest.mark.parametrize("sizes", [[], [(0, 3)], [(10, 10), (5, 0)], [(10, 10), (20, 5)]])
def test_impossible_sizes_are_refused_with_the_name_of_the_slide(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(SlideFormatError, match="slide s1"):
        pyramid("s1", sizes)


@given(st.integers(-10_000, 10**6), st.floats(1, 1000, allow_nan=False))
def test_the_first_level_0_pixel_of_a_level_pixel_falls_on_it(position: int, factor: float) -> None:
    origin = level_origin_px0(position, factor)
    assert level_position(origin, factor) == position
    assert level_position(origin - 1, factor) == position - 1


def _info() -> SlideInfo:
    levels = (SlideLevel((8, 6), 1.0), SlideLevel((4, 3), 2.0))
    return SlideInfo("s", (8, 6), PixelSize(1, 1), levels, None, "none", "none")


@given(st.integers(-9, 12), st.integers(-9, 12), st.integers(0, 12), st.integers(0, 12))
def test_a_region_is_cut_out_of_the_slide_on_white_paper(x: int, y: int, width: int, height: int) -> None:
    level = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(3, 4, 3)
    paper = np.full((60, 60, 3), 255, dtype=np.uint8)
    paper[20:23, 20:24] = level
    region = read_padded(
        _info(), (x, y), 1, (width, height),
        lambda _, origin, size: level[origin[1] : origin[1] + size[1], origin[0] : origin[0] + size[0]],
    )  # fmt: skip
    left, top = 20 + x // 2, 20 + y // 2
    np.testing.assert_array_equal(region, paper[top : top + height, left : left + width])


@pytest.mark.parametrize(("level", "size"), [(2, (1, 1)), (-1, (1, 1)), (0, (-1, 1))])
def test_a_level_or_size_that_cannot_be_is_refused(level: int, size: tuple[int, int]) -> None:
    with pytest.raises(RegionReadError, match="levels 0 to 1"):
        read_padded(_info(), (0, 0), level, size, lambda *_: np.empty((0, 0, 3), np.uint8))


def test_transparent_pixels_become_white_and_half_transparent_ones_paler() -> None:
    rgba = np.array([[[0, 0, 0, 0], [10, 20, 30, 255], [0, 100, 200, 128]]], dtype=np.uint8)
    assert on_white(rgba).tolist() == [[[255, 255, 255], [10, 20, 30], [127, 177, 227]]]
