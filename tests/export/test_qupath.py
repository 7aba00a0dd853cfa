import json
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from slidepipe.errors import ExportError
from slidepipe.export.ome_tiff import write_ome_tiff
from slidepipe.export.qupath import ProjectSlide, geojson_path, heatmap_path, write_qupath_project

TIMESTAMP_MS = 1_795_344_610_793
MIRAX = ProjectSlide(
    slide_id="mirax",
    path="slides/a slide.mrxs",
    bounds_px0=(300, 200, 5000, 4000),
    cell_px0=(224.0, 224.5),
    probability=0.25,
)


@pytest.fixture
def folder(tmp_path, monkeypatch, draw_heatmap):
    monkeypatch.chdir(tmp_path)
    write_ome_tiff(heatmap_path(tmp_path / "qupath", "mirax"), draw_heatmap([[0.5]]))
    return Path("qupath")


def project_of(folder, *slides):
    return json.loads(write_qupath_project(folder, slides, TIMESTAMP_MS).read_text())


def local_path(uri):
    parsed = urlparse(uri)
    assert parsed.scheme == "file"
    return Path(url2pathname(parsed.path))


def test_the_project_has_what_qupath_needs_to_open_it(folder):
    project = project_of(folder, ProjectSlide(slide_id="plain", path="plain.tif"), MIRAX)
    assert project["createTimestamp"] == project["modifyTimestamp"] == TIMESTAMP_MS
    assert project["version"]
    assert local_path(project["uri"]) == folder.resolve() / "project.qpproj"
    assert project["lastID"] == 3
    assert [image["entryID"] for image in project["images"]] == [1, 2, 3]
    assert [image["imageName"] for image in project["images"]] == ["plain", "mirax", "mirax heatmap"]
    assert len({image["randomizedName"] for image in project["images"]}) == 3


def test_a_slide_is_an_absolute_address_with_a_list_of_arguments(folder):
    (image,) = project_of(folder, ProjectSlide(slide_id="plain", path="some slide.tif"))["images"]
    assert image["serverBuilder"]["builderType"] == "uri"
    assert image["serverBuilder"]["args"] == []
    assert "providerClassName" not in image["serverBuilder"]
    assert local_path(image["serverBuilder"]["uri"]) == Path("some slide.tif").resolve()
    assert image["metadata"] == {"slide_id": "plain", "slidepipe_image": "slide"}


def test_a_heatmap_lies_on_the_slide_as_qupath_crops_it(folder):
    slide, heatmap = project_of(folder, MIRAX)["images"]
    server = heatmap["serverBuilder"]
    assert server["builderType"] == "affine"
    assert server["transform"] == {"m00": 224.0, "m10": 0, "m01": 0, "m11": 224.5, "m02": -300, "m12": -200}
    assert local_path(server["builder"]["uri"]) == heatmap_path(folder, "mirax").resolve()
    assert heatmap["metadata"]["slide_id"] == "mirax"
    assert slide["serverBuilder"]["providerClassName"].endswith(".OpenslideServerBuilder")
    assert slide["metadata"] == {
        "slide_id": "mirax",
        "slidepipe_image": "slide",
        "Tumor probability": "0.250000",
        "heatmap_cell_x_px": "224.0",
        "heatmap_cell_y_px": "224.5",
        "heatmap_left_px": "-300",
        "heatmap_top_px": "-200",
    }


def test_classes_have_qupaths_own_colours(folder):
    project_of(folder, MIRAX)
    classes = json.loads((folder / "classifiers" / "classes.json").read_text())
    assert classes == {
        "pathClasses": [{"name": "Tumor", "color": -3670016}, {"name": "Other", "color": -14336}]
    }


def test_the_scripts_look_where_the_files_are_and_for_metadata_that_is_written(folder):
    slide = project_of(folder, MIRAX)["images"][0]
    show = (folder / "scripts" / "show_results.groovy").read_text()
    load = (folder / "scripts" / "import_results.groovy").read_text()
    assert f"'{heatmap_path(folder, 'x').parent.name}', slide + '.ome.tif'" in show
    assert f"'{geojson_path(folder, 'x').parent.name}', slide + '.geojson.gz'" in load
    asked = {part.split("'")[0] for part in (show + load).split("getProjectEntryMetadataValue('")[1:]}
    assert asked <= set(slide["metadata"])
    assert len(asked) == 6


def test_equal_inputs_give_equal_bytes(folder):
    def write():
        write_qupath_project(folder, [MIRAX], TIMESTAMP_MS)
        return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    assert write() == write()


def test_slides_that_cannot_be_opened_are_refused_before_anything_is_written(folder):
    with pytest.raises(ExportError, match="more than once: mirax"):
        write_qupath_project(folder, [MIRAX, MIRAX], TIMESTAMP_MS)
    with pytest.raises(ExportError, match="slide other: its heatmap"):
        project_of(folder, ProjectSlide(slide_id="other", path="other.tif", cell_px0=(224.0, 224.0)))
    assert not (folder / "project.qpproj").exists()
