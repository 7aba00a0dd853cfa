"""A slide in squares at every power of two."""

import io
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from PIL import Image

from slidepipe.geometry import PixelSize
from slidepipe.slides.handles import borrow_slide
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.slides.resample import read_scaled
from slidepipe.viewer.deep_zoom import TILE_PX, DeepZoom, draw_tile, is_too_coarse
from slidepipe.viewer.viewed_run import ViewedRun


def _info(size_px: tuple[int, int], factors: tuple[int, ...]) -> SlideInfo:
    levels = tuple(
        SlideLevel((size_px[0] // factor, size_px[1] // factor), float(factor)) for factor in factors
    )
    return SlideInfo("s", size_px, PixelSize(0.25, 0.25), levels, None, "none", "tiff")


def _pixels(jpeg: bytes | None) -> np.ndarray:
    assert jpeg is not None
    with Image.open(io.BytesIO(jpeg)) as opened:
        assert set(opened.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        return np.asarray(opened.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("size_px", "last_level"),
    [((1, 1), 0), ((2, 1), 1), ((512, 512), 9), ((513, 4), 10), ((97792, 221184), 18)],
)
def test_the_first_level_is_one_pixel_and_the_last_the_slide(
    size_px: tuple[int, int], last_level: int
) -> None:
    zoom = DeepZoom(size_px)
    assert zoom.last_level == last_level
    assert zoom.factor(last_level) == 1
    assert zoom.box(0, 0, 0) == (0, 0, 1, 1)


@pytest.mark.parametrize("size_px", [(1, 1), (1299, 1100), (512, 1025), (513, 511)])
def test_the_squares_of_each_level_cover_it_once(size_px: tuple[int, int]) -> None:
    zoom = DeepZoom(size_px)
    for level in range(zoom.last_level + 1):
        seen = np.zeros([-(-side // zoom.factor(level)) for side in size_px[::-1]], dtype=int)
        for row in range(4):
            for column in range(4):
                box = zoom.box(level, column, row)
                if box is not None:
                    left, top, width, height = box
                    seen[top : top + height, left : left + width] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("square", [(-1, 0, 0), (12, 0, 0), (11, 3, 0), (11, 0, 3), (11, -1, 0), (11, 0, -1)])
def test_there_is_no_square_beyond_the_slide(square: tuple[int, int, int]) -> None:
    assert DeepZoom((1299, 1100)).box(*square) is None


def test_the_descriptor_names_size_and_squares() -> None:
    image = fromstring(DeepZoom((1299, 1100)).descriptor())
    assert image.attrib == {"Format": "jpeg", "Overlap": "0", "TileSize": str(TILE_PX)}
    assert image[0].attrib == {"Width": "1299", "Height": "1100"}


@pytest.mark.parametrize("square", [(11, 0, 0), (11, 1, 1), (11, 2, 2), (10, 1, 1), (8, 0, 0), (0, 0, 0)])
def test_a_square_shows_its_part_of_the_slide(run: ViewedRun, square: tuple[int, int, int]) -> None:
    with borrow_slide(run.slides["tumor 1"].source) as reader:
        drawn = _pixels(draw_tile(reader, square, None))
        zoom = DeepZoom(reader.info.size_px0)
        box = zoom.box(*square)
        assert box is not None
        scale = (float(zoom.factor(square[0])),) * 2
        wanted = read_scaled(reader, box[:2], box[2:], scale).astype(int)
    assert drawn.shape == wanted.shape
    assert abs(drawn - wanted).mean() < 6  # JPEG


def test_a_square_that_would_take_the_whole_of_a_single_level_is_too_coarse() -> None:
    single = _info((100_000, 80_000), (1,))
    assert [is_too_coarse(single, factor) for factor in (1, 4, 8, 16, 1024)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    pyramid = _info((100_000, 80_000), (1, 4, 16, 64))
    assert not any(is_too_coarse(pyramid, 2**power) for power in range(18))


def test_a_square_that_is_too_coarse_is_cut_from_the_overview(
    run: ViewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidepipe.viewer.deep_zoom.MOST_SOURCE_PX", 0)
    overview = Image.new("RGB", (130, 110), (0, 0, 255))
    overview.paste((255, 0, 0), (65, 0, 130, 110))
    with borrow_slide(run.slides["tumor 1"].source) as reader:
        whole = _pixels(draw_tile(reader, (9, 0, 0), overview))
        right = _pixels(draw_tile(reader, (11, 2, 0), overview))
    assert whole.shape == (275, 325, 3)
    assert abs(whole[:, :155] - (0, 0, 255)).max() < 12
    assert abs(whole[:, 170:] - (255, 0, 0)).max() < 12
    assert right.shape == (512, 275, 3)
    assert abs(right - (255, 0, 0)).max() < 12
