"""The whole chain: complete, resumable, the same with any number of workers, and not stopped by a bad slide."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slidepipe.cluster_settings import ClusterSettings, WorkerSettings
from slidepipe.config import StudyConfig, load_config
from slidepipe.errors import RunError
from slidepipe.runs.pipeline import STAGES, RunOptions, run_stages
from slidepipe.runs.reporting import JOURNAL_STAGES
from slidepipe.runs.study import Study, begin_study, open_study
from slidepipe.runs.verify import find_problems

from .conftest import QUICK, digests, quiet


@pytest.fixture
def again(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study, to go on with."""
    shutil.copytree(finished.folder.root, tmp_path / "run")
    study = open_study(tmp_path / "run")
    run_stages(study, ("export", "report"), quiet())  # the QuPath project names its own place
    return study


def times(study: Study) -> dict[str, set[float]]:
    """When the entries of each stage were begun."""
    return {
        stage: {entry.started for entry in study.journal.entries(stage)}
        for stage in (*JOURNAL_STAGES, "report")
    }


def test_a_run_leaves_every_output(finished: Study):
    slide_ids = [slide.source.slide_id for slide in finished.slides]
    assert len(slide_ids) == 8
    for slide_id in slide_ids:
        assert (finished.folder.tiles(slide_id) / "zarr.json").is_file()
        assert (finished.folder.heatmap(slide_id) / "zarr.json").is_file()
        assert finished.folder.lesions(slide_id).is_file()
        assert (finished.folder.overviews / f"{slide_id}.jpg").is_file()
        assert (finished.folder.export / "geojson" / f"{slide_id}.geojson.gz").is_file()
    assert (finished.folder.model / "model.safetensors").is_file()
    assert (finished.folder.export / "project.qpproj").is_file()
    page = finished.folder.report.read_text(encoding="utf-8")
    assert all(slide_id in page for slide_id in slide_ids)
    results = json.loads((finished.folder.evaluation / "evaluation.json").read_text())
    assert results["auc"]["n_slides"] == 4
    states = {entry.state for stage in JOURNAL_STAGES for entry in finished.journal.entries(stage)}
    assert states == {"done"}


def test_what_the_workers_did_is_kept_in_the_run_unless_a_page_is_named(
    quick_config: StudyConfig, tmp_path: Path
):
    local = replace(quick_config.cluster, kind="local", workers=1)
    study = begin_study(tmp_path / "run", replace(quick_config, cluster=local)).choose(["normal_001"])
    for asked, page in (
        (Path(), study.folder.performance),
        (tmp_path / "a" / "b.html", tmp_path / "a" / "b.html"),
    ):
        assert not run_stages(study, ("preview",), quiet(), RunOptions(performance_report=asked))
        assert "<html" in page.read_text(encoding="utf-8")


def test_a_finished_run_has_no_problem_and_no_leftover(finished: Study):
    found = find_problems(finished, decode=True)
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert len(found) > 4 * 8
    leftovers = [
        path for path in finished.folder.root.rglob("*") if path.suffix in {".tmp", ".work", ".deleting"}
    ]
    assert leftovers == []


def test_a_second_run_does_nothing(finished: Study):
    before = digests(finished.folder.root)
    console = quiet()
    assert not run_stages(finished, STAGES, console)
    assert digests(finished.folder.root) == before
    assert console.file.getvalue().count("nothing to do") == len(STAGES)


def test_what_a_killed_run_left_is_removed_even_if_there_is_nothing_to_do(again: Study):
    root = again.folder.root
    before = digests(root)
    strays = (
        "journal/tile/.a.json.01234567.tmp",
        "tiles/.a.zarr.work.89abcdef.deleting/0.json",
        ".b.csv.00000000.tmp",
    )
    for name in strays:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"half")
        for path in (root / name, (root / name).parent):
            os.utime(path, (0, 0))
    assert not run_stages(again, ("tile",), quiet())
    assert digests(root) == before
    assert not (root / "tiles/.a.zarr.work.89abcdef.deleting").exists()


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("predict.lesions.threshold=0.6", {"lesions", "predict", "evaluate", "export", "qupath", "report"}),
        ("evaluate.resamples=20", {"evaluate", "report"}),
        ("export.tiles=false", {"export", "qupath", "report"}),
        (
            "heatmap.stride_px=128",
            {"heatmap", "lesions", "predict", "evaluate", "export", "qupath", "report"},
        ),
        ("inference.threads=2", set()),
        ("tiles.stage_dir=scratch", set()),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(again: Study, override: str, redone: set[str]):
    before = times(again)
    changed = open_study(again.folder.root, [override])
    assert not run_stages(changed, STAGES, quiet())
    after = times(changed)
    assert {stage for stage in after if after[stage] != before[stage]} == redone


