"""Models on disk and ready for use.

``model.safetensors`` holds numbers and nothing that could run; ``model.json`` says which numbers they must be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from slidepipe.classifier.card import WEIGHTS_NAME, ForeignCard, ModelCard, read_card, write_card
from slidepipe.classifier.devices import choose_device
from slidepipe.classifier.foreign_pass import ForeignPass, load_foreign_pass
from slidepipe.classifier.networks import build_network, plain_network
from slidepipe.classifier.passes import PatchPass, fold_normalisation, run_pass
from slidepipe.classifier.settings import DeviceName
from slidepipe.errors import ModelError
from slidepipe.storage.locations import location
from slidepipe.storage.publish import write_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A trained network on a device."""

    card: ModelCard
    """What it is and how it was made."""
    patch_pass: PatchPass | ForeignPass
    """Stored pixels to probabilities; in evaluation mode, on `device`, channels last."""
    device: torch.device
    """Where it computes."""

    def probabilities(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the probability of tumour of patches, in one forward pass.

        On the CPU a patch has the same probability to the last bit wherever it stands in a batch of the same size,
        whatever else is in the batch.

        Parameters
        ----------
        patches
            RGB, shape (n, P, P, 3) with P the card's ``patch_px``.

        Returns
        -------
        ndarray
            Shape (n,), 0 to 1; empty if there are no patches.

        Raises
        ------
        ModelError
            If the patches have another shape or type than the network was trained on, or a probability is not a
            number, which only broken weights give.
        """
        side = self.card.patch_px
        if patches.dtype != np.uint8 or patches.shape[1:] != (side, side, 3):
            raise ModelError(
                f"the model looks at uint8 patches of shape (n, {side}, {side}, 3), got {patches.dtype} of shape "
                f"{patches.shape}"
            )
        if len(patches) == 0:
            return np.empty(0, dtype=np.float32)
        probability = run_pass(self.patch_pass, patches, self.device)
        if not np.isfinite(probability).all():
            raise ModelError(
                f"model {self.card.weights_sha256[:12]} answers NaN: its weights are broken, train again"
            )
        return probability


def save_model(folder: Path, network: nn.Module, card: ModelCard) -> ModelCard:
    """Write a model: first the weights, then the card that vouches for them.

    Parameters
    ----------
    folder
        Folder of the model; made if missing, an older model in it is replaced.
    network
        Trained network.
    card
        Its card; ``weights_sha256`` is filled in here.

    Returns
    -------
    ModelCard
        The card as written. A process killed between the two files leaves weights that the old card refuses.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = save(state, metadata={"format": "pt"})
    card = replace(card, weights_sha256=hashlib.sha256(weights).hexdigest())
    write_bytes(folder / WEIGHTS_NAME, weights)
    write_card(folder, card)
    return card


def load_model(
    folder: Path, device: DeviceName = "auto", tumour_class: str | None = None, *, trusted: bool = False
) -> Classifier:
    """Read a model and check that weights and card belong together.

    Parameters
    ----------
    folder
        Folder with ``model.safetensors`` and ``model.json``, or of a model that was not made here.
    device
        Where it is to compute.
    tumour_class
        Which class is tumour, of a model that was not made here.
    trusted
        Whether files of such a model may be loaded that can run any code.

    Returns
    -------
    Classifier
        Ready for use.

    Raises
    ------
    ModelError
        If a file is missing, the card cannot be read, the weights are not those of the card or do not fit the
        network, or the device does not exist; of a model that was not made here, as `load_foreign_pass`.
    """
    card = read_card(folder)
    if isinstance(card, ForeignCard):
        foreign = load_foreign_pass(folder, card, tumour_class, trusted=trusted)
        where = choose_device(device)
        return Classifier(card, foreign.to(where), where)
    try:
        weights = (folder / WEIGHTS_NAME).read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"there is no model in {folder}: {WEIGHTS_NAME} is missing") from error
    digest = hashlib.sha256(weights).hexdigest()
    if digest != card.weights_sha256:
        raise ModelError(
            f"the weights in {folder} are not those of its card: SHA-256 {digest[:12]}, the card says "
            f"{card.weights_sha256[:12]}: a file was changed or a download is broken, fetch or train the model again"
        )
    network = build_network(card.architecture, card.patch_px)
    try:
        network.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"the weights in {folder} do not fit the network {card.architecture!r}: {error}"
        ) from error
    where = choose_device(device)
    patch_pass = PatchPass(fold_normalisation(plain_network(network.eval())), card.mean, card.std)
    patch_pass.eval().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Classifier(card, patch_pass, where)


@lru_cache(maxsize=2)
def cached_model(
    folder: str,
    weights_sha256: str,
    device: DeviceName = "auto",
    tumour_class: str | None = None,
    *,
    trusted: bool = False,
) -> Classifier:
    """Load a model once per process, for workers that are handed one block after the other.

    Parameters
    ----------
    folder
        Folder of the model, visible from the worker.
    weights_sha256
        The model that is meant, from its card; a folder that was trained anew is another model.
    device
        Where it is to compute.
    tumour_class, trusted
        As `load_model` takes them.

    Returns
    -------
    Classifier
        Shared by all callers in this process; the two used last are kept.

    Raises
    ------
    ModelError
        As `load_model`, and if the folder now holds another model than the one that is meant.
    """
    classifier = load_model(location(folder), device, tumour_class, trusted=trusted)
    if classifier.card.weights_sha256 != weights_sha256:
        raise ModelError(
            f"the model in {folder} is {classifier.card.weights_sha256[:12]}, but this run was planned with "
            f"{weights_sha256[:12]}: it was trained anew meanwhile, start the run again"
        )
    return classifier
