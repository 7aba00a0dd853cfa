"""What a training that was killed goes on from: one file, replaced after every epoch and removed at the end.

Nothing random runs on from one epoch to the next, so networks, optimiser, schedule and results are all there is. Torch
writes the file, since its tensors keep their order in memory there, on which the last bit of what follows may depend,
and reads it as tensors and plain values only (``weights_only``): nothing in it can run.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from slidepipe.classifier.devices import describe_device
from slidepipe.classifier.initial_weights import find_initial_weights
from slidepipe.classifier.settings import TrainSettings
from slidepipe.provenance import fingerprint, software_versions
from slidepipe.storage.publish import write_bytes

UNFINISHED_NAME = "unfinished.pt"
"""Beside the model that will be."""

_VERSION = 1
"""Part of the token: raised whenever a state comes to hold something else."""

_CHANGES_NO_WEIGHT = {"files", "validation_files", "about"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnfinishedTraining:
    """The file of one training."""

    folder: Path
    """Folder of the model."""
    token: str
    """Fingerprint of everything that the weights depend on; the file of another training is not believed."""

    def write(self, state: Mapping[str, Any]) -> None:
        """Keep a state.

        Parameters
        ----------
        state
            Tensors, numbers and text, in any nesting of dictionaries, lists and tuples.
        """
        content = io.BytesIO()
        torch.save({"token": self.token, "state": dict(state)}, content)
        write_bytes(self.folder / UNFINISHED_NAME, content.getvalue())

    def read(self) -> dict[str, Any] | None:
        """Return the state that was kept last.

        Returns
        -------
        dict or None
            Tensors are on the CPU. None if there is none, it is another training's, or it cannot be read, in which
            case a warning says so.
        """
        path = self.folder / UNFINISHED_NAME
        try:
            content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            _log.warning("%s cannot be read, so training begins anew: %s", path, error)
            return None
        if not isinstance(content, dict) or content.get("token") != self.token:
            _log.info("%s is of other slides, settings or software: training begins anew", path)
            return None
        state: dict[str, Any] = content["state"]
        return state

    def remove(self) -> None:
        """Forget the state: the model is there."""
        (self.folder / UNFINISHED_NAME).unlink(missing_ok=True)


def unfinished_training(
    folder: Path, settings: TrainSettings, sources: object, device: torch.device
) -> UnfinishedTraining:
    """Say where a training keeps its state, and which it is.

    Parameters
    ----------
    folder
        Folder of the model.
    settings
        How it is trained.
    sources
        Names or fingerprints of all that it is trained and validated on.
    device
        Where it is trained, with the number of threads as it is now.

    Returns
    -------
    UnfinishedTraining
        The same for trainings that give the same bytes.

    Raises
    ------
    ModelError
        If the weights that it starts from cannot be found.
    """
    recipe = {key: value for key, value in asdict(settings).items() if key not in _CHANGES_NO_WEIGHT}
    initial = find_initial_weights(settings)
    facts = {
        "version": _VERSION,
        "settings": {**recipe, "initial": None if initial is None else initial.fingerprint},
        "sources": sources,
        "device": describe_device(device),
        "software": software_versions(),
    }
    return UnfinishedTraining(folder, fingerprint(facts))
