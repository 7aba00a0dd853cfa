"""Annotations that were made or corrected in QuPath, in training and in evaluation."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from slidepipe.config import load_config
from slidepipe.runs.pipeline import STAGES, run_stages
from slidepipe.runs.references import scanned_area, slide_reference
from slidepipe.runs.study import Study, begin_study

from .conftest import QUICK, quiet


@pytest.fixture
def again(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study whose annotations come from a folder of QuPath's."""
    shutil.copytree(finished.folder.root, tmp_path / "run")
    drawn = finished.config.slides.folder
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    for slide in finished.slides:
        reference = slide_reference(finished, slide)
        if reference is not None:
            rings = [outline.points_px0 for outline in reference.outlines]
            (annotations / f"{slide.source.slide_id}.geojson").write_text(as_qupath_writes(rings))
    slides = [f"slides={drawn}", f"slides.annotations={annotations}", "slides.classes={Metastasis: true}"]
    return begin_study(tmp_path / "run", load_config(None, [*slides, "name=trial", *QUICK]))


def as_qupath_writes(rings: list[NDArray[np.float64]], *, class_name: str = "Tumor") -> str:
    """Annotations as QuPath exports them with "Export as FeatureCollection"."""
    features = [
        {
            "type": "Feature",
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": class_name, "color": [200, 0, 0]},
            },
        }
        for number, ring in enumerate(rings)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def test_outlines_of_a_cropped_slide_come_back_to_where_they_are_on_it(again: Study):
    slide = next(slide for slide in again.slides if slide.annotation is not None)
    before = slide_reference(again, slide)
    metadata = again.folder.tiles(slide.source.slide_id) / "zarr.json"
    store = json.loads(metadata.read_text())
    store["attributes"]["slidepipe"]["slide"]["bounds_px0"] = [300, 200, 1000, 1000]
    metadata.write_text(json.dumps(store))
    assert scanned_area(again, slide.source.slide_id) == (300, 200, 1000, 1000)
    after = slide_reference(again, slide)
    for old, new in zip(before.outlines, after.outlines, strict=True):
        np.testing.assert_array_equal(new.points_px0, old.points_px0 + np.array((300, 200)))


def test_what_was_corrected_in_qupath_is_trained_on_and_evaluated_against(again: Study):
    for name in ("test_001", "tumor_002"):
        slide = next(slide for slide in again.slides if slide.source.slide_id == name)
        rings = [outline.points_px0 for outline in slide_reference(again, slide).outlines]
        largest = max(rings, key=lambda ring: shapely.Polygon(ring).area)
        Path(slide.annotation).write_text(as_qupath_writes([largest], class_name="Metastasis"))
    old_model, old_slides = results(again)

    console = quiet()
    assert not run_stages(again, STAGES, console), console.file.getvalue()
    model, slides = results(again)

    counts, old_counts = model["training"]["train"], old_model["training"]["train"]
    assert counts["tumor_002"]["tumour_points"] < old_counts["tumor_002"]["tumour_points"]
    assert (slides["test_001"]["n_targets"], slides["test_001"]["n_itc"]) == (1, 0)
    assert old_slides["test_001"]["n_itc"] > 0
    # What nobody corrected is the same in GeoJSON as it was in XML.
    for key in ("n_targets", "n_itc"):
        assert slides["test_003"][key] == old_slides["test_003"][key] > 0


def results(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's card, and what the evaluation says of each slide."""
    evaluation = json.loads((study.folder.evaluation / "evaluation.json").read_text())
    model = json.loads((study.folder.model / "model.json").read_text())
    return model, {slide["slide_id"]: slide for slide in evaluation["slides"]}
