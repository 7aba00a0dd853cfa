import copy
import gzip
import io
import json
import zipfile

import pytest

from slidepipe.export import geojson_reading
from slidepipe.export.geojson_check import check_geojson
from slidepipe.export.geojson_reading import FeatureReader

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 4], [0, 0]]
TOUCHING_ITSELF = [[0, 0], [5, 5], [10, 0], [10, 10], [5, 5], [0, 10], [0, 0]]
GOOD = {
    "type": "Feature",
    "id": "8b266181-2924-4426-9594-0b5776ea9f37",
    "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
    "properties": {
        "objectType": "tile",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "measurements": {"Tumor probability": 0.875},
    },
}
ALL, OLD, NEW = "QuPath", "QuPath 0.4", "QuPath 0.6 and later"
MISSING = object()


def shifted(ring, across):
    return [[x + across, y] for x, y in ring]


def problems_of(tmp_path, *features):
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return check_geojson(path)


def changed(path, value):
    feature = copy.deepcopy(GOOD)
    inner = feature
    for key in path[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return feature


def test_what_qupath_itself_wrote_has_no_problem(shared_data):
    assert check_geojson(shared_data / "slides" / "qupath05.geojson") == ()


PROPERTIES = ["properties"]
CLASS = ["properties", "classification"]
MEASUREMENTS = ["properties", "measurements"]
GEOMETRY = ["geometry"]
RINGS = ["geometry", "coordinates"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (MEASUREMENTS, [{"name": "a", "value": 1}]),
        (MEASUREMENTS, {"a": 1, "b": -0.5}),
        (CLASS, {"name": "Tumor", "color": None}),
        (CLASS, {"names": ["Tumor", "ITC"], "color": [1, 2, 3]}),
        (CLASS, {"name": "Tumor", "colorRGB": -3670016}),
        (CLASS, "Tumor"),
        (CLASS, None),
        (CLASS, MISSING),
        (["properties", "color"], [1, 2, 3]),
        (["properties", "color"], -3670016),
        (["properties", "isLocked"], True),
        (["properties", "metadata"], {"a": "b"}),
        (["properties", "childObjects"], [GOOD]),
        (PROPERTIES, {"object_type": "tile"}),
        (PROPERTIES, {"type": "tile"}),
        (RINGS, [TOUCHING_ITSELF]),
        (RINGS, [SQUARE[::-1]]),
        (RINGS, [[[x, y, 0] for x, y in SQUARE]]),
        (RINGS, [[[x - 5.125, y] for x, y in SQUARE]]),
        (RINGS, [[[x * 10, y * 10] for x, y in SQUARE], [[x + 50, y + 50] for x, y in SQUARE]]),
        (GEOMETRY, {"type": "MultiPolygon", "coordinates": [[SQUARE], [shifted(SQUARE, 10)]]}),
        (GEOMETRY, {"type": "Point", "coordinates": [1, 2]}),
        (["geometry", "plane"], {"c": -1, "z": 0, "t": 0}),
        (["geometry", "isEllipse"], True),
    ],
)
def test_what_all_versions_take_is_no_problem(tmp_path, path, value):
    assert problems_of(tmp_path, changed(path, value)) == ()


