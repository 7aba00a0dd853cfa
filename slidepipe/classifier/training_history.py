"""What a training came to, epoch by epoch: a row of ``training.csv`` each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slidepipe.storage.publish import write_text

HISTORY_NAME = "training.csv"
"""One line per epoch, beside the model."""
EVENTS_NAME = "training.tfevents"
"""The same for TensorBoard, which reads every file whose name holds ``tfevents``."""
PLOT_NAME = "training.png"
"""The same as curves."""


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One line of ``training.csv``."""

    epoch: int
    """Counted from 1."""
    learning_rate: float
    """At the end of the epoch."""
    train_loss: float
    """Mean cross-entropy over the epoch, with augmentation and label smoothing."""
    validation_loss: float
    """Mean cross-entropy, without either."""
    validation_auc: float
    """Area under the ROC curve of the validation patches."""


def write_history(folder: Path, history: Sequence[EpochResult]) -> None:
    """Write ``training.csv``.

    Parameters
    ----------
    folder
        Folder of the model.
    history
        The epochs so far.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(field.name for field in fields(EpochResult))
    writer.writerows(asdict(row).values() for row in history)
    write_text(folder / HISTORY_NAME, table.getvalue())
