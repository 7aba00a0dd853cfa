import gzip
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from slidepipe.errors import AnnotationError
from slidepipe.slides.annotations import read_annotation
from slidepipe.slides.outlines import SlideAnnotation

_SQUARE = ((0, 0), (10, 0), (10, 10), (0, 10))


def _ring(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def _xml(path: Path, *annotations: tuple[str, str, tuple[tuple[float, float], ...]]) -> Path:
    body = "".join(
        f'<Annotation Name="a{number}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        + "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}" />' for n, (x, y) in enumerate(points))
        + "</Coordinates></Annotation>"
        for number, (group, kind, points) in enumerate(annotations)
    )
    path.write_text(
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{body}</Annotations></ASAP_Annotations>'
    )
    return path


def _feature(class_name: str | None, *rings: list[list[float]], **properties: Any) -> dict[str, Any]:
    if class_name is not None:
        properties["classification"] = {"name": class_name, "color": [255, 0, 0]}
    geometry = {"type": "Polygon", "coordinates": rings}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def _geojson(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def _painted_area(annotation: SlideAnnotation) -> float:
    """Area that is tumour after painting in order."""
    painted = shapely.Polygon()
    for outline in annotation.outlines:
        shape = shapely.Polygon(outline.points_px0)
        painted = painted.union(shape) if outline.is_tumour else painted.difference(shape)
    return float(painted.area)


# ---- ASAP ----


def test_groups_are_painted_tumour_first_in_the_order_of_the_organisers(tmp_path: Path) -> None:
    groups = ("Exclusion", "_2", "Tumor", "None", "_1", "_0")
    path = _xml(tmp_path / "a.xml", *((group, "Polygon", _SQUARE) for group in groups))
    annotation = read_annotation(path, "s1")
    assert [(outline.group, outline.is_tumour) for outline in annotation.outlines] == [
        ("_0", True), ("_1", True), ("Tumor", True), ("_2", False), ("None", False), ("Exclusion", False),
    ]  # fmt: skip
    assert annotation.slide_id == "s1"
    assert annotation.notes == ()


def test_splines_and_polygons_are_their_listed_points(tmp_path: Path) -> None:
    path = _xml(tmp_path / "a.xml", ("_0", "Spline", _SQUARE), ("_0", "Polygon", _SQUARE))
    for outline in read_annotation(path, "s1").outlines:
        assert outline.points_px0.dtype == np.float64
        assert outline.points_px0.tolist() == [list(point) for point in _SQUARE]


def test_coordinates_stand_in_their_order_not_in_that_of_the_file(tmp_path: Path) -> None:
    path = _xml(tmp_path / "a.xml", ("_0", "Polygon", ((1, 1), (2, 1), (2, 2), (1, 2))))
    path.write_text(path.read_text().replace('Order="0"', 'Order="10"'))
    (outline,) = read_annotation(path, "s1").outlines
    assert outline.points_px0.tolist() == [[2, 1], [2, 2], [1, 2], [1, 1]]


def test_an_unknown_group_is_named_and_can_be_given_a_meaning(tmp_path: Path) -> None:
    path = _xml(tmp_path / "a.xml", ("_0", "Polygon", _SQUARE), ("metastases", "Polygon", _SQUARE))
    with pytest.raises(AnnotationError, match=r"slide s1: .*'metastases'.*setting classes.*a\.xml"):
        read_annotation(path, "s1")
    annotation = read_annotation(path, "s1", classes={"metastases": True, "_0": False})
    assert [(outline.group, outline.is_tumour) for outline in annotation.outlines] == [
        ("metastases", True),
        ("_0", False),
    ]


def test_a_file_without_outlines_is_an_annotation_without_outlines(tmp_path: Path) -> None:
    assert read_annotation(_xml(tmp_path / "a.xml"), "s1").outlines == ()


def test_outlines_that_enclose_nothing_are_left_out_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _xml(tmp_path / "a.xml", ("_0", "Polygon", _SQUARE), ("_1", "Polygon", ((1, 1), (2, 2))))
    with caplog.at_level(logging.WARNING):
        annotation = read_annotation(path, "s1")
    assert len(annotation.outlines) == 1
    assert annotation.notes == ("outline 1 (group _1) has 2 points, encloses nothing and is left out",)
    assert annotation.notes[0] in caplog.text


@pytest.mark.parametrize("kind", ["Dot", "PointSet", "Measurement"])
def test_shapes_without_area_are_refused(tmp_path: Path, kind: str) -> None:
    path = _xml(tmp_path / "a.xml", ("_0", kind, _SQUARE))
    with pytest.raises(AnnotationError, match=f"'a0' is a {kind}"):
        read_annotation(path, "s1")


@pytest.mark.parametrize(("old", "new"), [('X="10"', 'X="ten"'), ('X="10"', 'X="nan"'), ('X="10"', 'Z="10"')])
def test_coordinates_that_are_no_numbers_are_refused(tmp_path: Path, old: str, new: str) -> None:
    path = _xml(tmp_path / "a.xml", ("_0", "Polygon", _SQUARE))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(AnnotationError, match=r"slide s1: .*number"):
        read_annotation(path, "s1")


def test_an_entity_bomb_is_refused_and_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 20))
    path.write_text(
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "boom">{levels}]><ASAP_Annotations>&e19;</ASAP_Annotations>'
    )
    with pytest.raises(AnnotationError, match="slide s1"):
        read_annotation(path, "s1")


