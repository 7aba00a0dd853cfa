"""What is known of a slide is what a slide can be."""

import pytest

from slidepipe.errors import SlideFormatError
from slidepipe.geometry import PixelSize
from slidepipe.slides.reader import SlideInfo, SlideLevel


def info(size_px: tuple[int, int], um: float, tile_px: tuple[int, int] | None = None) -> SlideInfo:
    return SlideInfo("a", size_px, PixelSize(um, um), (SlideLevel(size_px, 1.0),), tile_px, "none", "none")


@pytest.mark.parametrize(
    ("size_px", "um"), [((200_000, 100_000), 0.25), ((600_000, 400_000), 0.25), ((1, 1), 50.0)]
)
def test_the_largest_slides_there_are_may_be_read(size_px: tuple[int, int], um: float):
    assert info(size_px, um).size_px0 == size_px


@pytest.mark.parametrize(
    ("size_px", "um"), [((2**31, 1), 0.25), ((2**20, 2**19), 0.01), ((200_000, 100_000), 2.0)]
)
def test_what_no_glass_slide_holds_is_refused(size_px: tuple[int, int], um: float):
    with pytest.raises(
        SlideFormatError, match=rf"slide a: {size_px[0]} × {size_px[1]} px of {um:g} × .*mpp mends"
    ):
        info(size_px, um)


def test_tiles_without_pixels_are_refused():
    with pytest.raises(SlideFormatError, match="tiles of 512 × 0 px"):
        info((600, 600), 0.5, (512, 0))
