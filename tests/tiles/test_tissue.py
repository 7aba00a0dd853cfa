"""Tissue is found on drawn and on real slides, and measured exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slidepipe.geometry import PixelSize
from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.tiles.tissue import TissueMask, TissueSettings, detect_tissue

from .conftest import GLASS, MPP, PictureReader, draw_tissue

_METHODS = pytest.mark.parametrize("method", ["otsu", "ncrf"])


def _expected(shape: tuple[int, int], scale: float) -> np.ndarray:
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) * scale
    return ((x - 420) ** 2 + (y - 400) ** 2 < 260**2) | ((abs(x - 980) < 90) & (abs(y - 640) < 330))


@_METHODS
def test_drawn_tissue_is_found_where_it_was_drawn(method: str) -> None:
    found = detect_tissue(PictureReader(draw_tissue(), MPP), TissueSettings(method=method))  # type: ignore[arg-type]
    assert found.scale_px0 == (4.0, 4.0)
    assert found.mask.shape == (275, 325)
    expected = _expected((275, 325), 4)
    assert (found.mask & expected).sum() / (found.mask | expected).sum() > 0.97
    assert 0.05 < found.thresholds["saturation"] < 0.4


@_METHODS
@pytest.mark.parametrize("black", [False, True])
def test_an_empty_slide_has_no_tissue(method: str, black: bool) -> None:
    random = np.random.default_rng(1)
    pixels = np.clip(random.normal(GLASS, 2, (400, 500, 3)), 0, 255).astype(np.uint8)
    if black:
        pixels[:200] = random.integers(0, 30, (200, 500, 3))
    found = detect_tissue(PictureReader(pixels, 8.0), TissueSettings(method=method))  # type: ignore[arg-type]
    assert not found.mask.any()
    assert found.thresholds["saturation"] == pytest.approx(0.05, abs=0.005)


@_METHODS
def test_black_areas_that_were_not_scanned_are_background(method: str) -> None:
    pixels = draw_tissue()
    pixels[:, 1100:] = np.random.default_rng(1).integers(0, 40, (1100, 200, 3))
    settings = TissueSettings(method=method, ink=False)  # type: ignore[arg-type]
    found = detect_tissue(PictureReader(pixels, MPP), settings).mask
    assert not found[:, 276:].any()
    assert found[:, :250].mean() > 0.2


@_METHODS
def test_a_pen_mark_is_left_out_and_does_not_hide_pale_tissue(method: str) -> None:
    found = detect_tissue(PictureReader(_pale_with_pen(), MPP), TissueSettings(method=method)).mask  # type: ignore[arg-type]
    assert not found[:24].any()
    assert found[100, 100]


def test_without_the_ink_rule_the_pen_mark_is_all_that_is_found() -> None:
    found = detect_tissue(PictureReader(_pale_with_pen(), MPP), TissueSettings(ink=False)).mask
    assert found[8:22].mean() > 0.8
    assert not found[100, 100]


def _pale_with_pen() -> np.ndarray:
    pixels = draw_tissue()
    pixels[pixels[..., 1] < 180] = (228, 200, 220)
    pixels[30:90, 30:1200] = (20, 60, 200)
    return pixels


def test_dust_is_dropped_and_vessels_are_filled_by_their_size_in_micrometres() -> None:
    pixels = draw_tissue()
    pixels[20:36, 20:36] = (190, 110, 170)  # 32 µm square
    pixels[390:450, 390:450] = GLASS  # 120 µm square
    reader = PictureReader(pixels, MPP)
    cleaned = detect_tissue(reader, TissueSettings(median_um=0)).mask
    assert not cleaned[5:9, 5:9].any()
    assert cleaned[98:112, 98:112].all()
    raw = detect_tissue(reader, TissueSettings(median_um=0, min_object_um2=0, min_hole_um2=0)).mask
    assert raw[5:9, 5:9].all()
    assert not raw[98:112, 98:112].any()


def test_a_slide_coarser_than_the_mask_keeps_its_own_pixels() -> None:
    found = detect_tissue(PictureReader(draw_tissue(), 29.0), TissueSettings(min_hole_um2=0))
    assert found.scale_px0 == (1.0, 1.0)
    assert found.mask.shape == (1100, 1300)


@_METHODS
def test_tissue_of_a_real_slide_holds_its_annotated_lesions(shared_data: Path, method: str) -> None:
    folder = shared_data / "slides"
    with open_slide(SlideSource("tumor_072", str(folder / "tumor_072_level7_asap.tif"))) as reader:
        found = detect_tissue(reader, TissueSettings(method=method)).mask  # type: ignore[arg-type]
    with open_slide(SlideSource("mask", str(folder / "tumor_072_level7_mask.tif"), mpp=29.0)) as reader:
        lesions = reader.read_region((0, 0), 0, reader.info.size_px0)[: found.shape[0], : found.shape[1], 0]
    is_lesion = (lesions > 0) & (lesions < 255)
    assert is_lesion.any()
    found = found[: lesions.shape[0], : lesions.shape[1]]
    assert found[is_lesion].mean() > 0.97
    assert 0.1 < found.mean() < 0.3


def _fraction_by_hand(mask: TissueMask, x: float, y: float, width: float, height: float) -> float:
    rows, columns = mask.mask.shape
    sx, sy = mask.scale_px0

    def overlap(start: float, length: float, n: int, s: float) -> np.ndarray:
        edges = np.arange(n + 1) * s
        return np.clip(np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start), 0, None)

    across, down = overlap(x, width, columns, sx), overlap(y, height, rows, sy)
    inside = across.sum() * down.sum()
    return float(down @ mask.mask @ across / inside) if inside > 0 else 0.0


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.bool_, (5, 7)),
    st.tuples(st.floats(0.5, 40), st.floats(0.5, 40)),
    st.tuples(st.floats(-50, 300), st.floats(-50, 300)),
    st.tuples(st.floats(0.1, 200), st.floats(0.1, 200)),
)
def test_the_fraction_of_a_rectangle_is_exact(
    pixels: np.ndarray, scale: tuple[float, float], origin: tuple[float, float], size: tuple[float, float]
) -> None:
    mask = TissueMask(pixels, scale)
    expected = _fraction_by_hand(mask, *origin, *size)
    got = mask.fraction(*origin, *size)
    assert got.shape == ()
    if min(_inside(mask, origin, size)) > 1e-3:
        assert float(got) == pytest.approx(expected, abs=1e-6)
    assert 0 <= got <= 1


def _inside(mask: TissueMask, origin: tuple[float, float], size: tuple[float, float]) -> list[float]:
    """Sides of the part of a rectangle that lies on the slide, in mask pixels; tiny ones are dominated by
    rounding."""
    lengths = (mask.mask.shape[1], mask.mask.shape[0])
    return [
        min((start + side) / s, length) - max(start / s, 0)
        for start, side, s, length in zip(origin, size, mask.scale_px0, lengths, strict=True)
    ]


def test_rectangles_beyond_the_slide_have_no_tissue_and_its_edge_does_not_count_against_them() -> None:
    mask = TissueMask(np.ones((4, 4), bool), (10.0, 10.0))
    np.testing.assert_array_equal(mask.fraction([0, 35, 40, -20], [0, 0, 0, 0], 10, 10), [1, 1, 0, 0])


def test_a_margin_is_counted_in_micrometres_along_each_axis() -> None:
    pixels = np.zeros((9, 9), bool)
    pixels[4, 4] = True
    grown = TissueMask(pixels, (8.0, 16.0)).grown(4.0, PixelSize(0.25, 0.25))
    assert grown.mask[3:6, 2:7].all()
    assert grown.mask.sum() == 3 * 5


def test_rectangles_are_added_in_whole_pixels_and_may_reach_beyond_the_slide() -> None:
    mask = TissueMask(np.zeros((4, 5), bool), (10.0, 10.0))
    added = mask.with_rectangles([(-20, -20, 5, 5), (39, 10, 99, 21)]).mask
    assert np.argwhere(added).tolist() == [[0, 0], [1, 3], [1, 4], [2, 3], [2, 4]]
    assert not mask.mask.any()
