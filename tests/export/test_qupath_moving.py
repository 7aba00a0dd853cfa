import json
import shutil
from pathlib import Path

import pytest

from slidepipe.errors import ExportError
from slidepipe.export.ome_tiff import write_ome_tiff
from slidepipe.export.qupath import ProjectSlide, heatmap_path, write_qupath_project
from slidepipe.export.qupath_moving import rewrite_project


@pytest.fixture
def home(tmp_path, draw_heatmap):
    """Return a folder with a project in ``run/qupath`` and its slides in ``slides``."""
    home = tmp_path / "old home"
    slides = []
    for name in ("training/tumor_001", "testing/test_001"):
        path = home / "slides" / f"{name}.tif"
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
        slides.append(ProjectSlide(slide_id=path.stem, path=str(path), cell_px0=(224.0, 224.0)))
        write_ome_tiff(heatmap_path(home / "run" / "qupath", path.stem), draw_heatmap([[0.5]]))
    write_qupath_project(home / "run" / "qupath", slides, 0)
    return home


def addresses(folder):
    project = json.loads((folder / "project.qpproj").read_text())
    found = {}
    for image in project["images"]:
        server = image["serverBuilder"]
        found[image["imageName"]] = server.get("builder", server)["uri"]
    return project["uri"], found


def test_a_project_that_was_not_moved_keeps_every_byte(home):
    before = (home / "run" / "qupath" / "project.qpproj").read_bytes()
    assert rewrite_project(home / "run" / "qupath") == ()
    assert (home / "run" / "qupath" / "project.qpproj").read_bytes() == before


def test_a_project_that_was_moved_alone_finds_its_heatmaps_and_leaves_the_slides(home, tmp_path):
    new = tmp_path / "elsewhere" / "qupath"
    shutil.copytree(home / "run" / "qupath", new)
    assert rewrite_project(new) == ("tumor_001 heatmap", "test_001 heatmap")
    own, found = addresses(new)
    assert own == (new / "project.qpproj").as_uri()
    assert found["tumor_001 heatmap"] == heatmap_path(new, "tumor_001").as_uri()
    assert found["tumor_001"] == (home / "slides" / "training" / "tumor_001.tif").as_uri()


def test_slides_that_were_moved_along_are_found_from_the_project(home, tmp_path):
    new = tmp_path / "new"
    home.rename(new)
    assert len(rewrite_project(new / "run" / "qupath")) == 4
    _, found = addresses(new / "run" / "qupath")
    assert found["test_001"] == (new / "slides" / "testing" / "test_001.tif").as_uri()


@pytest.mark.parametrize(
    "below", ["training/tumor_001.tif", "tumor_001.tif", "slides/training/tumor_001.tif"]
)
def test_slides_are_found_below_their_new_root(home, tmp_path, below):
    root = tmp_path / "archive"
    for path in (root / below, root / "testing" / "test_001.tif"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    changed = rewrite_project(home / "run" / "qupath", root)
    assert changed == ("tumor_001", "test_001")
    _, found = addresses(home / "run" / "qupath")
    assert found["tumor_001"] == (root / below).as_uri()


def test_the_longest_end_of_a_path_wins(home, tmp_path):
    for below in ("tumor_001.tif", "training/tumor_001.tif", "test_001.tif"):
        (tmp_path / "archive" / below).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / below).touch()
    rewrite_project(home / "run" / "qupath", tmp_path / "archive")
    _, found = addresses(home / "run" / "qupath")
    assert found["tumor_001"] == (tmp_path / "archive" / "training" / "tumor_001.tif").as_uri()


def test_addresses_from_windows_are_understood(home):
    path = home / "run" / "qupath" / "project.qpproj"
    text = path.read_text().replace(home.as_uri(), "file:/C:/Users/a%20b")
    path.write_text(text)
    assert len(rewrite_project(path.parent)) == 4
    _, found = addresses(path.parent)
    assert found["test_001"] == (home / "slides" / "testing" / "test_001.tif").as_uri()


def test_what_qupath_has_added_stays(home):
    path = home / "run" / "qupath" / "project.qpproj"
    project = json.loads(path.read_text())
    server = project["images"][0]["serverBuilder"]
    project["images"][0]["serverBuilder"] = {
        "builderType": "rotated",
        "builder": server,
        "rotation": "ROTATE_90",
    }
    project["images"][0]["description"] = "looked at"
    path.write_text(json.dumps(project))
    (home / "slides").rename(home / "moved")
    assert rewrite_project(path.parent, home / "moved") == ("tumor_001", "test_001")
    image = json.loads(path.read_text())["images"][0]
    assert image["description"] == "looked at"
    assert image["serverBuilder"]["rotation"] == "ROTATE_90"
    assert image["serverBuilder"]["builder"]["uri"].endswith("/moved/training/tumor_001.tif")


def test_slides_that_are_nowhere_are_named_and_nothing_is_changed(home, tmp_path):
    (home / "slides" / "testing" / "test_001.tif").unlink()
    before = (home / "run" / "qupath" / "project.qpproj").read_bytes()
    with pytest.raises(ExportError, match=r"1 images.*test_001 \("):
        rewrite_project(home / "run" / "qupath", tmp_path)
    assert (home / "run" / "qupath" / "project.qpproj").read_bytes() == before


def test_a_folder_without_a_project_is_refused(tmp_path):
    with pytest.raises(ExportError, match="no QuPath project"):
        rewrite_project(Path(tmp_path))


def test_slides_in_an_object_store_are_joined_once_they_were_fetched(tmp_path, draw_heatmap):
    folder = tmp_path / "fetched" / "export"
    slide = ProjectSlide(
        slide_id="test_001", path="s3://bucket/CAMELYON16/images/test_001.tif", cell_px0=(224.0, 224.0)
    )
    write_ome_tiff(heatmap_path(folder, "test_001"), draw_heatmap([[0.5]]))
    write_qupath_project(folder, [slide], 0)
    assert addresses(folder)[1]["test_001"] == slide.path
    with pytest.raises(ExportError, match="slides_root"):
        rewrite_project(folder)
    here = tmp_path / "slides" / "images" / "test_001.tif"
    here.parent.mkdir(parents=True)
    here.write_bytes(b"slide")
    assert rewrite_project(folder, tmp_path / "slides") == ("test_001",)
    assert addresses(folder)[1]["test_001"] == here.as_uri()
