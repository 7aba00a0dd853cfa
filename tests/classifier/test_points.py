from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.classifier.points import TrainingSlide, common_pixel_size, find_points, patch_reach
from slidepipe.classifier.sampling import draw_patches
from slidepipe.classifier.settings import PatchSettings
from slidepipe.errors import ModelError
from slidepipe.slides.outlines import SlideAnnotation

MakeSlide = Callable[..., TrainingSlide]
SETTINGS = PatchSettings(patch_px=96)
PAD = 200


@pytest.mark.parametrize("patch_px", [63, 64, 95, 96, 97, 100])
def test_every_tumour_patch_has_tumour_in_its_centre_third_and_no_normal_patch_has_any(
    make_slide: MakeSlide, tumour_mask: NDArray[np.bool_], patch_px: int
) -> None:
    settings = PatchSettings(patch_px=patch_px)
    points = find_points(make_slide("tumor_1"), settings, seed=0)
    draw = draw_patches([points], 400, settings, np.random.default_rng(0))
    for (x, y), is_tumour in zip(draw.corner + PAD, draw.is_tumour, strict=True):
        patch = tumour_mask[y : y + patch_px, x : x + patch_px]
        first, end = -(-patch_px // 3), -(-2 * patch_px // 3)
        assert patch[first:end, first:end].any() if is_tumour else not patch.any()


def test_some_tumour_patches_touch_tumour_with_the_rim_of_their_centre_only(
    make_slide: MakeSlide, tumour_mask: NDArray[np.bool_]
) -> None:
    points = find_points(make_slide("tumor_1"), SETTINGS, seed=0)
    draw = draw_patches([points], 1000, SETTINGS, np.random.default_rng(0))
    centres = draw.corner[draw.is_tumour] + PAD + 48
    assert not tumour_mask[centres[:, 1], centres[:, 0]].all()


def test_under_the_rule_fraction_a_tumour_patch_holds_about_that_much(
    make_slide: MakeSlide, tumour_mask: NDArray[np.bool_]
) -> None:
    settings = PatchSettings(patch_px=96, label_rule="fraction", tumour_fraction=0.75)
    draw = draw_patches(
        [find_points(make_slide("tumor_1"), settings, 0)], 400, settings, np.random.default_rng(0)
    )
    shares = [tumour_mask[y : y + 96, x : x + 96].mean() for x, y in draw.corner[draw.is_tumour] + PAD]
    assert min(shares) > 0.75 - 2 / 12
    assert min(shares) < 0.85


def test_all_of_the_tissue_of_a_normal_slide_is_normal(make_slide: MakeSlide) -> None:
    points = find_points(make_slide("normal_1"), SETTINGS, seed=0)
    assert len(points.tumour) == 0
    assert len(points.normal) == (512 // 16) ** 2
    assert points.normal.min() == 64
    assert points.normal.max() == 560


def test_a_slide_that_is_not_exhaustively_annotated_gives_tumour_only(make_slide: MakeSlide) -> None:
    slide = make_slide("tumor_1")
    assert len(find_points(slide, SETTINGS, seed=0).normal)
    points = find_points(replace(slide, exhaustive=False), SETTINGS, seed=0)
    assert len(points.tumour) == 100
    assert len(points.normal) == 0


@pytest.mark.parametrize("annotation", [None, SlideAnnotation("tumor_1", ())])
def test_a_tumour_slide_without_outlines_is_not_used_and_says_why(
    make_slide: MakeSlide, annotation: SlideAnnotation | None
) -> None:
    points = find_points(replace(make_slide("tumor_1"), annotation=annotation), SETTINGS, seed=0)
    assert not len(points.tumour)
    assert not len(points.normal)
    assert "annotation" in points.unused


def test_a_normal_slide_with_tumour_outlines_is_a_contradiction(make_slide: MakeSlide) -> None:
    with pytest.raises(ModelError, match="tumor_1 is labelled normal, but"):
        find_points(replace(make_slide("tumor_1"), label="normal"), SETTINGS, seed=0)


def test_no_patch_can_touch_a_damaged_tile(make_slide: MakeSlide) -> None:
    points = find_points(make_slide("normal_1", damaged=[(2, 2)]), SETTINGS, seed=0).normal
    reach = patch_reach(SETTINGS)
    near = (points > 256 - reach).all(axis=1) & (points < 384 + reach).all(axis=1)
    assert len(points)
    assert not near.any()
    assert ((points > 256 - reach - 32).all(axis=1) & (points < 384 + reach + 32).all(axis=1)).any()


def test_points_near_tumour_are_normal_points_within_two_patches(
    make_slide: MakeSlide, annotate: Callable[..., SlideAnnotation]
) -> None:
    slide = replace(make_slide("tumor_1"), annotation=annotate("tumor_1", 64, 96))
    points = find_points(slide, SETTINGS, seed=0)
    near = {tuple(point) for point in points.near_tumour.tolist()}
    assert near < {tuple(point) for point in points.normal.tolist()}
    assert max(max(point) for point in near) <= 96 + patch_reach(SETTINGS) + 2 * 96


def test_hard_negatives_count_where_tissue_is_normal(make_slide: MakeSlide) -> None:
    in_tumour, in_tissue, on_glass, beyond = (280, 280), (500, 501), (20, 20), (9999, 9999)
    mined = replace(make_slide("tumor_1"), hard_negatives_px0=(in_tumour, in_tissue, on_glass, beyond))
    points = find_points(mined, SETTINGS, seed=0)
    assert len(points.hard) == 1
    assert np.abs(points.hard[0] - in_tissue).max() <= SETTINGS.patch_px // 12
    normal = replace(make_slide("normal_1"), hard_negatives_px0=(in_tumour, in_tissue))
    assert len(find_points(normal, SETTINGS, seed=0).hard) == 2


def test_the_points_of_a_slide_depend_on_its_name_and_the_seed(
    make_slide: MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidepipe.classifier.points._MOST_POINTS", 50)
    slide = make_slide("normal_1")
    points = find_points(slide, SETTINGS, seed=0).normal
    assert len(points) == 50
    assert np.array_equal(points, find_points(slide, SETTINGS, seed=0).normal)
    assert not np.array_equal(points, find_points(slide, SETTINGS, seed=1).normal)
    assert not np.array_equal(
        points, find_points(replace(slide, slide_id="normal_2"), SETTINGS, seed=0).normal
    )


def test_pixel_sizes_are_averaged_or_refused_with_both_numbers(make_slide: MakeSlide) -> None:
    slides = [
        find_points(make_slide(f"normal_{um}", pixel_um=um), SETTINGS, seed=0) for um in (0.226, 0.243, 0.5)
    ]
    mpp, mpp_range = common_pixel_size(slides[:2])
    assert mpp == pytest.approx((0.226 * 0.243) ** 0.5)
    assert mpp_range == (0.226, 0.243)
    with pytest.raises(ModelError, match=r"0.226 µm on normal_0.226 and 0.5 µm on normal_0.5"):
        common_pixel_size(slides)
