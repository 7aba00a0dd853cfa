"""What a pathologist asks."""

from collections.abc import Callable

import pytest

from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.reading_load import reading_load

MakeHits = Callable[..., SlideHits]


@pytest.fixture
def slides(make_hits: MakeHits) -> list[SlideHits]:
    """Two slides with tumour, three without."""
    return [
        make_hits("a", [0.9, 0.4, None], [0.7], diameters=[3000.0, 600.0, 50.0]),
        make_hits("b", [0.8, 0.0], [], diameters=[1200.0, 450.0]),
        make_hits("c", None, [0.6, 0.3]),
        make_hits("d", None, [0.2]),
        make_hits("e", None, []),
    ]


def test_false_positives_are_counted_at_the_threshold(slides: list[SlideHits]) -> None:
    load = reading_load(slides, 0.5, 0.75)
    assert load.false_positives_per_slide == pytest.approx(2 / 5)
    assert load.false_positives_per_normal_slide == pytest.approx(1 / 3)
    assert load.share_without_false_positive == pytest.approx(3 / 5)
    assert load.share_of_normal_without_false_positive == pytest.approx(2 / 3)


def test_missed_lesions_are_counted_by_size(slides: list[SlideHits]) -> None:
    load = reading_load(slides, 0.5, 0.75)
    sizes = [(each.low_um, each.n_lesions, each.n_missed) for each in load.lesions_by_size]
    assert sizes == [(0, 1, 1), (500, 1, 1), (1000, 1, 0), (2000, 1, 0)]
    assert (load.n_targets, load.n_missed) == (4, 2)


def test_regions_are_looked_at_strongest_first(slides: list[SlideHits]) -> None:
    load = reading_load(slides, 0.5, 0.75)
    # 3 of 4 lesions need everything down to 0.4: 0.9, 0.8, 0.7, 0.6, 0.4.
    assert (load.regions_to_look_at, load.threshold_for_share, load.regions_per_slide) == (5, 0.4, 1.0)
    assert reading_load(slides, 0.5, 0.5).regions_to_look_at == 2


def test_a_share_that_is_never_reached_is_said_so(slides: list[SlideHits]) -> None:
    load = reading_load(slides, 0.5, 0.95)
    assert load.regions_to_look_at is None
    assert load.regions_per_slide is None
    assert load.reachable_share == 0.75


def test_without_normal_slides_their_numbers_do_not_exist(make_hits: MakeHits) -> None:
    load = reading_load([make_hits("a", [0.9])], 0.5, 0.95)
    assert load.false_positives_per_normal_slide is None
    assert load.share_of_normal_without_false_positive is None
