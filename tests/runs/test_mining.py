"""Rounds of hard-negative mining over a run."""

import json
import shutil
from pathlib import Path

import pytest

from slidepipe.errors import RunError
from slidepipe.runs.mining import read_rounds
from slidepipe.runs.pipeline import STAGES, run_stages
from slidepipe.runs.study import Study, open_study

from .conftest import quiet

EAGER = ("mine.threshold=0.05", "mine.radius_um=60", "mine.per_slide=40")
"""The classifier of one epoch is sure of nothing."""


@pytest.fixture
def again(finished: Study, tmp_path: Path) -> Study:
    """A copy of the finished study, to go on with."""
    shutil.copytree(finished.folder.root, tmp_path / "run")
    return open_study(tmp_path / "run", EAGER)


def test_mined_places_are_trained_on_and_the_card_says_so(again: Study):
    first_card = json.loads((again.folder.model / "model.json").read_text())
    console = quiet()
    assert not run_stages(again, ("mine",), console)
    (found,) = read_rounds(again)
    assert found.weights_sha256 == first_card["weights_sha256"]
    assert {place.slide_id for place in found.places} <= {"normal_001", "normal_002"}
    assert 0 < len(found.places) <= 80
    assert f"{len(found.places)} hard negatives on 2 normal training slides" in console.file.getvalue()

    console = quiet()
    assert not run_stages(again, ("mine",), console)
    assert "nothing to do" in console.file.getvalue()

    assert not run_stages(again, STAGES, quiet())
    card = json.loads((again.folder.model / "model.json").read_text())
    assert card["weights_sha256"] != first_card["weights_sha256"]
    assert card["training"]["mining_rounds"] == [found.facts()]
    assert any(counts["hard_negatives"] for counts in card["training"]["train"].values())

    run_stages(again, ("mine",), quiet())
    assert [each.number for each in read_rounds(again)] == [1, 2]
    assert read_rounds(again)[1].weights_sha256 == card["weights_sha256"]


def test_mining_again_with_other_settings_replaces_the_round_of_the_model(again: Study):
    run_stages(again, ("mine",), quiet())
    fewer = open_study(again.folder.root, ["mine.per_slide=3"])
    run_stages(fewer, ("mine",), quiet())
    (found,) = read_rounds(fewer)
    assert len(found.places) <= 6


def test_a_changed_table_of_places_is_refused(again: Study):
    run_stages(again, ("mine",), quiet())
    table = again.folder.mining / "round_001.csv"
    table.write_text(table.read_text().replace("normal_001", "test_001"))
    with pytest.raises(RunError, match=r"round_001\.csv is not the table"):
        read_rounds(again)


def test_without_heatmaps_there_is_nothing_to_mine(again: Study):
    shutil.rmtree(again.folder.journal)
    with pytest.raises(RunError, match="no heatmap of a normal training slide"):
        run_stages(again, ("mine",), quiet())
