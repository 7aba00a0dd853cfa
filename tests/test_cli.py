"""Commands do what their help says, and end with words and an exit code that scripts can rely on."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.checkpoint import save_model
from slidepipe.classifier.networks import build_network
from slidepipe.cli import main
from slidepipe.heatmaps.store import open_heatmap

SERIAL = ("--set", "cluster.kind=serial")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_slides_alone_are_enough_to_tile(shared_data: Path, tmp_path: Path):
    slides = shared_data / "slides"
    result = call(
        "tile",
        slides / "CMU-1-Small-Region.svs",
        slides / "tumor_072_level7_philips.tif",
        slides / "tumor_072_level7_asap.tif",
        "--run",
        tmp_path / "run",
        *SERIAL,
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "tiles" / "CMU-1-Small-Region.zarr" / "zarr.json").is_file()
    assert (tmp_path / "run" / "overviews" / "tumor_072_level7_asap.jpg").is_file()
    assert call("verify", "--run", tmp_path / "run").exit_code == 0


def test_a_file_that_is_no_page_is_not_taken_for_the_performance_report(tmp_path: Path):
    config = tmp_path / "study.yaml"
    config.write_text("slides: here\n")
    refused = call("run", "--performance-report", config)
    assert refused.exit_code == 2
    assert "no name of an HTML page" in refused.output
    assert config.read_text() == "slides: here\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    card = ModelCard(
        architecture="compact",
        patch_px=96,
        mpp=1.5,
        mpp_range=(1.5, 1.5),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        weights_sha256="",
        training={},
        metrics={},
        software={},
    )
    save_model(folder, build_network("compact"), card)
    return folder


def test_slides_and_a_model_are_enough_for_heatmaps_and_qupath(
    shared_data: Path, tmp_path: Path, model: Path
):
    slide, run = shared_data / "slides" / "CMU-1-Small-Region.svs", tmp_path / "run"
    result = call("heatmap", slide, "--model", model, "--run", run, "--qupath", *SERIAL)
    assert result.exit_code == 0, result.output
    assert "forward" in result.output
    heatmap = open_heatmap(run / "heatmaps" / "CMU-1-Small-Region.zarr")
    # Half a patch of 96 px at 1.5 µm, whatever the slide's own pixels are.
    assert heatmap.cell_um.mean_um == pytest.approx(72, rel=1e-3)
    assert np.isfinite(heatmap.probability).sum() > 100
    assert (run / "export" / "project.qpproj").is_file()
    assert "forward" in call("status", "--run", run).output
    assert call("verify", "--run", run).exit_code == 0
    again = call("heatmap", "--run", run)
    assert again.exit_code == 0
    assert "heatmap nothing to do" in again.output


def test_a_heatmap_needs_a_run_or_slides(model: Path):
    refused = call("heatmap", "--model", model)
    assert refused.exit_code == 2
    assert "--run DIR of a study, or SLIDES" in refused.output


def test_a_slide_without_pixel_size_is_refused_until_it_is_given(shared_data: Path, tmp_path: Path):
    slide = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    refused = call("tile", slide, "--run", tmp_path / "run", *SERIAL)
    assert refused.exit_code == 1
    assert "tcga-cr-7395-01a-01-ts1" in refused.output
    assert "mpp" in refused.output
    given = call("tile", "--run", tmp_path / "run", "--set", "slides.mpp=0.5")
    assert given.exit_code == 0, given.output
    late = call("heatmap", "--run", tmp_path / "run", "--set", "slides.mpp=0.4")
    assert late.exit_code == 1
    assert "set it there" in late.output


def test_dicom_and_plain_tiff_are_slides_too(shared_data: Path, tmp_path: Path):
    slides = shared_data / "slides"
    result = call(
        "tile",
        slides / "boxes.tiff",
        slides / "boxes_0.dcm",
        "--run",
        tmp_path / "run",
        *SERIAL,
        "--set",
        "slides.mpp=0.5",
    )
    assert result.exit_code == 0, result.output


def test_files_that_are_no_slides_end_in_the_journal_and_stop_nothing(shared_data: Path, tmp_path: Path):
    odd = sorted((shared_data / "odd").iterdir())
    good = shared_data / "slides" / "CMU-1-Small-Region.svs"
    result = call("tile", *odd, good, "--run", tmp_path / "run", *SERIAL)
    assert result.exit_code == 1
    status = json.loads(call("status", "--run", tmp_path / "run", "--json").output)
    failed = {entry["slide_id"]: entry["failure"] for entry in status["failures"]}
    assert set(failed) == {path.stem for path in odd}
    assert all(failure["expected"] and name in failure["message"] for name, failure in failed.items())
    assert status["stages"]["tile"]["done"] == 1


def test_a_slide_without_tissue_is_named_at_the_end(shared_data: Path, tmp_path: Path):
    slide = shared_data / "odd" / "small_la.tiff"
    result = call("tile", slide, "--run", tmp_path / "run", *SERIAL, "--set", "slides.mpp=0.5")
    assert result.exit_code == 0, result.output
    assert "no tissue was found on 1 slide: small_la" in result.output


def test_a_preview_shows_what_would_be_cut_and_cuts_nothing(shared_data: Path, tmp_path: Path):
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    result = call("tile", slide, "--run", tmp_path / "run", "--preview", *SERIAL)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "overviews" / "CMU-1-Small-Region.jpg").is_file()
    assert not (tmp_path / "run" / "tiles").exists()
    assert "CMU-1-Small-Region" in (tmp_path / "run" / "tissue.csv").read_text()


def test_a_stage_without_what_it_needs_says_so(shared_data: Path, tmp_path: Path):
    call("tile", shared_data / "slides" / "CMU-1-Small-Region.svs", "--run", tmp_path / "run", *SERIAL)
    result = call("heatmap", "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert "no classifier yet" in result.output
    trained = call("train", "--run", tmp_path / "run")
    assert trained.exit_code == 1
    assert "Traceback (most recent call last)" not in trained.output


@pytest.mark.parametrize("command", ["train", "status", "report"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, command: str):
    result = call(command, "--run", tmp_path)
    assert result.exit_code == 1
    assert "not a run directory" in result.output


def test_an_unknown_setting_is_named_with_its_nearest_neighbour(tmp_path: Path):
    (tmp_path / "study.yaml").write_text("slides: .\ntiles:\n  mppp: 0.5\n")
    result = call("run", tmp_path / "study.yaml", "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert "study.yaml:3" in result.output
    assert "mpp" in result.output


def test_results_of_others_are_evaluated_and_compared(shared_data: Path, tmp_path: Path):
    folder = shared_data / "camelyon16"
    for name in ("pred_I", "Method_I"):
        result = call(
            "evaluate", "--slide-scores", folder / "slide-predictions-test.csv", "--score-column", name,
            "--reference", folder / "reference.csv", "--resamples", "50", "--json", tmp_path / name / "evaluation.json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "pred_I" / "evaluation.json").read_text())
    assert written["auc"]["n_slides"] == 129
    compared = call(
        "compare",
        tmp_path / "pred_I",
        tmp_path / "Method_I",
        "--resamples",
        "50",
        "--json",
        tmp_path / "c.json",
    )
    assert compared.exit_code == 0, compared.output
    assert "AUC" in compared.output


def test_evaluate_asks_for_what_it_needs():
    result = call("evaluate")
    assert result.exit_code == 2
    assert "--reference" in result.output


def test_what_a_slide_file_tells_about_patients_is_listed_without_its_values(shared_data: Path):
    result = call("check-phi", shared_data / "slides" / "CMU-1-Small-Region.svs")
    assert result.exit_code == 1
    assert "label" in result.output
    clean = call("check-phi", shared_data / "slides" / "tumor_072_level7_asap.tif")
    assert clean.exit_code == 0, clean.output


def test_a_geojson_file_of_others_is_checked_for_qupath(shared_data: Path, tmp_path: Path):
    assert call("export", "--check", shared_data / "slides" / "qupath05.geojson").exit_code == 0
    (tmp_path / "bad.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","id":null}]}'
    )
    result = call("export", "--check", tmp_path / "bad.geojson")
    assert result.exit_code == 1
    assert "bad.geojson" in result.output


def test_the_doctor_examines_this_machine():
    result = call("doctor")
    assert "openslide" in result.output.lower()
    assert result.exit_code in {0, 1}


def test_the_model_of_the_package_makes_heatmaps_without_any_training(shared_data: Path, tmp_path: Path):
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    run = ("--run", tmp_path / "run")
    tiled = call("tile", slide, *run, *SERIAL, "--set", "tiles.mpp=0.972")
    assert tiled.exit_code == 0, tiled.output
    result = call("heatmap", *run, "--model", "builtin")
    assert result.exit_code == 0, result.output
    heatmap = open_heatmap(tmp_path / "run" / "heatmaps" / "CMU-1-Small-Region.zarr")
    looked_at = heatmap.probability[~np.isnan(heatmap.probability)]
    assert len(looked_at) > 100
    assert 0 <= looked_at.min() <= looked_at.max() <= 1