@pytest.mark.parametrize(
    ("path", "value", "refused_by", "problem"),
    [
        (["type"], "feature", ALL, "neither a Feature nor"),
        (["id"], None, ALL, "id is null"),
        (["id"], "tile-1", None, "no UUID"),
        (["id"], 7, None, "no UUID"),
        (["id"], MISSING, None, "no UUID"),
        (["id"], "PathDetectionObject", None, "object type"),
        (PROPERTIES, MISSING, None, "annotation without class"),
        (PROPERTIES, None, ALL, "properties is not an object"),
        (["properties", "name"], None, ALL, "name is null"),
        (["properties", "objectType"], "Tile", None, "annotation of it"),
        (["properties", "objectType"], MISSING, None, "annotation of it"),
        (["properties", "objectType"], "root", None, "second root"),
        (["properties", "isLocked"], "yes", None, "isLocked"),
        (["properties", "color"], "#ff0000", ALL, "color is text"),
        (["properties", "color"], [1, 2, 3, 4], None, "color is not three"),
        (["properties", "metadata"], {"a": 1}, None, "metadata"),
        (["properties", "childObjects"], [{**GOOD, "geometry": None}], ALL, "no geometry"),
        (CLASS, {"name": "Tumor"}, ALL, "no color"),
        (CLASS, {"color": [1, 2, 3]}, ALL, "no name"),
        (CLASS, {"name": "Tumor", "color": "#ff0000"}, ALL, "color of the classification is text"),
        (CLASS, {"name": "Tumor", "color": [0.8, 0, 0]}, None, "misread"),
        (CLASS, 3, ALL, "not text, null"),
        (MEASUREMENTS, {"a": float("nan")}, OLD, "NaN"),
        (MEASUREMENTS, {"a": float("inf")}, OLD, "NaN"),
        (MEASUREMENTS, {"a": "NaN"}, OLD, "NaN"),
        (MEASUREMENTS, {"a": "0.5"}, OLD, "as text"),
        (MEASUREMENTS, {"a": None}, OLD, "later versions drop it"),
        (MEASUREMENTS, {"a": True}, OLD, "later versions drop it"),
        (MEASUREMENTS, {"a": "tumor"}, ALL, "no number"),
        (MEASUREMENTS, {"a": [1]}, ALL, "no number"),
        (MEASUREMENTS, [{"name": "a", "value": None}], ALL, "in a list"),
        (MEASUREMENTS, [["a", 1]], ALL, "in a list"),
        (MEASUREMENTS, 1, ALL, "neither an object nor a list"),
        (GEOMETRY, MISSING, ALL, "no geometry"),
        (GEOMETRY, None, ALL, "no geometry"),
        (GEOMETRY, {"type": "Circle"}, ALL, "no type"),
        (GEOMETRY, {"type": "GeometryCollection", "geometries": []}, NEW, "GeometryCollection"),
        (GEOMETRY, {"type": "MultiPolygon", "coordinates": [[SQUARE], [shifted(SQUARE, 5)]]}, NEW, "overlap"),
        (GEOMETRY, {"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE]]}, NEW, "overlap"),
        (["geometry", "plane"], {"z": 0, "y": 1}, ALL, "plane"),
        (RINGS, [], None, "no area"),
        (RINGS, [[]], None, "no area"),
        (RINGS, [[[0, 0], [5, 0], [10, 0], [0, 0]]], None, "no area"),
        (RINGS, [SQUARE[:-1]], ALL, "not closed"),
        (RINGS, [[[0, 0], [1, None], [1, 1], [0, 0]]], ALL, "not two finite numbers"),
        (RINGS, SQUARE, ALL, "not two finite numbers"),
        (RINGS, [BOW_TIE], NEW, "crosses itself"),
        (RINGS, [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]], NEW, "crosses itself"),
        (RINGS, [SQUARE, shifted(SQUARE, 5)], NEW, "crosses itself or another"),
    ],
)
def test_what_a_version_stumbles_over_is_found(tmp_path, path, value, refused_by, problem):
    found = problems_of(tmp_path, GOOD | {"id": GOOD["id"][::-1][:8] + GOOD["id"][8:]}, changed(path, value))
    matching = [item for item in found if problem in item.text]
    assert [(item.refused_by, item.feature, item.count) for item in matching] == [(refused_by, 1, 1)]
    assert not any(item.refused_by for item in found if item not in matching)


def test_an_overlap_that_only_rounding_makes_is_found(tmp_path):
    """QuPath 0.6 rounds to 0.01 px, which moves the tip of the second triangle into the first."""
    first = [[0, 0], [10, 0], [0, 7], [0, 0]]
    beside, inside = ([[5.014, y], [20, 10], [10, 20], [5.014, y]] for y in (3.5, 3.4903))
    for ring, count in ((beside, 0), (inside, 1)):
        found = problems_of(
            tmp_path, changed(GEOMETRY, {"type": "MultiPolygon", "coordinates": [[first], [ring]]})
        )
        assert ["overlap" in problem.text for problem in found] == [True] * count


def test_a_rule_broken_often_is_told_once_and_the_worst_comes_first(tmp_path):
    mild = [
        {**changed(["properties", "objectType"], "Tile"), "id": f"{n:08x}{GOOD['id'][8:]}"} for n in range(5)
    ]
    found = problems_of(tmp_path, *mild, changed(["properties", "name"], None))
    assert [str(problem) for problem in found] == [
        "feature 5: name is null [None]: QuPath refuses the whole file",
        "feature 0: objectType is missing or none that QuPath knows: QuPath makes an annotation of it ['Tile'] "
        "(5 times)",
    ]


def test_ids_used_twice_and_a_class_in_two_colours_are_found(tmp_path):
    other = changed(["properties", "classification", "color"], [1, 2, 3])
    same_id, two_colours = problems_of(tmp_path, GOOD, other)
    assert str(same_id).startswith("feature 1: id is used more than once")
    assert str(two_colours).startswith("feature 1: the class has another color than before")


def test_more_annotations_than_qupath_can_place_are_found(tmp_path):
    feature = changed(["properties", "objectType"], "annotation")
    features = [{**feature, "id": f"8b266181-2924-4426-9594-{index:012x}"} for index in range(10_001)]
    assert problems_of(tmp_path, *features[1:]) == ()
    (problem,) = problems_of(tmp_path, *features)
    assert "10,000 annotations" in problem.text


@pytest.mark.parametrize(
    "document",
    [[GOOD], GOOD, GOOD["geometry"], {"features": [GOOD], "more": [1, {}], "type": "FeatureCollection"}],
)
def test_every_form_of_document_that_qupath_takes_is_read(tmp_path, document):
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps(document, indent=1), encoding="utf-8")
    assert check_geojson(path) == ()
    path.write_text(json.dumps(document).replace('"Polygon"', '"Circle"'))
    assert len(check_geojson(path)) == 1


