"""Masks from outlines must equal ASAP's, pixel for pixel."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slidepipe.slides.annotations import Outline, SlideAnnotation, read_annotation
from slidepipe.slides.rasterise import rasterise


def annotation(*outlines: tuple[list[tuple[float, float]], bool]) -> SlideAnnotation:
    return SlideAnnotation(
        "slide", tuple(Outline(np.array(points, dtype=np.float64), tumour, "") for points, tumour in outlines)
    )


def is_inside(x: float, y: float, points: np.ndarray) -> bool:
    """ASAP's test of one point, as its source has it."""
    low, high = points.min(axis=0), points.max(axis=0)
    if not (low[0] < x < high[0] and low[1] < y < high[1]):
        return False
    winding = 0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        winding += int(y0 <= y < y1 and side > 0) - int(y1 <= y < y0 and side < 0)
    return winding != 0


@pytest.mark.parametrize("level", [4, 5, 6])
def test_the_recorded_masks_of_splines_self_intersections_and_cut_outs_are_reproduced(
    shared_data: Path, level: int
) -> None:
    folder = shared_data / "froc" / "asap_xml"
    with Image.open(folder / f"mask_level{level}.png") as image:
        expected = np.asarray(image) > 0
    mask = rasterise(
        read_annotation(folder / "annotation.xml", "slide"), expected.shape, (2**level, 2**level)
    )
    np.testing.assert_array_equal(mask, expected)


def test_real_annotations_cover_the_recorded_number_of_pixels(shared_data: Path) -> None:
    counts = json.loads((shared_data / "froc" / "real_train_annotation_counts.json").read_text())
    with zipfile.ZipFile(shared_data / "camelyon16" / "train-tumor-annotations.zip") as archive:
        for number in (1, 6, 25, 39, 97, 106):
            content = json.loads(archive.read(f"Tumor_{number:03d}.json"))
            painted = annotation(
                *((each["vertices"], True) for each in content["positive"]),
                *((each["vertices"], False) for each in content["negative"]),
            )
            expected = counts[f"tumor_{number:03d}"]["n_tumor_px_level5"]
            assert rasterise(painted, (7000, 7000), (32, 32)).sum() == expected


# Eighths of a pixel: the test's own arithmetic is then exact, and points often lie on edges and corners.
coordinates = st.integers(-32, 192).map(lambda value: value / 8)
corners = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9)


@settings(max_examples=150, deadline=None)
@given(points=corners, step=st.sampled_from([(1.0, 1.0), (2.0, 2.0), (1.5, 0.75), (3.125, 2.875)]))
def test_every_pixel_answers_for_its_point(
    points: list[tuple[float, float]], step: tuple[float, float]
) -> None:
    mask = rasterise(annotation((points, True)), (22, 20), step)
    expected = [
        [is_inside(column * step[0], row * step[1], np.array(points)) for column in range(20)]
        for row in range(22)
    ]
    np.testing.assert_array_equal(mask, expected)


@settings(max_examples=50, deadline=None)
@given(points=corners)
def test_the_direction_in_which_an_outline_is_drawn_does_not_matter(
    points: list[tuple[float, float]],
) -> None:
    forwards = rasterise(annotation((points, True)), (22, 20), (1, 1))
    np.testing.assert_array_equal(forwards, rasterise(annotation((points[::-1], True)), (22, 20), (1, 1)))


def test_later_outlines_are_painted_over_earlier_ones() -> None:
    outer, inner = [(0, 0), (10, 0), (10, 10), (0, 10)], [(3, 3), (7, 3), (7, 7), (3, 7)]
    cut = rasterise(annotation((outer, True), (inner, False)), (11, 11), (1, 1))
    filled = rasterise(annotation((inner, False), (outer, True)), (11, 11), (1, 1))
    assert not cut[5, 5]
    assert cut[2, 2]
    assert filled[5, 5]


def test_an_outline_that_winds_twice_around_a_point_is_filled_there() -> None:
    star = [(10.0 + 9 * np.sin(k * 4 * np.pi / 5), 10.0 - 9 * np.cos(k * 4 * np.pi / 5)) for k in range(5)]
    assert rasterise(annotation((star, True)), (21, 21), (1, 1))[10, 10]


def test_only_the_part_inside_the_mask_is_painted() -> None:
    square = [(-50, -50), (500, -50), (500, 500), (-50, 500)]
    assert rasterise(annotation((square, True)), (4, 6), (10, 10)).all()
    far = [(1000, 1000), (1100, 1000), (1100, 1100)]
    assert not rasterise(annotation((far, True)), (4, 6), (10, 10)).any()


def test_outlines_without_area_and_no_outlines_give_an_empty_mask() -> None:
    assert not rasterise(annotation(([(1, 1), (9, 9)], True)), (10, 10), (1, 1)).any()
    assert not rasterise(annotation(([(1, 1), (9, 1), (5, 1)], True)), (10, 10), (1, 1)).any()
    assert not rasterise(annotation(), (10, 10), (1, 1)).any()


@pytest.mark.parametrize("step", [(0.0, 1.0), (1.0, -2.0), (float("nan"), 1.0)])
def test_an_impossible_step_is_refused(step: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        rasterise(annotation(), (4, 4), step)
