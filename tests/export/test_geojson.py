import gzip
import json
import uuid

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

from slidepipe.errors import ExportError
from slidepipe.export import geojson
from slidepipe.export.geojson import GeoJsonSettings, GeoJsonSummary, write_geojson
from slidepipe.export.geojson_check import check_geojson
from slidepipe.lesions.detection import LesionSettings, detect_lesions

CELLS = [
    [0.1, 0.9, 0.8, 0.9, np.nan],
    [0.1, 0.9, 0.1, 0.9, 0.2],
    [0.1, 0.9, 0.9, 0.9, 0.5],
    [0.6, 0.1, 0.0, 0.1, 0.1],
]
PLAIN = GeoJsonSettings()


def write(path, heatmap, lesion_settings=None, **options):
    lesion_settings = lesion_settings or LesionSettings(method="components")
    lesions = detect_lesions(heatmap, lesion_settings)
    options = {"settings": PLAIN, **options}
    summary = write_geojson(path, heatmap, lesions, threshold=lesion_settings.threshold, **options)
    content = path.read_bytes()
    return summary, json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["features"]


def of_type(features, kind):
    return [feature for feature in features if feature["properties"]["objectType"] == kind]


def test_a_region_is_one_locked_annotation_with_its_measurements(tmp_path, draw_heatmap):
    summary, features = write(tmp_path / "a.geojson", draw_heatmap(CELLS))
    (lesion,) = of_type(features, "annotation")
    assert summary == GeoJsonSummary(annotations=1, tiles=19, tile_cells=1)
    assert lesion["properties"] == {
        "objectType": "annotation",
        "name": "Lesion 1 (micro)",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "isLocked": True,
        "measurements": {
            "Tumor probability": 0.9,
            "Area mm^2": 0.0225,
            "Largest diameter µm": 282.843,
            "Size class (0 ITC, 1 micro, 2 macro)": 1,
            "Detections": 1,
        },
        "metadata": {"Size class": "micro"},
    }
    assert lesion["geometry"]["type"] == "MultiPolygon"
    assert shapely.from_geojson(json.dumps(lesion["geometry"])).area == 9 * 100 * 100


def test_a_region_with_several_detections_is_still_one_annotation(tmp_path, draw_heatmap):
    heatmap = draw_heatmap([[0.9, 0.6, 0.6, 0.6, 0.8, 0.0, 0.7]])
    _, features = write(tmp_path / "a.geojson", heatmap, LesionSettings(radius_um=100.0))
    lesions = of_type(features, "annotation")
    assert [lesion["properties"]["name"] for lesion in lesions] == ["Lesion 1 (micro)", "Lesion 3 (ITC)"]
    assert [lesion["properties"]["measurements"]["Detections"] for lesion in lesions] == [2, 1]


def test_tiles_are_the_cells_that_were_looked_at(tmp_path, draw_heatmap):
    _, features = write(tmp_path / "a.geojson", draw_heatmap([[0.25, np.nan], [0.5, 0.75]]))
    first, second, third = of_type(features, "tile")
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]],
    }
    assert [tile["properties"]["measurements"] for tile in (first, second, third)] == [
        {"Tumor probability": 0.25},
        {"Tumor probability": 0.5},
        {"Tumor probability": 0.75},
    ]
    assert [tile["properties"]["classification"]["name"] for tile in (first, second, third)] == [
        "Other",
        "Other",
        "Tumor",
    ]


def test_points_are_counted_from_the_corner_of_the_scanned_area(tmp_path, draw_heatmap):
    heatmap = draw_heatmap([[np.nan, 0.9]])
    _, features = write(tmp_path / "a.geojson", heatmap, offset_px0=(30, 7))
    for feature in features:
        assert shapely.from_geojson(json.dumps(feature["geometry"])).bounds == (70, -7, 170, 93)