def test_a_file_is_read_while_its_features_are_looked_at():
    document = io.BytesIO(json.dumps({"type": "FeatureCollection", "features": [GOOD] * 20_000}).encode())
    size = len(document.getvalue())
    for _ in FeatureReader(document):
        assert document.tell() < size / 3
        break
    assert sum(1 for _ in FeatureReader(io.BytesIO(document.getvalue()))) == 20_000


@pytest.mark.parametrize("piece", [1, 2, 7, 300])
def test_features_are_read_alike_whatever_the_pieces_the_file_is_read_in(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(geojson_reading, "_PIECE", piece)
    feature = changed(["properties", "name"], 'µ \u2014 \U0001f52c, a " and ]}')
    assert problems_of(tmp_path, feature) == ()
    assert len(problems_of(tmp_path, feature, changed(["id"], None))) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "3",
        '{"features": []}',
        '{"type": "FeatureCollection"}',
        '{"type": "Topology", "features": []}',
        '{"type": "Feature"}\n{}',
        '{"type": "FeatureCollection", "features": [',
        '{"type": "FeatureCollection", "features": [} ]}',
        '{"type" "FeatureCollection"}',
    ],
)
def test_a_file_that_is_no_document_is_found(tmp_path, content):
    (tmp_path / "a.geojson").write_text(content)
    problems = check_geojson(tmp_path / "a.geojson")
    assert any("JSON in UTF-8" in problem.text or "top level" in problem.text for problem in problems)


def test_text_in_another_encoding_is_found(tmp_path):
    text = json.dumps(GOOD).replace("Tumor", "é")
    (tmp_path / "a.geojson").write_text(text, encoding="utf-8")
    (tmp_path / "b.geojson").write_text(text, encoding="latin-1")
    assert check_geojson(tmp_path / "a.geojson") == ()
    assert "UTF-8" in check_geojson(tmp_path / "b.geojson")[0].text


def test_a_truncated_gzip_is_found(tmp_path):
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(json.dumps([GOOD]).encode())[:-9])
    assert "not whole" in check_geojson(tmp_path / "a.geojson.gz")[0].text


def test_all_documents_of_a_zip_archive_are_checked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.geojson", json.dumps(GOOD))
        archive.writestr("b.geojson", json.dumps(changed(["id"], None)))
        archive.writestr("notes.txt", "not read")
    (problem,) = check_geojson(tmp_path / "a.zip")
    assert (problem.feature, problem.refused_by) == (1, ALL)


def test_a_name_that_qupath_ignores_is_found(tmp_path):
    (tmp_path / "a.txt").write_text(json.dumps(GOOD))
    assert "imports nothing" in check_geojson(tmp_path / "a.txt")[0].text


def test_a_missing_file_is_an_error_and_no_problem(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_geojson(tmp_path / "a.geojson")