@pytest.mark.parametrize("content", ["", "<ASAP_Annotations>", "<Annotations/>", '{"type": "Feature"}'])
def test_other_xml_and_broken_xml_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(AnnotationError, match=r"slide s1: .*a\.xml"):
        read_annotation(tmp_path / "a.xml", "s1")


def test_a_real_annotation_lies_on_its_slide(shared_data: Path) -> None:
    annotation = read_annotation(shared_data / "slides" / "tumor_072_level7.xml", "tumor_072")
    assert [outline.group for outline in annotation.outlines] == ["_0"] * 4
    for outline in annotation.outlines:
        assert (outline.points_px0 >= 0).all()
        assert (outline.points_px0 < (1152, 700)).all()


# ---- QuPath ----


def test_classes_of_qupath_are_tumour_or_cut_out(tmp_path: Path) -> None:
    path = _geojson(
        tmp_path / "a.geojson", _feature("Exclusion", _ring(2, 2, 3)), _feature("Tumor", _ring(0, 0, 10))
    )
    tumour, cut_out = read_annotation(path, "s1").outlines
    assert (tumour.group, tumour.is_tumour) == ("Tumor", True)
    assert tumour.points_px0.tolist() == [list(point) for point in _SQUARE]
    assert (cut_out.group, cut_out.is_tumour) == ("Exclusion", False)


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": "Tumor"},
        {"classification": {"names": ["Tumor"], "color": None}},
        {"classification": None, "name": "Tumor"},
        {"name": "Tumor", "objectType": "annotation"},
    ],
)
def test_the_class_is_found_in_every_spelling_of_qupath(tmp_path: Path, properties: dict[str, Any]) -> None:
    feature = _feature(None, _ring(0, 0, 10), **properties)
    for number, document in enumerate(
        [feature, [feature], {"type": "FeatureCollection", "features": [feature]}]
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document), encoding="utf-8-sig")
        (outline,) = read_annotation(path, "s1").outlines
        assert (outline.group, outline.is_tumour) == ("Tumor", True)


def test_an_object_without_class_is_not_taken_for_tumour(tmp_path: Path) -> None:
    path = _geojson(tmp_path / "a.geojson", _feature(None, _ring(0, 0, 10)))
    with pytest.raises(AnnotationError, match=r"class 'Unclassified'.*setting classes"):
        read_annotation(path, "s1")
    assert read_annotation(path, "s1", classes={"Unclassified": True}).outlines[0].is_tumour


def test_a_gzipped_file_is_read_and_a_torn_one_refused(tmp_path: Path) -> None:
    path = _geojson(tmp_path / "a.geojson", _feature("Tumor", _ring(0, 0, 10)))
    packed = tmp_path / "b.geojson.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert len(read_annotation(packed, "s1").outlines) == 1
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(AnnotationError, match="not a whole gzip file"):
        read_annotation(packed, "s1")


def test_a_hole_does_not_erase_the_lesion_inside_it(tmp_path: Path) -> None:
    island, ring = (
        _feature("Tumor", _ring(40, 40, 20)),
        _feature("Tumor", _ring(0, 0, 100), _ring(20, 20, 60)),
    )
    for order in ((island, ring), (ring, island)):
        annotation = read_annotation(_geojson(tmp_path / "a.geojson", *order), "s1")
        assert _painted_area(annotation) == 100**2 - 60**2 + 20**2
        assert [outline.is_tumour for outline in annotation.outlines] == [True, False, True]


