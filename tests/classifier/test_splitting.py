from collections.abc import Sequence

import numpy as np
import pytest

from slidepipe.classifier.points import SlidePoints
from slidepipe.classifier.splitting import split_slides
from slidepipe.errors import ModelError
from slidepipe.geometry import PixelSize

ROW = np.column_stack((np.arange(0, 1000, 10), np.zeros(100))).astype(np.int32)
NOTHING = np.zeros((0, 2), dtype=np.int32)


def slide(name: str, centre: str | None = None, *, tumour: bool = False, normal: bool = True) -> SlidePoints:
    points = (ROW if tumour else NOTHING, ROW if normal else NOTHING)
    return SlidePoints(name, "", "", centre, PixelSize(1, 1), points[0], points[1], NOTHING, NOTHING)


def cohort(normal: int, tumour: int, centre: str = "0") -> list[SlidePoints]:
    return [slide(f"normal_{centre}_{i}", centre) for i in range(normal)] + [
        slide(f"tumor_{centre}_{i}", centre, tumour=True) for i in range(tumour)
    ]


def names(slides: Sequence[SlidePoints]) -> set[str]:
    return {one.slide_id for one in slides}


def test_no_slide_is_on_both_sides_and_none_is_lost() -> None:
    slides = cohort(6, 5)
    split = split_slides(slides, 0.25, 10, seed=0)
    assert split.by == "slide"
    assert names(split.train) | names(split.validation) == names(slides)
    assert not names(split.train) & names(split.validation)


def test_each_centre_and_kind_gives_its_share() -> None:
    split = split_slides(cohort(8, 8, "0") + cohort(4, 4, "1"), 0.25, 10, seed=3)
    kinds = [(one.centre, one.slide_id.split("_")[0]) for one in split.validation]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        ("0", "normal"): 2,
        ("0", "tumor"): 2,
        ("1", "normal"): 1,
        ("1", "tumor"): 1,
    }


def test_four_slides_leave_one_of_each_kind_for_validation() -> None:
    split = split_slides(cohort(2, 2), 0.05, 10, seed=0)
    assert sorted(one.slide_id.split("_")[0] for one in split.validation) == ["normal", "tumor"]


def test_the_split_does_not_depend_on_the_order_of_the_slides_but_on_the_seed() -> None:
    slides = cohort(8, 8)
    kept = names(split_slides(slides, 0.25, 10, seed=0).validation)
    assert kept == names(split_slides(slides[::-1], 0.25, 10, seed=0).validation)
    assert any(kept != names(split_slides(slides, 0.25, 10, seed=seed).validation) for seed in (1, 2, 3))


def test_too_few_slides_are_split_into_regions_that_no_patch_bridges() -> None:
    split = split_slides(cohort(1, 1), 0.25, 50, seed=0)
    assert split.by == "region"
    assert names(split.train) == names(split.validation) == {"normal_0_0", "tumor_0_0"}
    for left, right in zip(split.train, split.validation, strict=True):
        assert left.normal[:, 0].max() + 50 <= right.normal[:, 0].min() - 50
        assert len(left.normal) > len(right.normal) > 0


def test_one_normal_slide_is_trained_on_if_tumour_slides_give_normal_patches_for_validation() -> None:
    split = split_slides(cohort(1, 4), 0.25, 10, seed=0)
    assert split.by == "slide"
    assert "normal_0_0" in names(split.train)


@pytest.mark.parametrize(
    ("slides", "missing"),
    [
        (cohort(3, 0), "no tumour patch"),
        ([slide("tumor_0", tumour=True, normal=False)], "no normal patch"),
        ([], "no"),
    ],
)
def test_a_missing_class_is_an_error_that_counts_points_per_slide(
    slides: list[SlidePoints], missing: str
) -> None:
    with pytest.raises(ModelError, match=missing) as caught:
        split_slides(slides, 0.25, 10, seed=0)
    for one in slides:
        assert f"{one.slide_id}: {len(one.tumour)} tumour, {len(one.normal)} normal points" in str(
            caught.value
        )


def test_slides_too_small_for_two_regions_are_an_error() -> None:
    with pytest.raises(ModelError, match="not even as two regions"):
        split_slides(cohort(1, 1), 0.25, 2000, seed=0)