def test_nothing_is_trained_on_the_way_where_the_model_is_named(again: Study, finished: Study):
    shutil.rmtree(again.folder.model)
    named = open_study(again.folder.root, [f"inference.model={finished.folder.model}"])
    console = quiet()
    assert not run_stages(named, STAGES, console)
    assert "train left out: inference.model" in console.file.getvalue()
    assert not again.folder.model.exists()
    assert not run_stages(named, ("train",), quiet())
    assert digests(again.folder.model) == digests(finished.folder.model)


def test_an_edited_row_of_the_tissue_table_cuts_that_slide_again(again: Study):
    table = again.folder.tissue_table
    header, *rows = table.read_text().splitlines()
    column = header.split(",").index("min_saturation")
    first = rows[0].split(",")
    first[column] = "0.2"
    table.write_text("\n".join([header, ",".join(first), *rows[1:]]) + "\n")
    before = {entry.slide_id: entry.started for entry in again.journal.entries("tile")}
    run_stages(again, ("tile",), quiet())
    after = {entry.slide_id: entry.started for entry in again.journal.entries("tile")}
    assert [slide_id for slide_id in after if after[slide_id] != before[slide_id]] == [first[0]]


def test_a_lost_or_changed_output_is_made_again(again: Study):
    expected = digests(again.folder.root / "lesions")
    again.folder.lesions("test_001").write_text("not what was written")
    shutil.rmtree(again.folder.heatmap("test_002"))
    assert sorted(name for name, found in find_problems(again).items() if found) == [
        "heatmap test_002",
        "lesions test_001",
    ]
    assert not run_stages(again, STAGES, quiet())
    assert digests(again.folder.root / "lesions") == expected
    assert not any(find_problems(again).values())


def test_two_workers_write_the_same_bytes_as_one(finished: Study, quick_config: StudyConfig, tmp_path: Path):
    config = replace(quick_config, cluster=ClusterSettings(kind="local", workers=2))
    study = begin_study(tmp_path / "run", config)
    assert not run_stages(study, ("tile", "train", "heatmap", "predict"), quiet())
    for part in ("tiles", "model", "heatmaps", "lesions", "predictions", "overviews"):
        assert digests(study.folder.root / part) == digests(finished.folder.root / part), part


def test_a_bad_slide_is_written_down_and_the_rest_go_on(drawn_cohort: Path, tmp_path: Path):
    cohort = tmp_path / "cohort"
    shutil.copytree(drawn_cohort, cohort)
    (cohort / "images" / "test_003.tif").write_bytes(b"this was a slide once")
    study = begin_study(tmp_path / "run", load_config(None, [f"slides={cohort}", *QUICK]))
    console = quiet()
    assert run_stages(study, STAGES, console)
    entry = study.journal.read("tile", "test_003")
    assert entry is not None
    assert entry.failure is not None
    assert "test_003" in entry.failure.message
    assert "1 failed" in console.file.getvalue()
    assert {each.slide_id for each in study.journal.entries("heatmap")} == {
        slide.source.slide_id for slide in study.slides if slide.source.slide_id != "test_003"
    }
    results = json.loads((study.folder.evaluation / "evaluation.json").read_text())
    assert results["auc"]["n_slides"] == 4
    assert any("test_003" in note for note in results["notes"])
    page = study.folder.report.read_text(encoding="utf-8")
    assert "test_003" in page
    assert "test_003.tif" not in page
    assert str(cohort) not in page


