"""The two networks, chosen by name: a trunk of convolutions and a pooled head.

Both answer with one logit per patch, the log-odds of tumour. Each is split in the same way:

* ``trunk``: convolutions only, from RGB (n, 3, P, P) to features (n, channels, p, p);
* ``head``: the mean over those p × p features, then one linear layer.

``compact`` is unpadded: no feature has seen anything but pixels of its patch, so the trunk may run once over a large
area and the head slide over its features, and every patch gets the logit it would have had by itself, as long as
patches lie a multiple of `TRUNK_STRIDE_PX` apart. It is small because every convolution costs time on gigapixels: 0.36
million weights and 0.10 GFLOP for a patch of 96 px, a thirty-fifth of ResNet-18 on 224 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import nn
from torchvision.models import resnet18

from slidepipe.classifier.settings import TIMM_PREFIX, Architecture
from slidepipe.classifier.timm_networks import WholeNetwork, build_timm_network
from slidepipe.errors import ModelError

DEFAULT_MEAN = (0.5, 0.5, 0.5)
DEFAULT_STD = (0.5, 0.5, 0.5)
"""Normalisation of new models, to -1..1. The batch normalisation that follows learns the rest."""


class PatchNetwork(nn.Module):
    """A trunk of convolutions and a pooled linear head.

    Parameters
    ----------
    trunk
        Maps (n, 3, P, P) to (n, `channels`, p, p).
    channels
        Number of features.
    """

    def __init__(self, trunk: nn.Module, channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(channels, 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Compute the logit of tumour of each patch.

        Parameters
        ----------
        patches
            Normalised RGB, float, shape (n, 3, P, P).

        Returns
        -------
        Tensor
            Shape (n,).
        """
        features: torch.Tensor = self.trunk(patches)
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3)))
        return logits[:, 0]

    def dense(self, area: torch.Tensor, window: int, step: int, margin: int = 0) -> torch.Tensor:
        """Compute the logits of all patches of an area on a regular grid, with one pass of the trunk.

        Parameters
        ----------
        area
            Normalised RGB, float, shape (n, 3, H, W), as large as one patch or larger.
        window
            Side of the trunk's answer to one patch, in features.
        step
            Distance between neighbouring patches in features, each `TRUNK_STRIDE_PX` pixels.
        margin
            Features along the top and left edge that belong to no patch.

        Returns
        -------
        Tensor
            Shape (n, rows, columns); the first patch lies in the top-left corner of the area, within the margin.
        """
        features: torch.Tensor = self.trunk(area)[..., margin:, margin:]
        means = nn.functional.avg_pool2d(features, window, stride=step)
        logits: torch.Tensor = self.head(means.movedim(1, -1))
        return logits[..., 0]


def build_network(architecture: str) -> PatchNetwork | WholeNetwork:
    """Build a network with random weights.

    Parameters
    ----------
    architecture
        ``compact``, ``resnet18`` (He et al., 2016, as torchvision has it, without pretrained weights), or ``timm/`` and
        the name of a network of timm.

    Returns
    -------
    PatchNetwork or WholeNetwork
        On the CPU, in training mode. Weights come from Torch's global random state.

    Raises
    ------
    ModelError
        If there is no network of that name.
    """
    if architecture.startswith(TIMM_PREFIX):
        return build_timm_network(architecture)
    if architecture == "compact":
        return PatchNetwork(_compact_trunk(), 192)
    if architecture == "resnet18":
        # torchvision's own order of layers, without its pooling and its 1000-class layer.
        layers = list(resnet18(weights=None).children())[:-2]
        return PatchNetwork(nn.Sequential(*layers), 512)
    raise ModelError(f"no network is called {architecture!r}: there are {', '.join(get_args(Architecture))}")


def unit_pixels(patches: torch.Tensor) -> torch.Tensor:
    """Bring stored pixels to the scale of 0 to 1 and to Torch's order of axes.

    Parameters
    ----------
    patches
        RGB, uint8, shape (n, P, P, 3).

    Returns
    -------
    Tensor
        float32, shape (n, 3, P, P), channels last in memory.
    """
    return patches.permute(0, 3, 1, 2).float().div_(255)


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn pixels into what a network eats.

    Parameters
    ----------
    pixels
        RGB on the scale of 0 to 1, shape (n, 3, P, P).
    mean
        Subtracted from red, green and blue.
    std
        What the difference is divided by.

    Returns
    -------
    Tensor
        Same shape.
    """
    shape = (1, 3, 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)


def _compact_trunk() -> nn.Sequential:
    return nn.Sequential(
        *_convolution(3, 32, kernel=5, stride=2),
        *_convolution(32, 32),
        nn.MaxPool2d(2),
        *_convolution(32, 64),
        *_convolution(64, 64),
        nn.MaxPool2d(2),
        *_convolution(64, 128),
        *_convolution(128, 192),
    )


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    # No bias: the batch normalisation that follows has one.
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
