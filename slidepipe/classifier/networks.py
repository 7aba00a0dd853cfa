"""The networks, chosen by name: a trunk of convolutions and a head.

All answer with one logit per patch, the log-odds of tumour. Each is split in the same way:

* ``trunk``: convolutions only, from RGB (n, 3, P, P) to features (n, channels, p, p);
* ``head``: from those p × p features to the logit.

All trunks but that of ``resnet18`` are unpadded: no feature has seen anything but pixels of its patch, so the trunk may
run once over a large area and the head slide over its features, and every patch gets the logit it would have had by
itself, as long as patches lie a multiple of `TRUNK_STRIDE_PX` apart. They are small because every convolution costs
time on gigapixels: about 0.1 GFLOP for a patch of 96 px, a thirty-fifth of ResNet-18 on 224 px.

* ``lite0`` is most of EfficientNet-Lite0, which can start from weights of ImageNet, see `bottlenecks`. Two thirds of
  its work are in its head, so dense mode gains little.
* ``lite0-enlarged`` is the same on patches enlarged 1.5 times, for two and a half times the work: nuclei come closer to
  the size of what the weights have learned to see.
* ``symmetric`` gives a patch the same logit in all eight orientations, see `slidepipe.classifier.symmetry`, and learns
  more from few patches for it. Its head looks at the whole patch.
* ``compact`` is a plain network of the same cost. Its head, like that of ``resnet18``, is a mean and a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import nn
from torchvision.models import resnet18

from slidepipe.classifier.bottlenecks import lite_layers
from slidepipe.classifier.settings import LITE, MIN_PATCH_PX, TIMM_PREFIX, TRUNK_STRIDE_PX, Architecture
from slidepipe.classifier.symmetry import ORIENTATIONS, SymmetricConvolution
from slidepipe.classifier.timm_networks import WholeNetwork, build_timm_network
from slidepipe.errors import ModelError

DEFAULT_MEAN = (0.5, 0.5, 0.5)
DEFAULT_STD = (0.5, 0.5, 0.5)
"""Normalisation of new models, to -1..1. The batch normalisation that follows learns the rest."""


_SYMMETRIC_FIELDS = (4, 4, 8, 8, 16, 16, 24)
"""Fields of the layers of ``symmetric``, eight channels each."""

_DROPOUT = 0.2
"""Share of the fields of ``symmetric`` that its last layer does without at each step of training."""


class PatchNetwork(nn.Module):
    """A trunk of convolutions and a head.

    Parameters
    ----------
    trunk
        Maps (n, 3, P, P) to features (n, channels, p, p).
    head
        Called with features, the side p of a patch in features, and a step: maps a larger map of features to the
        logits (n, rows, columns) of all patches on it that are a step apart.
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

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
        logits: torch.Tensor = self.head(features, features.shape[2], 1)
        return logits[:, 0, 0]

    def dense(self, area: torch.Tensor, window: int, step: int, margin: int = 0) -> torch.Tensor:
        """Compute the logits of all patches of an area on a regular grid, with one pass of the trunk.

        Parameters
        ----------
        area
            Normalised RGB, float, shape (n, 3, H, W), as large as one patch or larger.
        window
            Side of the trunk's answer to one patch, in features.
        step
            Distance between neighbouring patches in features.
        margin
            Features along the top and left edge that belong to no patch.

        Returns
        -------
        Tensor
            Shape (n, rows, columns); the first patch lies in the top-left corner of the area, within the margin.
        """
        logits: torch.Tensor = self.head(self.trunk(area)[..., margin:, margin:], window, step)
        return logits


