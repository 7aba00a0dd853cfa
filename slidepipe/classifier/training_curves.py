"""A training as others show it: events for TensorBoard, and a picture of its curves.

Equal trainings give equal bytes: no date is drawn, and an event happens at the second that its epoch has for a number.
TensorBoard therefore shows no true times; those stand in the journal of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from slidepipe.classifier.training_history import EVENTS_NAME, PLOT_NAME, EpochResult
from slidepipe.storage.publish import atomic_path

_INK, _TRAIN, _VALIDATION = "#22313f", "#b06a00", "#1f5fa8"


def write_events(folder: Path, history: Sequence[EpochResult]) -> None:
    """Write all numbers of all epochs for TensorBoard.

    Parameters
    ----------
    folder
        Folder of the model.
    history
        The epochs so far.
    """
    with atomic_path(folder / EVENTS_NAME) as temporary:
        writer = RecordWriter(str(temporary))
        writer.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString(deterministic=True))
        for row in history:
            numbers = {name: value for name, value in asdict(row).items() if name != "epoch"}
            summary = Summary(
                value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
            )
            event = Event(wall_time=row.epoch, step=row.epoch, summary=summary)
            writer.write(event.SerializeToString(deterministic=True))
        writer.close()


def draw_history(folder: Path, history: Sequence[EpochResult], kept: int) -> None:
    """Draw losses and AUC, epoch by epoch.

    Parameters
    ----------
    folder
        Folder of the model; receives ``training.png``.
    history
        Every epoch.
    kept
        Number of the epoch whose weights are kept; it is marked.
    """
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, auc = figure.subplots(1, 2)
    epochs = [row.epoch for row in history]
    loss.plot(epochs, [row.train_loss for row in history], "o-", color=_TRAIN, label="training, augmented")
    loss.plot(epochs, [row.validation_loss for row in history], "o-", color=_VALIDATION, label="validation")
    auc.plot(epochs, [row.validation_auc for row in history], "o-", color=_VALIDATION)
    loss.legend(frameon=False, fontsize=9)
    for axes, title in ((loss, "Cross-entropy"), (auc, "AUC of the validation patches")):
        for line in axes.lines:
            line.set(markersize=3.5, linewidth=1.6)
        axes.axvline(kept, color="#8a949e", linewidth=0.8, linestyle="--")
        axes.set_title(title, fontsize=10, loc="left", color=_INK)
        axes.set_xlabel("epoch (dashed: the one that is kept)", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#e3e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9, colors=_INK)
    with atomic_path(folder / PLOT_NAME) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
