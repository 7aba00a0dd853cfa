"""Drawn tissue masks: polygons as QuPath writes them, and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from slidepipe.errors import TissueError
from slidepipe.geometry import PixelSize
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.tiles.tissue_file import read_tissue_mask

_SIZE = (2000, 1000)


def _info(mpp: float = 0.5) -> SlideInfo:
    return SlideInfo("s1", _SIZE, PixelSize(mpp, mpp), (SlideLevel(_SIZE, 1.0),), None, "aperio", "openslide")


def _square(left: float, top: float, side: float) -> list[list[float]]:
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]]


def _feature(geometry: dict[str, Any] | None) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"}}


def _polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def _write(folder: Path, value: object) -> Path:
    path = folder / "tissue.geojson"
    path.write_text(json.dumps(value))
    return path


def test_polygons_are_drawn_with_their_holes(tmp_path: Path) -> None:
    path = _write(tmp_path, _feature(_polygon(_square(80, 80, 800), _square(400, 400, 160))))
    found = read_tissue_mask(path, _info())
    assert found.scale_px0 == (8.0, 8.0)
    assert found.mask.shape == (125, 250)
    assert found.mask.sum() == 100 * 100 - 20 * 20
    assert found.mask[10, 10]
    assert not found.mask[9, 10]
    assert not found.mask[60, 60]


def test_a_hole_of_one_polygon_does_not_cut_into_another(tmp_path: Path) -> None:
    ring = _polygon(_square(0, 0, 800), _square(200, 200, 400))
    path = _write(tmp_path, [_feature(_polygon(_square(300, 300, 100))), _feature(ring)])
    assert read_tissue_mask(path, _info()).mask[43, 43]


@pytest.mark.parametrize(
    "value",
    [
        _polygon(_square(0, 0, 400)),
        _feature(_polygon(_square(0, 0, 400))),
        [_feature(_polygon(_square(0, 0, 400)))],
        {"type": "FeatureCollection", "features": [_feature(_polygon(_square(0, 0, 400)))]},
        {"type": "MultiPolygon", "coordinates": [[_square(0, 0, 200)], [_square(0, 0, 400)]]},
        {"type": "GeometryCollection", "geometries": [_polygon(_square(0, 0, 400))]},
    ],
)
def test_every_form_that_qupath_writes_is_read(tmp_path: Path, value: object) -> None:
    assert read_tissue_mask(_write(tmp_path, value), _info()).mask.sum() == 50 * 50


def test_a_coarse_slide_keeps_its_own_pixels(tmp_path: Path) -> None:
    found = read_tissue_mask(_write(tmp_path, _polygon(_square(0, 0, 400))), _info(mpp=20.0))
    assert found.scale_px0 == (1.0, 1.0)
    assert found.mask.sum() == 400 * 400


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "FeatureCollection", "features": []}, "s1: .*holds no polygon"),
        (_polygon(_square(5000, 0, 100)), "covers any of the slide's 2000 × 1000 px"),
        (
            _feature({"type": "LineString", "coordinates": [[0, 0], [9, 9]]}),
            "expected polygons, got LineString",
        ),
        (_feature(None), "expected polygons, got NoneType"),
        ({"type": "Polygon"}, "cannot be read"),
        (_polygon([[0, 0], [1, 1]]), "cannot be read"),
    ],
)
def test_what_makes_no_mask_is_said(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(TissueError, match=message):
        read_tissue_mask(_write(tmp_path, value), _info())


def test_an_export_of_qupath_is_read(shared_data: Path) -> None:
    path = shared_data / "slides" / "qupath05.geojson"
    features = json.loads(path.read_text())["features"]
    drawn = shapely.union_all([shapely.geometry.shape(feature["geometry"]) for feature in features])
    size = (int(drawn.bounds[2]) + 100, int(drawn.bounds[3]) + 100)
    info = SlideInfo("s1", size, PixelSize(2.0, 2.0), (SlideLevel(size, 1.0),), None, "aperio", "openslide")
    found = read_tissue_mask(path, info)
    area_px0 = found.mask.sum() * found.scale_px0[0] * found.scale_px0[1]
    assert area_px0 == pytest.approx(drawn.area, rel=0.02)


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_what_is_not_black_is_tissue_in_every_kind_of_image(tmp_path: Path, name: str, mode: str) -> None:
    pixels = np.zeros((50, 100), np.uint8)
    pixels[10:20, 30:60] = 200
    image = Image.fromarray(pixels)
    image = (
        Image.fromarray(pixels.astype(np.uint16))
        if mode == "I;16"
        else image.convert(mode, dither=Image.Dither.NONE)
    )
    image.save(tmp_path / name)
    found = read_tissue_mask(tmp_path / name, _info())
    assert found.scale_px0 == (20.0, 20.0)
    np.testing.assert_array_equal(found.mask, pixels > 0)
    assert found.thresholds == {}


def test_an_image_of_other_proportions_is_refused(tmp_path: Path) -> None:
    Image.new("L", (100, 52)).save(tmp_path / "mask.png")
    with pytest.raises(TissueError, match=r"100 × 52 px.*2000 × 1000 px"):
        read_tissue_mask(tmp_path / "mask.png", _info())
    Image.new("L", (1000, 502)).save(tmp_path / "mask.png")
    assert read_tissue_mask(tmp_path / "mask.png", _info()).mask.shape == (502, 1000)


@pytest.mark.parametrize("name", ["missing.png", "missing.geojson", "text.png"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(TissueError, match=f"slide s1: tissue mask .*{name} cannot be read"):
        read_tissue_mask(tmp_path / name, _info())
