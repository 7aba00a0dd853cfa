"""The demonstration runs the whole chain on slides that are there or are drawn."""

import shutil
from pathlib import Path

from slidepipe.runs.demo import run_demo

from .conftest import QUICK, quiet


def test_the_demo_goes_through_the_chain_and_ends_with_the_page_to_open(drawn_cohort: Path, tmp_path: Path):
    shutil.copytree(drawn_cohort, tmp_path / "demo" / "cohort")
    console = quiet()
    failed = run_demo(tmp_path / "demo", QUICK, console)
    said = console.file.getvalue()
    assert not failed, said
    assert str(tmp_path / "demo" / "run" / "report.html") in said
    assert "slide AUC" in said
    assert (tmp_path / "demo" / "run" / "report.html").is_file()
