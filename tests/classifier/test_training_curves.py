"""TensorBoard reads the events of a training, and its curves become a picture."""

import csv
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slidepipe.classifier.training_curves import draw_history, write_events
from slidepipe.classifier.training_history import (
    EVENTS_NAME,
    HISTORY_NAME,
    PLOT_NAME,
    EpochResult,
    write_history,
)

HISTORY = tuple(
    EpochResult(epoch, 0.002 / epoch, 0.7 / epoch, 0.6 / epoch, 1 - 0.2 / epoch) for epoch in (1, 2, 3)
)


@pytest.mark.filterwarnings("ignore")  # of TensorBoard itself
def test_tensorboard_reads_every_number_of_every_epoch(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_events(tmp_path, HISTORY)
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    names = set(asdict(HISTORY[0])) - {"epoch"}
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert read == [(row.epoch, np.float32(asdict(row)[name])) for row in HISTORY]


def test_equal_histories_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_events(tmp_path / name, HISTORY)
        draw_history(tmp_path / name, HISTORY, 3)
    for file in (EVENTS_NAME, PLOT_NAME):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    draw_history(tmp_path / "other", HISTORY, 2)
    assert (tmp_path / "other" / PLOT_NAME).read_bytes() != (tmp_path / "first" / PLOT_NAME).read_bytes()
    with Image.open(tmp_path / "first" / PLOT_NAME) as picture:
        assert picture.size[0] > picture.size[1] > 300


def test_the_table_has_a_row_for_every_epoch(tmp_path: Path) -> None:
    write_history(tmp_path, HISTORY)
    with (tmp_path / HISTORY_NAME).open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == [asdict(row) for row in HISTORY]
