"""Small pictures: what they show, what they give up, and how many bytes they take."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from slidepipe.errors import ExportError
from slidepipe.export.slide_pictures import (
    HEATMAP_SIDE_PX,
    THUMBNAIL_SIDE_PX,
    colour_stops,
    data_url,
    draw_heatmap,
    fit_thumbnail,
    outline_path,
    probability_colours,
)
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap


def _heatmap(probability: NDArray[np.float32], cell_px0: float = 100.0) -> Heatmap:
    rows, columns = probability.shape
    size = (int(columns * cell_px0), int(rows * cell_px0))
    return Heatmap("slide_1", probability, (cell_px0, cell_px0), PixelSize(0.25, 0.25), size)


def _pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def _noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(shape)


def _jpeg(pixels: NDArray[np.uint8], **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def test_cells_that_were_not_looked_at_are_transparent_and_improbable_ones_are_not() -> None:
    colours = probability_colours(np.array([[np.nan, 0.0, 1.0]], dtype=np.float32))
    assert colours.shape == (1, 3, 4)
    assert colours[0, :, 3].tolist() == [0, 255, 255]
    assert colours[0, 0].tolist() == [0, 0, 0, 0]
    assert colours[0, 1, :3].sum() < 10
    assert colours[0, 2, :3].sum() > 600


def test_the_colour_of_a_probability_does_not_depend_on_the_other_cells() -> None:
    alone = probability_colours(np.array([0.4], dtype=np.float32))
    among = probability_colours(np.array([0.1, 0.4, 0.9], dtype=np.float32))
    assert alone[0].tolist() == among[1].tolist()


@pytest.mark.parametrize("wrong", [-0.01, 1.01])
def test_a_probability_outside_0_to_1_is_refused_with_its_value(wrong: float) -> None:
    with pytest.raises(ExportError, match=re.escape(f"{wrong:g}")):
        draw_heatmap(_heatmap(np.array([[0.5, wrong]], dtype=np.float32)), 10_000)


def test_colour_stops_run_from_dark_to_light() -> None:
    stops = colour_stops(3)
    assert [len(stop) for stop in stops] == [7, 7, 7]
    brightness = [sum(bytes.fromhex(stop[1:])) for stop in stops]
    assert brightness == sorted(brightness)


def test_a_small_heatmap_is_drawn_cell_by_cell() -> None:
    probability = np.array([[0.0, 0.5, 1.0], [np.nan, np.nan, 0.25]], dtype=np.float32)
    picture = draw_heatmap(_heatmap(probability), 10_000)
    pixels = _pixels(picture.png)
    assert picture.size_px == (3, 2)
    assert picture.cells_per_pixel == 1
    assert picture.extent_px0 == (300.0, 200.0)
    assert (pixels[..., 3] == np.where(np.isnan(probability), 0, 255)).all()
    looked_at = ~np.isnan(probability)
    wanted = probability_colours(probability)[looked_at].astype(int)
    assert np.abs(pixels[looked_at].astype(int) - wanted).max() <= 5


def test_a_single_hot_cell_of_a_large_heatmap_stays_hot() -> None:
    probability = np.zeros((2100, 900), dtype=np.float32)
    probability[1234, 567] = 1.0
    probability[:50] = np.nan
    picture = draw_heatmap(_heatmap(probability), 10_000)
    factor = picture.cells_per_pixel
    assert max(picture.size_px) <= HEATMAP_SIDE_PX
    assert factor == 6
    pixels = _pixels(picture.png)
    hottest = np.unravel_index(int(pixels[..., :3].sum(axis=2).argmax()), pixels.shape[:2])
    assert tuple(int(index) for index in hottest) == (1234 // factor, 567 // factor)
    assert pixels[50 // factor - 1, 0, 3] == 0
    assert pixels[50 // factor, 0, 3] == 255


def test_the_extent_counts_the_last_pixel_even_if_cells_fill_it_only_in_part() -> None:
    picture = draw_heatmap(_heatmap(np.zeros((401, 7), dtype=np.float32)), 10_000)
    assert picture.cells_per_pixel == 2
    assert picture.size_px == (4, 201)
    assert picture.extent_px0 == (800.0, 40_200.0)


@pytest.mark.parametrize("max_bytes", [1024, 4000, 20_000])
def test_a_noisy_heatmap_fits_the_bytes_allowed(max_bytes: int) -> None:
    heatmap = _heatmap(_noise((390, 390)).astype(np.float32))
    picture = draw_heatmap(heatmap, max_bytes)
    assert len(picture.png) <= max_bytes
    assert picture.png == draw_heatmap(heatmap, max_bytes).png


def test_a_heatmap_without_cells_is_refused() -> None:
    with pytest.raises(ExportError, match="slide_1"):
        draw_heatmap(_heatmap(np.empty((0, 4), dtype=np.float32)), 10_000)


def test_too_few_bytes_are_refused_rather_than_searched_for_without_end() -> None:
    with pytest.raises(ExportError, match="1024"):
        draw_heatmap(_heatmap(np.zeros((2, 2), dtype=np.float32)), 1023)
    with pytest.raises(ExportError, match="1024"):
        fit_thumbnail(_jpeg(np.zeros((8, 8, 3), dtype=np.uint8)), 1023, "slide_1")


@pytest.mark.parametrize("max_bytes", [1024, 5000, 22_000])
def test_a_noisy_thumbnail_fits_the_bytes_allowed_and_keeps_its_shape(max_bytes: int) -> None:
    pixels = (_noise((500, 1000, 3)) * 255).astype(np.uint8)
    jpeg = fit_thumbnail(_jpeg(pixels), max_bytes, "slide_1")
    image = Image.open(io.BytesIO(jpeg))
    assert len(jpeg) <= max_bytes
    assert max(image.size) <= THUMBNAIL_SIDE_PX
    assert image.size[0] / image.size[1] == pytest.approx(2, rel=0.15)


def test_a_thumbnail_is_read_from_a_file_as_from_bytes(tmp_path: Path) -> None:
    content = _jpeg((_noise((40, 60, 3)) * 255).astype(np.uint8))
    (tmp_path / "thumbnail.jpg").write_bytes(content)
    from_file = fit_thumbnail(tmp_path / "thumbnail.jpg", 22_000, "slide_1")
    assert from_file == fit_thumbnail(content, 22_000, "slide_1")
    assert Image.open(io.BytesIO(from_file)).size == (60, 40)


def test_what_is_hidden_in_a_thumbnail_does_not_get_out() -> None:
    exif = Image.Exif()
    exif[0x010E] = "PATIENT NAME"
    hidden = {"comment": b"PATIENT NAME", "icc_profile": b"PATIENT NAME"}
    content = _jpeg(np.full((32, 32, 3), 200, dtype=np.uint8), exif=exif, **hidden)
    assert content.count(b"PATIENT NAME") == 3
    assert b"PATIENT" not in fit_thumbnail(content, 22_000, "slide_1")


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", _jpeg(np.zeros((64, 64, 3), dtype=np.uint8))[:200]]
)
def test_a_damaged_thumbnail_is_an_error_that_names_the_slide(content: bytes) -> None:
    with pytest.raises(ExportError, match=r"slide_1.*run tile again"):
        fit_thumbnail(content, 22_000, "slide_1")


def test_a_missing_thumbnail_is_an_error_that_names_the_slide(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="slide_1"):
        fit_thumbnail(tmp_path / "missing.jpg", 22_000, "slide_1")


def test_a_data_url_carries_the_bytes() -> None:
    assert data_url(b"\x00\xff", "image/png") == "data:image/png;base64,AP8="


def test_an_outline_becomes_a_closed_path_of_steps() -> None:
    square = [(0, 0), (100, 0), (100, 100), (0, 100)]
    assert outline_path([square], 10.0) == "M0 0l10 0l0 10l-10 0z"


def test_repeated_and_collinear_points_are_left_out() -> None:
    square = [(0, 0), (50, 0), (52, 1), (100, 0), (100, 100), (100, 100), (0, 100), (0, 0)]
    assert outline_path([np.array(square, dtype=np.float64)], 10.0) == "M10 0l0 10l-10 0l0 -10z"


def test_an_outline_smaller_than_a_unit_stays_as_a_point() -> None:
    assert outline_path([[(41, 41), (43, 41), (43, 43)]], 10.0) == "M4 4z"


def test_a_thin_outline_stays_as_a_line() -> None:
    assert outline_path([[(0, 0), (100, 0), (100, 1), (0, 1)]], 10.0) == "M10 0l-10 0z"


def test_no_outline_is_an_empty_path() -> None:
    assert outline_path([], 10.0) == ""
    assert outline_path([[]], 10.0) == ""
