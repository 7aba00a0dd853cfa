"""Results that are corrected in QuPath and exported from it are annotations again."""

import copy
import gzip
import json

import numpy as np
import pytest
import shapely

from slidepipe.errors import AnnotationError
from slidepipe.export.geojson import GeoJsonSettings, write_geojson
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.slides.annotations import read_annotation
from slidepipe.slides.rasterise import rasterise

CELLS = [
    [0.9, 0.9, 0.9, 0.0, 0.0],
    [0.9, 0.1, 0.9, 0.0, 0.8],
    [0.9, 0.9, 0.9, 0.0, 0.0],
]


@pytest.fixture
def heatmap(draw_heatmap):
    return draw_heatmap(CELLS)


@pytest.fixture
def imported(tmp_path, heatmap):
    """Return the objects that QuPath holds after it has imported our file."""
    lesions = detect_lesions(heatmap, LesionSettings(method="components"))
    write_geojson(tmp_path / "ours.geojson.gz", heatmap, lesions, threshold=0.5, settings=GeoJsonSettings())
    return json.loads(gzip.decompress((tmp_path / "ours.geojson.gz").read_bytes()))["features"]


def exported(path, features):
    """Write objects as QuPath exports them."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, indent=2))
    return path


def annotations_of(features):
    return [copy.deepcopy(item) for item in features if item["properties"]["objectType"] == "annotation"]


def painted(path, **options):
    annotation = read_annotation(path, "drawn", **options)
    return rasterise(annotation, (60, 100), (5.0, 5.0))


def test_lesions_that_nobody_touched_come_back_as_the_cells_they_were(tmp_path, imported):
    path = exported(tmp_path / "back.geojson", annotations_of(imported))
    annotation = read_annotation(path, "drawn")
    areas = [
        shapely.Polygon(outline.points_px0).area * (1 if outline.is_tumour else -1)
        for outline in annotation.outlines
    ]
    assert sum(areas) == np.sum(np.array(CELLS) > 0.5) * 100 * 100


def test_corrections_change_what_is_tumour(tmp_path, imported):
    untouched = painted(exported(tmp_path / "a.geojson", annotations_of(imported)))
    first, second = annotations_of(imported)
    # The large lesion has no hole after all, the small one is a false positive, and one was missed.
    first["geometry"]["coordinates"] = [max(_rings(first), key=lambda ring: shapely.Polygon(ring).area)]
    first["geometry"]["type"] = "Polygon"
    second["properties"]["classification"] = {"name": "Artefact", "color": [1, 2, 3]}
    drawn = {
        "type": "Feature",
        "id": "00000000-0000-4000-8000-000000000000",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[310.5, 210.25], [390, 210], [390, 290], [310.5, 290], [310.5, 210.25]]],
        },
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}},
    }
    path = exported(tmp_path / "b.geojson", [first, second, drawn])
    corrected = painted(path, classes={"Artefact": False})
    assert untouched[30, 90]
    assert not corrected[30, 90]
    assert not untouched[30, 30]
    assert corrected[30, 30]
    assert not untouched[50, 70]
    assert corrected[50, 70]


def _rings(feature):
    coordinates = feature["geometry"]["coordinates"]
    return (
        coordinates if feature["geometry"]["type"] == "Polygon" else [r for part in coordinates for r in part]
    )


def test_a_class_that_nobody_explained_is_refused(tmp_path, imported):
    features = annotations_of(imported)
    features[0]["properties"]["classification"]["name"] = "Artefact"
    with pytest.raises(AnnotationError, match="Artefact"):
        read_annotation(exported(tmp_path / "a.geojson", features), "drawn")


def test_tiles_that_were_exported_with_the_annotations_are_refused(tmp_path, imported):
    with pytest.raises(AnnotationError, match="only annotations"):
        read_annotation(exported(tmp_path / "a.geojson", imported), "drawn")
