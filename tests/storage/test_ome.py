"""OME-NGFF attributes follow version 0.5."""

from __future__ import annotations

import pytest

from slidepipe.storage.ome import multiscales, rgb_channels


def test_axes_units_and_scales_stand_where_the_specification_wants_them() -> None:
    ome = multiscales("slide_1", "cyx", [(1, 0.5, 0.25), (1, 1.0, 0.5)])
    assert ome["version"] == "0.5"
    (image,) = ome["multiscales"]
    assert image["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert [level["path"] for level in image["datasets"]] == ["0", "1"]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 0.5, 0.25]}]


def test_every_level_needs_one_size_per_axis() -> None:
    with pytest.raises(ValueError, match="level 1 has 3 pixel sizes for 2 axes"):
        multiscales("s", "yx", [(1, 1), (1, 1, 1)])


def test_unknown_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="got q"):
        multiscales("s", "qx", [(1, 1)])


def test_the_three_channels_are_red_green_and_blue() -> None:
    assert [channel["color"] for channel in rgb_channels()["channels"]] == ["FF0000", "00FF00", "0000FF"]