def test_lesions_and_tiles_share_their_whole_pixel_sides(tmp_path, draw_heatmap):
    heatmap = draw_heatmap([[np.nan, 0.9, 0.9, 0.1]], cell_px0=(33.3, 33.3), size_px0=(120, 33))
    _, features = write(tmp_path / "a.geojson", heatmap)
    boxes = [shapely.from_geojson(json.dumps(feature["geometry"])).bounds for feature in features]
    assert boxes == [(33, 0, 100, 33), (33, 0, 67, 33), (67, 0, 100, 33), (100, 0, 120, 33)]


def test_too_many_tiles_are_merged_by_their_largest(tmp_path, draw_heatmap):
    heatmap = draw_heatmap(np.arange(30).reshape(5, 6) / 100, size_px0=(590, 450))
    summary, features = write(tmp_path / "a.geojson", heatmap, settings=GeoJsonSettings(max_tiles=8))
    assert summary == GeoJsonSummary(annotations=0, tiles=4, tile_cells=4)
    values = [tile["properties"]["measurements"]["Tumor probability"] for tile in features]
    assert values == [0.21, 0.23, 0.27, 0.29]
    assert shapely.from_geojson(json.dumps(features[-1]["geometry"])).bounds == (400, 400, 590, 450)


def test_what_a_rule_would_refuse_is_not_written(tmp_path, draw_heatmap, monkeypatch):
    monkeypatch.setattr(geojson, "TUMOUR_CLASS", {"name": "Tumor"})
    with pytest.raises(ExportError, match=r"slide drawn: a\.geojson would break 1 rules .* no color"):
        write(tmp_path / "a.geojson", draw_heatmap(CELLS))
    assert list(tmp_path.iterdir()) == []


def test_ids_are_those_of_the_standard_library_and_survive_another_run(tmp_path, draw_heatmap):
    _, before = write(tmp_path / "a.geojson", draw_heatmap(CELLS))
    changed = np.array(CELLS) * 0.9
    _, after = write(tmp_path / "a.geojson", draw_heatmap(changed))
    assert [item["id"] for item in before] == [item["id"] for item in after]
    assert {uuid.UUID(item["id"]).version for item in before} == {5}
    assert before[0]["id"] == str(uuid.uuid5(geojson._NAMESPACE, "drawn/lesion/1"))


def test_tiles_can_be_left_out(tmp_path, draw_heatmap):
    summary, features = write(
        tmp_path / "a.geojson", draw_heatmap(CELLS), settings=GeoJsonSettings(tiles=False)
    )
    assert summary == GeoJsonSummary(annotations=1, tiles=0, tile_cells=1)
    assert len(features) == 1


def test_a_slide_where_nothing_was_looked_at_is_a_valid_empty_collection(tmp_path, draw_heatmap):
    summary, features = write(tmp_path / "a.geojson.gz", draw_heatmap([[np.nan]]))
    assert (summary.annotations, summary.tiles, features) == (0, 0, [])
    assert check_geojson(tmp_path / "a.geojson.gz") == ()


def test_equal_inputs_give_equal_bytes_and_identifiers_of_their_own(tmp_path, draw_heatmap):
    (tmp_path / "again").mkdir()
    _, features = write(tmp_path / "a.geojson.gz", draw_heatmap(CELLS))
    write(tmp_path / "again" / "b.geojson.gz", draw_heatmap(CELLS))
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "again" / "b.geojson.gz").read_bytes()
    assert len({feature["id"] for feature in features}) == len(features) == 20


def test_a_name_that_qupath_ignores_is_refused(tmp_path, draw_heatmap):
    with pytest.raises(ExportError, match=r"\.geojson\.gz"):
        write(tmp_path / "a.json", draw_heatmap(CELLS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tumour=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_whatever_the_shape_of_a_lesion_qupath_can_read_the_file(tmp_path, draw_heatmap, tumour):
    heatmap = draw_heatmap(tumour.astype(np.float32), cell_px0=(12.7, 9.3))
    _, features = write(tmp_path / "a.geojson", heatmap)
    assert check_geojson(tmp_path / "a.geojson") == ()
    assert len(of_type(features, "tile")) == tumour.size
