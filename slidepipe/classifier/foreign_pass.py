"""Forward passes of networks that were not made here."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms.v2 import functional

from slidepipe.classifier.card import ForeignCard
from slidepipe.classifier.foreign import find_tumour_class
from slidepipe.errors import ModelError


class ForeignPass(nn.Module):
    """Patches to probabilities, as WSInfer computes them: resize, to 0..1, normalise, network, softmax.

    Parameters
    ----------
    network
        Takes float pixels (n, 3, S, S) and gives logits, (n, classes) or for a single class (n,) or (n, 1).
    card
        Its card.
    tumour_class
        Place of the class whose probability is given.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, card: ForeignCard, tumour_class: int) -> None:
        super().__init__()
        self.network = network
        self._resize_px = card.facts.resize_px
        self._classes = len(card.classes)
        self._tumour_class = tumour_class
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the probabilities of patches.

        Parameters
        ----------
        pixels
            RGB, uint8, shape (n, P, P, 3).

        Returns
        -------
        Tensor
            float32, shape (n,).

        Raises
        ------
        ModelError
            If the network does not answer with one logit per class.
        """
        patches = pixels.permute(0, 3, 1, 2)
        if self._resize_px is not None:
            # On whole numbers, as torchvision resizes a picture before it becomes a tensor.
            patches = functional.resize(patches, [self._resize_px, self._resize_px], antialias=True)
        logits = self.network((patches.float() / 255 - self.mean) / self.std)
        if not isinstance(logits, torch.Tensor) or logits.numel() != len(pixels) * self._classes:
            shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(
                f"the network answers {len(pixels)} patches with {shape}, and its card names {self._classes} classes"
            )
        logits = logits.float().reshape(len(pixels), self._classes)
        if self._classes == 1:
            return torch.sigmoid(logits[:, 0])
        return torch.softmax(logits, dim=1)[:, self._tumour_class]


def load_foreign_pass(
    folder: Path, card: ForeignCard, tumour_class: str | None, *, trusted: bool
) -> ForeignPass:
    """Load a network that was not made here.

    Parameters
    ----------
    folder
        Folder of the model.
    card
        Its card.
    tumour_class
        Name of the class whose probability is wanted; None where it is clear.
    trusted
        Whether a file whose loading can run any code may be loaded.

    Returns
    -------
    ForeignPass
        On the CPU.

    Raises
    ------
    ModelError
        If it is not clear which class is tumour, the file cannot be loaded, or it would have to be trusted.
    """
    place = find_tumour_class(card.classes, tumour_class)
    path = folder / card.facts.file
    if path.suffix == ".pt2" and not trusted:
        raise ModelError(
            f"{path} is a torch.export archive, and loading one can run any code: if you trust whoever made it, say so "
            "with --set inference.trust_model=true, or use TorchScript"
        )
    try:
        # Torch deprecates TorchScript, which is what the models of the zoo are in.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            network = (
                torch.export.load(path).module()
                if path.suffix == ".pt2"
                else torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
            )
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    return ForeignPass(network, card, place)