def test_a_slide_that_was_replaced_is_refused_until_it_is_accepted(drawn_cohort: Path, tmp_path: Path):
    slides = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for slide, source in zip(slides, ("test_001", "test_002"), strict=True):
        shutil.copyfile(drawn_cohort / "images" / f"{source}.tif", slide)
    config = load_config(None, [f"slides=[{slides[0]}, {slides[1]}]", *QUICK])
    study = begin_study(tmp_path / "run", config)
    assert not run_stages(study, ("tile",), quiet())
    before, original = digests(study.folder.tiles("a")), slides[0].read_bytes()

    shutil.copyfile(drawn_cohort / "images" / "test_003.tif", slides[0])
    for _ in range(2):  # and it does not forget
        console = quiet()
        assert run_stages(begin_study(tmp_path / "run", config), ("tile",), console)
        assert (
            "tile a failed: SlideChangedError: slide a: its file has another content"
            in console.file.getvalue()
        )
        assert "--accept-changed" in console.file.getvalue()
        assert digests(study.folder.tiles("a")) == before
    assert "another content" in find_problems(study)["slide a"][0]

    slides[0].write_bytes(original)
    assert not run_stages(study, ("tile",), quiet())
    assert digests(study.folder.tiles("a")) == before

    shutil.copyfile(drawn_cohort / "images" / "test_003.tif", slides[0])
    assert not run_stages(study, ("tile",), quiet(), RunOptions(accept_changed=True))
    assert digests(study.folder.tiles("a")) != before
    assert not any(find_problems(study).values())
    assert not run_stages(study, ("tile",), quiet())


def test_a_slide_that_hangs_on_reading_fails_and_the_rest_go_on(
    drawn_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("slidepipe.runs.plan._LOOK_TIMEOUT_S", 1)
    good, pipe = tmp_path / "good.tif", tmp_path / "pipe.tif"
    shutil.copyfile(drawn_cohort / "images" / "test_001.tif", good)
    shutil.copyfile(good, pipe)
    config = load_config(None, [f"slides=[{good}, {pipe}]", *QUICK])
    study = begin_study(tmp_path / "run", config)
    pipe.unlink()
    os.mkfifo(pipe)
    assert run_stages(study, ("tile",), quiet())
    states = {entry.slide_id: entry for entry in study.journal.entries("tile")}
    assert states["good"].state == "done"
    assert states["pipe"].failure is not None
    assert states["pipe"].failure.kind == "TaskTimeoutError"


def test_a_second_command_on_the_same_run_is_refused_and_changes_nothing(again: Study):
    before = digests(again.folder.root)
    code = "import sys, pathlib, slidepipe.runs.ownership as o\nwith o.own_run(pathlib.Path(sys.argv[1])):\n"
    command = [sys.executable, "-c", code + "    print(flush=True); input()", str(again.folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for attempt in (
            lambda: run_stages(again, STAGES, quiet()),
            lambda: begin_study(again.folder.root, replace(again.config, name="other")),
            lambda: open_study(again.folder.root, ["evaluate.resamples=20"]),
        ):
            with pytest.raises(RunError, match=f"is being worked on by process {other.pid}"):
                attempt()
        other.communicate(b"\n")
    assert digests(again.folder.root) == before
    assert not run_stages(again, STAGES, quiet())


def test_training_may_be_sent_to_a_worker_and_is_told_about_here(finished: Study, tmp_path: Path):
    shutil.copytree(finished.folder.root, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    cluster = ClusterSettings(kind="local", workers=1, stages={"train": WorkerSettings(threads_per_worker=1)})
    study = open_study(tmp_path / "run")
    console = quiet()
    assert not run_stages(replace(study, config=replace(study.config, cluster=cluster)), ("train",), console)
    assert digests(study.folder.model) == digests(finished.folder.model)
    assert "train: epoch 1, loss" in console.file.getvalue()
    assert "dashboard: http://127.0.0.1:" in console.file.getvalue()


def test_a_run_of_another_format_is_refused(again: Study):
    (again.folder.root / "run.json").write_text('{"format_version": 99}')
    with pytest.raises(Exception, match="run format 99, this slidepipe reads 1"):
        open_study(again.folder.root)
