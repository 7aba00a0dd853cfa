"""Reference lesions: the organisers' components, ITC and long axes."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.masks import paint_mask
from slidepipe.evaluation.reference import ReferenceLesions, find_reference_lesions
from slidepipe.evaluation.rules import OFFICIAL_PIXEL_UM
from slidepipe.slides.annotations import Outline, SlideAnnotation


def whole(lesions: ReferenceLesions) -> np.ndarray:
    labels = np.zeros(lesions.shape, dtype=np.int64)
    top, left = lesions.origin
    height, width = lesions.labels.shape
    labels[top : top + height, left : left + width] = lesions.labels
    return labels


def square(*corners: tuple[int, int], side: int = 40, shape: tuple[int, int] = (200, 240)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    for row, column in corners:
        mask[row : row + side, column : column + side] = True
    return mask


def test_label_images_and_measurements_equal_the_recorded_ones(vectors: dict) -> None:
    compared = 0
    for vector in vectors.values():
        for slide in vector.slides:
            recorded = vector.folder / "expected_eval_mask" / f"{slide['name']}.png"
            if not recorded.exists():
                continue
            with Image.open(vector.folder / slide["mask"]) as mask, Image.open(recorded) as labels:
                lesions = find_reference_lesions(np.asarray(mask) == 255, OFFICIAL_PIXEL_UM, phantom=True)
                np.testing.assert_array_equal(whole(lesions), np.asarray(labels), err_msg=vector.name)
            for index, component in enumerate(
                vector.runs["py36.A_ncrf"].get("components", {}).get(slide["name"], [])
            ):
                assert lesions.area_px[index] == component["area"]
                assert lesions.axis_px[index] == pytest.approx(component["major_axis_length"], rel=1e-12)
                assert lesions.is_itc[index] == component["itc"]
                compared += 1
    assert compared > 40


def real_annotations(shared_data: Path) -> Iterator[SlideAnnotation]:
    with zipfile.ZipFile(shared_data / "camelyon16" / "train-tumor-annotations.zip") as archive:
        for name in sorted(archive.namelist()):
            content = json.loads(archive.read(name))
            yield SlideAnnotation(
                Path(name).stem.lower(),
                tuple(
                    Outline(np.array(each["vertices"], dtype=np.float64), kind == "positive", kind)
                    for kind in ("positive", "negative")
                    for each in content[kind]
                ),
            )


@pytest.mark.slow
def test_the_110_real_training_annotations_give_the_recorded_counts(shared_data: Path) -> None:
    expected = json.loads((shared_data / "froc" / "real_train_annotation_counts.json").read_text())
    polygons, totals = 0, np.zeros(3, dtype=np.int64)
    for annotation in real_annotations(shared_data):
        mask = paint_mask(annotation, 5, None, None).is_tumour
        lesions = find_reference_lesions(mask, 0.243 * 32)
        n_itc = int(lesions.is_itc.sum())
        found = (len(lesions.area_px), n_itc, len(lesions.area_px) - n_itc)
        wanted = expected[annotation.slide_id]
        keys = ("components_0.243", "itc_0.243", "targets_0.243")
        assert found == tuple(wanted[key] for key in keys), annotation.slide_id
        polygons += sum(outline.is_tumour for outline in annotation.outlines)
        totals += found
    assert (polygons, *totals) == (2163, 897, 400, 497)


def test_real_annotations_give_the_recorded_counts_at_both_spacings(shared_data: Path) -> None:
    expected = json.loads((shared_data / "froc" / "real_train_annotation_counts.json").read_text())
    wanted_slides = {"tumor_008", "tumor_017", "tumor_036", "tumor_065", "tumor_097", "tumor_106"}
    for annotation in real_annotations(shared_data):
        if annotation.slide_id not in wanted_slides:
            continue
        mask = paint_mask(annotation, 5, None, None).is_tumour
        for spacing in ("0.243", "0.226"):
            lesions = find_reference_lesions(mask, float(spacing) * 32)
            wanted = expected[annotation.slide_id]
            found = (len(lesions.area_px), int(lesions.is_itc.sum()))
            assert found == (wanted[f"components_{spacing}"], wanted[f"itc_{spacing}"])


@pytest.mark.parametrize(("gap", "count"), [(8, 1), (9, 2)])
def test_straight_gaps_of_eight_pixels_merge_and_of_nine_do_not(gap: int, count: int) -> None:
    mask = square((50, 50), (50, 90 + gap))
    assert len(find_reference_lesions(mask, OFFICIAL_PIXEL_UM).area_px) == count


def test_growth_is_that_of_a_distance_transform() -> None:
    generator = np.random.default_rng(3)
    for pixel_um in (7.776, 7.232, 3.1, 15.0, 40.0):
        mask = generator.random((90, 110)) < 0.003
        grown = ndimage.binary_fill_holes(ndimage.distance_transform_edt(~mask) < 75 / (2 * pixel_um))
        np.testing.assert_array_equal(whole(find_reference_lesions(mask, pixel_um)) > 0, grown)


def test_a_hole_is_filled_and_one_that_touches_the_edge_is_not() -> None:
    ring = square((60, 60), side=80)
    ring[80:120, 80:120] = False
    assert whole(find_reference_lesions(ring, OFFICIAL_PIXEL_UM))[100, 100] == 1
    bay = np.zeros((200, 200), dtype=np.bool_)
    bay[0:100, 50:60] = bay[0:100, 140:150] = bay[90:100, 50:150] = True
    assert whole(find_reference_lesions(bay, OFFICIAL_PIXEL_UM))[40, 100] == 0


def test_the_window_changes_nothing() -> None:
    generator = np.random.default_rng(5)
    small = ndimage.gaussian_filter(generator.normal(size=(120, 140)), 4) > 0.06
    large = np.zeros((600, 700), dtype=np.bool_)
    large[200:320, 300:440] = small
    near, far = find_reference_lesions(small, 7.776), find_reference_lesions(large, 7.776)
    # At the edge of the small mask lesions are cut off; compare those that lie well inside.
    inside = slice(30, 90), slice(30, 110)
    shifted = slice(230, 290), slice(330, 410)
    np.testing.assert_array_equal(whole(near)[inside] > 0, whole(far)[shifted] > 0)


def test_lesions_are_numbered_row_by_row_and_found_again_by_pixel() -> None:
    lesions = find_reference_lesions(square((120, 20), (20, 120)), OFFICIAL_PIXEL_UM)
    rows, columns = np.array([130, 30, 0, -1, 500]), np.array([30, 130, 0, 5, 500])
    assert lesions.label_at(rows, columns).tolist() == [2, 1, 0, 0, 0]


def test_diameters_leave_out_the_growth() -> None:
    mask = np.zeros((200, 400), dtype=np.bool_)
    mask[100:104, 50:350] = True
    diameter = find_reference_lesions(mask, 7.776).diameter_um[0]
    # A thin bar of length l has a population standard deviation of l/√12, so the axis is 4/√12 of its length.
    assert diameter == pytest.approx(4 / np.sqrt(12) * 308 * 7.776 - 75, rel=0.01)


def test_a_mask_without_tumour_is_refused_or_imitates_the_scripts() -> None:
    empty = np.zeros((100, 100), dtype=np.bool_)
    with pytest.raises(EvaluationError, match="no tumour"):
        find_reference_lesions(empty, OFFICIAL_PIXEL_UM)
    phantom = find_reference_lesions(empty, OFFICIAL_PIXEL_UM, phantom=True)
    assert phantom.area_px.tolist() == [17]
    assert phantom.is_itc.all()
