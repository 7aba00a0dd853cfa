"""What lies over a slide."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slidepipe.errors import ExportError
from slidepipe.export.slide_pictures import probability_colours
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion
from slidepipe.viewer.layers import MOST_LESIONS, describe_lesions, draw_layer, draw_reference, fit_heatmap

_NAN = float("nan")


def _heatmap(cells: list[list[float]]) -> Heatmap:
    probability = np.array(cells, dtype=np.float32)
    rows, columns = probability.shape
    return Heatmap("s", probability, (100.0, 50.0), PixelSize(0.5, 1.0), (columns * 100 - 20, rows * 50))


def _lesion(number: int, x: int, y: int, probability: float = 0.9) -> Lesion:
    return Lesion("s", number, probability, x, y, 2_500_000.0, 300.0)


def test_a_heatmap_has_one_pixel_per_cell_and_is_clear_where_nobody_looked() -> None:
    layer = fit_heatmap(_heatmap([[0.0, 1.0, _NAN], [0.5, _NAN, 0.25]]))
    assert layer.cells == 1
    assert layer.extent_px0 == (300.0, 100.0)
    with Image.open(io.BytesIO(draw_layer(layer))) as opened:
        pixels = np.asarray(opened)
    assert pixels[..., 3].tolist() == [[255, 255, 0], [255, 0, 255]]
    assert (pixels == probability_colours(layer.probability)).all()


def test_a_heatmap_too_large_for_browsers_keeps_its_hottest_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slidepipe.viewer.layers.LONGEST_SIDE_PX", 2)
    layer = fit_heatmap(_heatmap([[0.1, 0.2, 0.1, 0.9, 0.3]]))
    assert layer.probability.tolist() == [[pytest.approx(0.9), pytest.approx(0.3)]]
    assert layer.cells == 4
    assert layer.cell_px0 == (400.0, 200.0)
    assert layer.extent_px0 == (800.0, 200.0)


def test_what_is_no_probability_is_not_drawn() -> None:
    with pytest.raises(ExportError, match="between 0 and 1"):
        draw_layer(fit_heatmap(_heatmap([[1.5]])))


def test_lesions_are_listed_and_outlined_once_per_region() -> None:
    heatmap = _heatmap([[0.9, 0.9, 0.1, 0.9]])
    lesions = (_lesion(1, 50, 25), _lesion(2, 350, 25, 0.8), _lesion(3, 150, 25, 0.7))
    told = describe_lesions(heatmap, lesions, 0.5)
    assert [one["lesions"] for one in told["regions"]] == [[1, 3], [2]]
    assert told["regions"][0]["path"] == "M200 0l0 50l-200 0l0 -50z"
    assert told["regions"][1]["path"] == "M380 0l0 50l-80 0l0 -50z"
    assert told["notes"] == []
    assert told["lesions"][1] == {
        "number": 2, "probability": 0.8, "x": 350, "y": 25, "area_mm2": 2.5, "diameter_um": 300.0, "size": "micro",
    }  # fmt: skip


def test_not_looked_for_is_not_the_same_as_none() -> None:
    assert describe_lesions(None, None, 0.5)["lesions"] is None
    assert describe_lesions(None, (), 0.5)["lesions"] == []


def test_lesions_of_another_threshold_are_listed_but_not_outlined() -> None:
    told = describe_lesions(_heatmap([[0.9, 0.4]]), (_lesion(1, 50, 25), _lesion(2, 150, 25)), 0.5)
    assert len(told["lesions"]) == 2
    assert told["regions"] == []
    assert "another threshold" in told["notes"][0]


def test_too_many_lesions_are_cut_off_and_counted() -> None:
    lesions = tuple(_lesion(number, 50, 25) for number in range(1, MOST_LESIONS + 3))
    told = describe_lesions(None, lesions, 0.5)
    assert len(told["lesions"]) == MOST_LESIONS
    assert told["notes"] == ["Only the 500 most probable of 502 lesions are shown."]


def test_the_reference_is_one_path(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(
        '{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,20],[0,0]]]},'
        '"properties":{"classification":{"name":"special"}}}'
    )
    assert draw_reference(path, "s", {"special": True}) == "M0 0l10 0l0 20z"