def test_a_hole_does_not_erase_a_larger_polygon_drawn_over_it(tmp_path: Path) -> None:
    large, ring = _feature("Tumor", _ring(0, 0, 100)), _feature("Tumor", _ring(10, 10, 50), _ring(20, 20, 30))
    assert _painted_area(read_annotation(_geojson(tmp_path / "a.geojson", large, ring), "s1")) == 100**2


def test_a_cut_out_with_a_hole_leaves_the_tumour_in_the_hole(tmp_path: Path) -> None:
    features = [
        _feature("Tumor", _ring(0, 0, 100)),
        _feature("Exclusion", _ring(20, 20, 60), _ring(40, 40, 20)),
    ]
    annotation = read_annotation(_geojson(tmp_path / "a.geojson", *features), "s1")
    assert _painted_area(annotation) == 100**2 - 60**2 + 20**2


def test_a_multipolygon_is_all_its_polygons(tmp_path: Path) -> None:
    feature = _feature("Tumor")
    feature["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [[_ring(0, 0, 10)], [_ring(20, 0, 10), _ring(22, 2, 2)]],
    }
    assert _painted_area(read_annotation(_geojson(tmp_path / "a.geojson", feature), "s1")) == 196


def test_a_crossed_polygon_is_refused_only_where_holes_need_its_inside(tmp_path: Path) -> None:
    crossed = _feature("Tumor", [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]])
    assert len(read_annotation(_geojson(tmp_path / "a.geojson", crossed), "s1").outlines) == 1
    with pytest.raises(AnnotationError, match=r"polygon 0 .* crosses itself"):
        read_annotation(
            _geojson(tmp_path / "a.geojson", crossed, _feature("Tumor", _ring(0, 0, 9), _ring(1, 1, 2))), "s1"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"geometry": {"type": "Point", "coordinates": [1, 2]}},
        {"geometry": {"type": "Polygon", "coordinates": [[[1, "x"]]]}},
        {"geometry": {"type": "Polygon", "coordinates": [[["nan", 1], [2, 3], [4, 4]]]}},
        {"geometry": None},
        {"properties": {"objectType": "tile", "classification": "Tumor"}},
    ],
)
def test_objects_that_are_no_outlines_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = _geojson(tmp_path / "a.geojson", _feature("Tumor", _ring(0, 0, 10)) | change)
    with pytest.raises(AnnotationError, match="slide s1"):
        read_annotation(path, "s1")


@pytest.mark.parametrize(
    "content", ["", "[1]", "{}", '{"type": "Topology"}', '{"features": []}', "[", "\xff"]
)
def test_other_json_and_broken_json_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(AnnotationError, match="slide s1"):
        read_annotation(tmp_path / "a.json", "s1")


def test_a_real_export_of_qupath_is_read_once_its_names_have_a_meaning(shared_data: Path) -> None:
    path = shared_data / "slides" / "qupath05.geojson"
    with pytest.raises(AnnotationError, match="'UT'"):
        read_annotation(path, "s1")
    annotation = read_annotation(path, "s1", classes={"UT": True, "I": False})
    assert [outline.group for outline in annotation.outlines] == ["UT", "I", "I"]


# ---- NCRF ----


def test_the_lists_of_ncrf_hold_tumour_and_cut_outs(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "camelyon16" / "train-tumor-annotations.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(("8.json", "054.json"))]
        archive.extractall(tmp_path, names)
    left_out = {}
    for path in sorted(tmp_path.rglob("*.json")):
        document = json.loads(path.read_text())
        annotation = read_annotation(path, path.stem)
        counts = [sum(outline.is_tumour is kind for outline in annotation.outlines) for kind in (True, False)]
        expected = [len(document["positive"]), len(document["negative"])]
        if annotation.notes:
            left_out[path.stem] = expected[0] - counts[0], expected[1] - counts[1]
        else:
            assert counts == expected
    assert len(names) == 12
    assert left_out == {"Tumor_054": (1, 0)}


# ---- files ----


def test_an_archive_is_not_an_annotation_and_the_remedy_is_told(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="unzip it"):
        read_annotation(tmp_path / "lesion_annotations.zip", "s1")
    with pytest.raises(AnnotationError, match=r"\.geojson"):
        read_annotation(tmp_path / "a.txt", "s1")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_annotation(tmp_path / "a.xml", "s1")
