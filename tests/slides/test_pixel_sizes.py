import pytest

from slidepipe.errors import PixelSizeError
from slidepipe.geometry import PixelSize
from slidepipe.slides.pixel_sizes import choose_pixel_size, resolution_um
from slidepipe.slides.reader import SlideSource

_SLIDE = SlideSource("s1", "s1.tif")


def test_the_file_is_believed_where_nothing_else_is_said() -> None:
    assert choose_pixel_size(_SLIDE, (0.226321, 0.226316)) == PixelSize(0.226321, 0.226316)


def test_what_the_caller_says_replaces_what_the_file_says() -> None:
    source = SlideSource("s1", "s1.tif", mpp=0.5)
    assert choose_pixel_size(source, (0.25, 0.25)) == PixelSize(0.5, 0.5)
    assert choose_pixel_size(source, None) == PixelSize(0.5, 0.5)


@pytest.mark.parametrize("recorded", [None, (352.8, 352.8), (0.25, 0.001), (10_000, 10_000)])
def test_a_missing_or_absurd_size_is_refused_and_the_setting_named(
    recorded: tuple[float, float] | None,
) -> None:
    with pytest.raises(PixelSizeError, match=r"slide s1: .* set mpp"):
        choose_pixel_size(_SLIDE, recorded)


def test_resolution_tags_count_in_centimetres_and_in_inches_no_printer_has() -> None:
    assert resolution_um(20_000, 40_000, "centimeter") == (0.5, 0.25)
    assert resolution_um(101_600, 50_800, "INCH") == (0.25, 0.5)


@pytest.mark.parametrize("dpi", [1, 72, 96, 300, 1200, 2400])
def test_resolutions_of_printers_say_nothing_of_a_slide(dpi: float) -> None:
    assert resolution_um(dpi, dpi, "inch") is None


@pytest.mark.parametrize(("x", "unit"), [(0, "centimeter"), (float("nan"), "inch"), (20_000, "none")])
def test_tags_without_number_or_unit_say_nothing(x: float, unit: str) -> None:
    assert resolution_um(x, 20_000, unit) is None
