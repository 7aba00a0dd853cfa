"""A training that is killed goes on after its last whole epoch, and ends with the bytes of an undisturbed one."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slidepipe.classifier.patch_training import train_on_patches
from slidepipe.classifier.points import TrainingSlide
from slidepipe.classifier.settings import PatchSettings, TrainSettings
from slidepipe.classifier.training import train_classifier
from slidepipe.classifier.training_history import EVENTS_NAME, HISTORY_NAME
from slidepipe.classifier.unfinished import UNFINISHED_NAME, UnfinishedTraining

from .test_patch_training import write_patches

SIDE = 64
SETTINGS = TrainSettings(
    architecture="compact",
    patches=PatchSettings(patch_px=SIDE, mpp=0.9),
    patches_per_epoch=16,
    validation_patches=16,
    batch_size=8,
    epochs=4,
    weight_averaging=0.9,
    threads=1,
    device="cpu",
)
FILES = ("model.safetensors", "model.json", HISTORY_NAME, EVENTS_NAME)

# Trains in a process of its own, tells each epoch, and then waits to be killed.
_TRAIN = """
import json, sys, time
from slidepipe.classifier.patch_training import train_on_patches
from slidepipe.config import load_config
folder, last, *settings = sys.argv[1:]
def tell(event):
    if event["event"] == "epoch":
        print(event["epoch"], flush=True)
        if event["epoch"] == int(last):
            time.sleep(600)
from pathlib import Path
train_on_patches(load_config(None, settings).train, Path(folder), tell)
"""


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    return replace(
        SETTINGS,
        files=write_patches(tmp_path / "train.zip", 24, 1, SIDE),
        validation_files=write_patches(tmp_path / "valid.zip", 12, 2, SIDE),
    )


class StoppedError(Exception):
    pass


def stop_after(last: int) -> Callable[[dict[str, Any]], None]:
    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == last:
            raise StoppedError

    return tell


def assert_same(first: Path, second: Path) -> None:
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert not (first / UNFINISHED_NAME).exists()


def test_a_killed_training_goes_on_to_the_same_bytes(settings: TrainSettings, tmp_path: Path) -> None:
    overrides = [
        f"train.{name}={json.dumps(value)}" for name, value in asdict(settings).items() if value is not None
    ]
    killed = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "-c", _TRAIN, killed, "2", *overrides], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()

    events: list[dict[str, Any]] = []
    train_on_patches(settings, killed, events.append)
    assert [(event["event"], event["epoch"]) for event in events] == [
        ("resumed", 2),
        ("epoch", 3),
        ("epoch", 4),
    ]
    train_on_patches(settings, tmp_path / "undisturbed")
    assert_same(killed, tmp_path / "undisturbed")


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("architecture", ["symmetric", "compact"])
def test_wherever_it_stops_it_goes_on_to_the_same_bytes(
    settings: TrainSettings, tmp_path: Path, optimiser: Any, architecture: str
) -> None:
    settings = replace(
        settings,
        architecture=architecture,
        optimiser=optimiser,
        patches=replace(settings.patches, patch_px=80 if architecture == "symmetric" else SIDE),
        epochs=3,
        files=write_patches(tmp_path / "train.zip", 24, 1, 80 if architecture == "symmetric" else SIDE),
        validation_files=write_patches(
            tmp_path / "valid.zip", 12, 2, 80 if architecture == "symmetric" else SIDE
        ),
    )
    for last in (1, 2, 3):
        with pytest.raises(StoppedError):
            train_on_patches(settings, tmp_path / "stopped", stop_after(last))
    train_on_patches(settings, tmp_path / "stopped")
    train_on_patches(settings, tmp_path / "undisturbed")
    assert_same(tmp_path / "stopped", tmp_path / "undisturbed")


def test_training_on_slides_goes_on_too(make_slide: Callable[..., TrainingSlide], tmp_path: Path) -> None:
    slides = [
        make_slide(name, seed=i) for i, name in enumerate(("normal_1", "normal_2", "tumor_1", "tumor_2"))
    ]
    with pytest.raises(StoppedError):
        train_classifier(slides, SETTINGS, tmp_path / "stopped", stop_after(2))
    events: list[dict[str, Any]] = []
    train_classifier(slides, SETTINGS, tmp_path / "stopped", events.append)
    assert events[0] == {"event": "resumed", "epoch": 2}
    train_classifier(slides, SETTINGS, tmp_path / "undisturbed")
    assert_same(tmp_path / "stopped", tmp_path / "undisturbed")


def test_the_state_of_another_training_is_not_believed(settings: TrainSettings, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train_on_patches(settings, tmp_path / "model", stop_after(1))
    for other in (
        replace(settings, learning_rate=1e-3),
        replace(settings, files=write_patches(tmp_path / "other.zip", 24, 3, SIDE)),
    ):
        events: list[dict[str, Any]] = []

        def tell(event: dict[str, Any], events: list[dict[str, Any]] = events) -> None:
            events.append(event)
            raise StoppedError

        with pytest.raises(StoppedError):
            train_on_patches(other, tmp_path / "model", tell)
        assert [(event["event"], event["epoch"]) for event in events] == [("epoch", 1)]


class _Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", ["broken", "pickle"])
def test_a_state_that_cannot_be_read_safely_is_told_and_left(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unfinished = UnfinishedTraining(tmp_path, "token")
    if content == "broken":
        unfinished.write({"weights": torch.zeros(100)})
        path = tmp_path / UNFINISHED_NAME
        path.write_bytes(path.read_bytes()[:300])
    else:
        torch.save({"token": "token", "state": _Harm()}, tmp_path / UNFINISHED_NAME, pickle_module=pickle)
    assert unfinished.read() is None
    assert "cannot be read, so training begins anew" in caplog.text
    assert not (tmp_path / "harm").exists()


def test_training_computes_with_the_numbers_asked_for(settings: TrainSettings, tmp_path: Path) -> None:
    settings = replace(settings, precision="bfloat16", epochs=1)
    train_on_patches(settings, tmp_path / "bfloat16")
    train_on_patches(replace(settings, precision="float32"), tmp_path / "float32")
    assert (tmp_path / "bfloat16" / FILES[0]).read_bytes() != (tmp_path / "float32" / FILES[0]).read_bytes()
