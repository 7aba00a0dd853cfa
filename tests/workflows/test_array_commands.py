"""The commands of job arrays say what scripts need to know, and exit so that chains of jobs go on."""

from pathlib import Path

from click.testing import CliRunner, Result

from slidepipe.cli import main


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_begin_prints_the_number_of_tasks_and_finish_says_what_became_of_them(study: Path, tmp_path: Path):
    run = tmp_path / "run"
    begun = call("tile-begin", study, "--run", run, "--tasks", 2)
    assert begun.exit_code == 0, begun.output
    assert begun.stdout.splitlines()[-1] == "2"
    assert call("tile-block", "--run", run, "--index", 0).exit_code == 0
    early = call("tile-finish", "--run", run)
    assert early.exit_code == 1
    assert "tasks that were killed, never ran or still run: 1;" in early.output
    assert call("tile-block", "--run", run, "--index", 1).exit_code == 0
    finished = call("tile-finish", "--run", run)
    assert finished.exit_code == 0, finished.output
    assert "tile: 2 of 2 slides done" in finished.output
    outside = call("tile-block", "--run", run, "--index", 2)
    assert outside.exit_code == 1
    assert "--array=0-1" in outside.output
    assert call("heatmap-block", "--run", run, "--index", 0).exit_code == 1
    modelless = call("heatmap-begin", "--run", run)
    assert modelless.exit_code == 1
    assert "no classifier yet" in modelless.output


def test_a_bad_slide_fails_neither_begin_nor_task_but_the_finish(tmp_path: Path):
    (tmp_path / "bad.tif").write_bytes(b"this was a slide once")
    run = tmp_path / "run"
    serial = ("--set", "cluster.kind=serial")
    begun = call("tile-begin", tmp_path / "bad.tif", "--run", run, "--tasks", 4, *serial)
    assert begun.exit_code == 0, begun.output
    assert begun.stdout.splitlines()[-1] == "0"
    assert "bad failed: " in begun.output
    assert call("tile-block", "--run", run, "--index", 3).exit_code == 0
    finished = call("tile-finish", "--run", run)
    assert finished.exit_code == 1
    assert "1 failed" in finished.output


def test_begin_only_looks_for_slides_and_single_ones_are_taken_through_a_stage(study: Path, tmp_path: Path):
    run = tmp_path / "run"
    begun = call("begin", study, "--run", run)
    assert begun.exit_code == 0, begun.output
    assert "test_001" in (run / "cohort.csv").read_text()
    assert "test_001" in (run / "tissue.csv").read_text()
    assert not (run / "tiles").exists()
    cut = call("tile", "--run", run, "--slide", "test_001")
    assert cut.exit_code == 0, cut.output
    assert [path.name for path in (run / "tiles").iterdir()] == ["test_001.zarr"]
    assert "no slide of" in call("tile", "--run", run, "--slide", "test_9").output
    assert call("tile", study, "--run", run, "--slide", "test_001").exit_code == 2