class PooledHead(nn.Linear):
    """The mean over all features of a patch, then one linear layer.

    Parameters
    ----------
    channels
        Number of features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1)

    def forward(self, features: torch.Tensor, window: int, step: int) -> torch.Tensor:  # type: ignore[override]
        """Compute the logits of all patches on a map of features.

        Parameters
        ----------
        features
            Shape (n, channels, h, w).
        window
            Side of a patch in features.
        step
            Distance between patches in features.

        Returns
        -------
        Tensor
            Shape (n, rows, columns).
        """
        means = nn.functional.avg_pool2d(features, window, stride=step)
        return super().forward(means.movedim(1, -1))[..., 0]


class SymmetricHead(nn.Module):
    """One convolution over the whole patch, the mean over orientations, one linear layer.

    Parameters
    ----------
    fields
        Number of fields, in and between.
    side
        Features along a patch, p; `window` in calls is always this.
    """

    def __init__(self, fields: int, side: int) -> None:
        super().__init__()
        self.convolution = SymmetricConvolution(fields, fields, side)
        self.dropout = nn.Dropout(_DROPOUT)
        self.linear = nn.Linear(fields, 1)

    def forward(self, features: torch.Tensor, window: int, step: int) -> torch.Tensor:
        """Compute the logits of all patches on a map of features.

        Parameters
        ----------
        features
            Shape (n, 8 × `fields`, h, w).
        window
            Side of a patch in features.
        step
            Distance between patches in features.

        Returns
        -------
        Tensor
            Shape (n, rows, columns).
        """
        seen = self.convolution(features)[:, :, ::step, ::step].movedim(1, -1)
        means = seen.unflatten(-1, (-1, ORIENTATIONS)).mean(dim=-1)
        logits: torch.Tensor = self.linear(self.dropout(means))
        return logits[..., 0]

    def plain(self) -> PlainHead:
        """Make the same head of ordinary convolutions, see `SymmetricConvolution.plain`.

        Returns
        -------
        PlainHead
            Equal up to rounding.
        """
        weight, bias = self.linear.weight.detach(), self.linear.bias.detach()
        last = nn.Conv2d(weight.shape[1] * ORIENTATIONS, 1, 1)
        with torch.no_grad():
            last.weight.copy_(
                (weight / ORIENTATIONS).repeat_interleave(ORIENTATIONS, dim=1)[:, :, None, None]
            )
            last.bias.copy_(bias)  # type: ignore[union-attr]
        return PlainHead(self.convolution.plain(), last)


class PlainHead(nn.Module):
    """A convolution over the whole patch and one from there to the logit.

    Parameters
    ----------
    first
        As large as a patch, with a bias.
    last
        1 × 1, to one channel.
    """

    def __init__(self, first: nn.Conv2d, last: nn.Conv2d) -> None:
        super().__init__()
        self.first = first
        self.last = last

    def forward(self, features: torch.Tensor, window: int, step: int) -> torch.Tensor:
        """Compute the logits of all patches on a map of features.

        Parameters
        ----------
        features
            Shape (n, channels, h, w).
        window
            Side of a patch in features, the side of the first convolution.
        step
            Distance between patches in features.

        Returns
        -------
        Tensor
            Shape (n, rows, columns).
        """
        seen = nn.functional.conv2d(features, self.first.weight, self.first.bias, stride=step)
        logits: torch.Tensor = self.last(torch.relu_(seen))
        return logits[:, 0]


def build_network(architecture: str, patch_px: int = 96) -> PatchNetwork | WholeNetwork:
    """Build a network with random weights.

    Parameters
    ----------
    architecture
        ``lite0``, ``lite0-enlarged``, ``symmetric``, ``compact``, ``resnet18`` (He et al., 2016, as torchvision has
        it, without pretrained weights), or ``timm/`` and the name of a network of timm.
    patch_px
        Side of a patch in pixels. Only the heads of ``lite0``, ``lite0-enlarged`` and ``symmetric`` depend on it.

    Returns
    -------
    PatchNetwork or WholeNetwork
        On the CPU, in training mode. Weights come from Torch's global random state.

    Raises
    ------
    ModelError
        If there is no network of that name, or it does not take patches of that size.
    """
    if architecture.startswith(TIMM_PREFIX):
        return build_timm_network(architecture)
    if architecture in LITE:
        return PatchNetwork(*lite_layers(patch_px, enlarged=architecture == "lite0-enlarged"))
    if architecture == "symmetric":
        trunk, side = (
            _symmetric_trunk(),
            (patch_px - MIN_PATCH_PX["symmetric"]) // TRUNK_STRIDE_PX["symmetric"] + 1,
        )
        if patch_px % TRUNK_STRIDE_PX["symmetric"] or side < 1:
            raise ModelError(f"the network 'symmetric' takes patches of 80, 88, 96 ... px, not {patch_px}")
        return PatchNetwork(trunk, SymmetricHead(_SYMMETRIC_FIELDS[-1], side))
    if architecture == "compact":
        return PatchNetwork(_compact_trunk(), PooledHead(192))
    if architecture == "resnet18":
        # torchvision's own order of layers, without its pooling and its 1000-class layer.
        layers = list(resnet18(weights=None).children())[:-2]
        return PatchNetwork(nn.Sequential(*layers), PooledHead(512))
    raise ModelError(f"no network is called {architecture!r}: there are {', '.join(get_args(Architecture))}")


def plain_network(network: nn.Module) -> nn.Module:
    """Replace what is only for training by ordinary layers.

    Parameters
    ----------
    network
        Trained network, in evaluation mode.

    Returns
    -------
    Module
        ``symmetric`` made of ordinary convolutions, equal up to rounding; any other network as it is.
    """
    if not isinstance(network, PatchNetwork) or not isinstance(network.head, SymmetricHead):
        return network
    layers: list[nn.Module] = []
    for layer in network.trunk:
        layers.extend(
            [layer.plain(), nn.ReLU(inplace=True)] if isinstance(layer, SymmetricConvolution) else [layer]
        )
    return PatchNetwork(nn.Sequential(*layers), network.head.plain()).eval()


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


def _symmetric_trunk() -> nn.Sequential:
    first, second, third, fourth, fifth, sixth, seventh = _SYMMETRIC_FIELDS
    # Every step divides its way evenly for patches of a multiple of 8 px; else turned patches are sampled elsewhere.
    return nn.Sequential(
        SymmetricConvolution(3, first, 6, stride=2, is_first=True),
        SymmetricConvolution(first, second, 3),
        nn.MaxPool2d(2),
        SymmetricConvolution(second, third, 3),
        SymmetricConvolution(third, fourth, 3),
        nn.MaxPool2d(2),
        SymmetricConvolution(fourth, fifth, 3),
        SymmetricConvolution(fifth, sixth, 3),
        SymmetricConvolution(sixth, seventh, 3),
    )


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
