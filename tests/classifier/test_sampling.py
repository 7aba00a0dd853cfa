from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidepipe.classifier.points import SlidePoints, TrainingSlide, find_points, largest_shift
from slidepipe.classifier.sampling import PatchDraw, draw_patches, read_patches
from slidepipe.classifier.settings import PatchSettings
from slidepipe.tiles.store import open_tile_store

SETTINGS = PatchSettings(patch_px=64)


@pytest.fixture
def slides(make_slide: Callable[..., TrainingSlide]) -> list[SlidePoints]:
    names = ("normal_1", "normal_2", "tumor_1")
    return [find_points(make_slide(name, seed=i), SETTINGS, seed=0) for i, name in enumerate(names)]


def draw(slides: list[SlidePoints], count: int, seed: int = 0, **settings: float) -> PatchDraw:
    return draw_patches(slides, count, PatchSettings(patch_px=64, **settings), np.random.default_rng(seed))


def test_classes_have_their_share_and_slides_the_same_number(slides: list[SlidePoints]) -> None:
    drawn = draw(slides, 100, positive_share=0.3)
    assert drawn.is_tumour.sum() == 30
    assert set(drawn.slide[drawn.is_tumour]) == {2}
    normal = np.bincount(drawn.slide[~drawn.is_tumour])
    assert normal.sum() == 70
    assert normal.max() - normal.min() <= 1


def test_both_classes_are_drawn_however_small_the_share(slides: list[SlidePoints]) -> None:
    assert draw(slides, 10, positive_share=0.001).is_tumour.sum() == 1
    assert draw(slides, 10, positive_share=0.999).is_tumour.sum() == 9


def test_patches_come_in_random_order(slides: list[SlidePoints]) -> None:
    drawn = draw(slides, 100)
    assert 10 < np.count_nonzero(np.diff(drawn.is_tumour)) < 90


def test_equal_generators_draw_equal_patches(slides: list[SlidePoints]) -> None:
    first, second, other = draw(slides, 50, seed=1), draw(slides, 50, seed=1), draw(slides, 50, seed=2)
    assert np.array_equal(first.corner, second.corner)
    assert np.array_equal(first.is_tumour, second.is_tumour)
    assert not np.array_equal(first.corner, other.corner)


def test_more_patches_than_points_can_be_drawn(slides: list[SlidePoints]) -> None:
    count = 4 * len(slides[2].tumour)
    assert len(np.unique(draw(slides, count).corner, axis=0)) > 0.8 * count


def test_the_wanted_share_of_normal_patches_lies_near_tumour(slides: list[SlidePoints]) -> None:
    near = slides[2].near_tumour
    assert len(near) > 0
    far = replace(slides[2], normal=np.full((1, 2), 9999, np.int32))
    drawn = draw([far], 200, near_tumour_share=0.75)
    assert (drawn.corner[~drawn.is_tumour] < 9000).all(axis=1).mean() == 0.75


def test_hard_negatives_are_drawn_once_each_until_they_have_their_share(slides: list[SlidePoints]) -> None:
    def drawn_of_first(hard: int, share: float) -> np.ndarray:
        points = np.full((hard, 2), 9999, np.int32) + np.arange(hard, dtype=np.int32)[:, None] * 100
        drawn = draw([replace(slides[0], hard=points), *slides[1:]], 300, hard_negative_share=share)
        centres = (
            drawn.corner[(drawn.slide == 0) & (drawn.corner > 9000).all(axis=1)] + SETTINGS.patch_px // 2
        )
        near = np.abs(centres[:, None] - points[None]).max(axis=2) < largest_shift(SETTINGS)
        assert near.any(axis=1).all()
        return near.sum(axis=0)

    assert drawn_of_first(hard=10, share=0.5).tolist() == [1] * 10
    assert drawn_of_first(hard=40, share=0.5).sum() == 25  # half of a third of the normal half
    assert drawn_of_first(hard=40, share=0.0).sum() == 0


def test_patches_are_the_pixels_of_the_store_in_the_order_of_the_draw(slides: list[SlidePoints]) -> None:
    drawn = draw(slides, 40)
    patches = read_patches(slides, drawn, 64)
    for patch, slide, (x, y) in zip(patches, drawn.slide, drawn.corner.tolist(), strict=True):
        with open_tile_store(Path(slides[slide].store)) as store:
            assert np.array_equal(patch, store.read_window(x, y, 64, 64))


def test_a_patch_beyond_the_slide_is_white(slides: list[SlidePoints]) -> None:
    beyond = PatchDraw(np.array([0]), np.array([[-100, 5000]]), np.array([False]))
    assert (read_patches(slides, beyond, 64) == 255).all()
