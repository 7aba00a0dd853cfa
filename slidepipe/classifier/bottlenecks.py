"""EfficientNet-Lite0 for small patches: its first blocks unpadded, the next ones over each patch's own features.

After Tan and Le, "EfficientNet" (2019), and the Lite variants that Google published in 2020, which do without
squeeze-and-excitation and with ReLU6. The blocks are inverted bottlenecks (Sandler et al. 2018): a convolution of 1 × 1
to many channels, one of each channel by itself, and one of 1 × 1 back to few.

Weights from ImageNet fit, layer by layer: only the padding differs, and the last third of the network is left out.
Without padding a feature has seen nothing but pixels of its patch, so the trunk may run once over a large area. Deeper
blocks would see beyond the patch; they see the features of one patch only, padded with zeros as on ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, StochasticDepth

from slidepipe.errors import ModelError
from slidepipe.geometry import ceil_div


@dataclass(frozen=True, slots=True)
class _Shape:
    """One block."""

    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


_STEM_CHANNELS = 32
_BLOCKS = (
    _Shape(3, 1, 1, 32, 16),
    _Shape(3, 2, 6, 16, 24),
    _Shape(3, 1, 6, 24, 24),
    _Shape(5, 2, 6, 24, 40),
    _Shape(5, 1, 6, 40, 40),
    _Shape(3, 2, 6, 40, 80),
    _Shape(3, 1, 6, 80, 80),
    _Shape(3, 1, 6, 80, 80),
    _Shape(5, 1, 6, 80, 112),
    _Shape(5, 1, 6, 112, 112),
    _Shape(5, 1, 6, 112, 112),
)
"""Those of EfficientNet-Lite0 up to its fifth stage. What follows holds four fifths of its weights."""
_TRUNK_BLOCKS = 3
"""Blocks without padding. One more would cost a patch of 96 px a third of its features."""
_DROPPED_BLOCKS = 0.05
"""Share of the patches that the last block is left out for while training; earlier ones less (Huang et al. 2016)."""
_DROPOUT = 0.2
_HEAD_PATCHES = 64
"""Patches that the head looks at together; always so many, because other numbers may round differently."""

_NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
"""As the weights from ImageNet need it."""


class Bottleneck(nn.Module):
    """Inverted bottleneck of ReLU6, with its input added where shapes agree.

    Parameters
    ----------
    shape
        Of the block.
    side
        Of the features that come in, if the block pads; None for a block that does not.
    dropped
        Share of patches that it is left out for in training.
    """

    def __init__(self, shape: _Shape, side: int | None, dropped: float) -> None:
        super().__init__()
        between = shape.inputs * shape.expansion
        layers = [nn.ZeroPad2d(_padding(side, shape))] if side is not None else []
        if shape.expansion > 1:
            layers.insert(0, _convolution(shape.inputs, between, 1))
        layers.append(_convolution(between, between, shape.kernel, shape.stride, groups=between))
        layers.append(_convolution(between, shape.outputs, 1, activation=None))
        self.layers = nn.Sequential(*layers)
        self.adds = shape.stride == 1 and shape.inputs == shape.outputs
        self.rim = 0 if side is not None else shape.kernel // 2
        self.drop = StochasticDepth(dropped, mode="row")

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the block.

        Parameters
        ----------
        features
            Shape (n, inputs, h, w).

        Returns
        -------
        Tensor
            Shape (n, outputs, h', w').
        """
        found: torch.Tensor = self.layers(features)
        if not self.adds:
            return found
        inner = features[:, :, self.rim : -self.rim, self.rim : -self.rim] if self.rim else features
        added: torch.Tensor = self.drop(found) + inner
        return added


class OwnFeaturesHead(nn.Module):
    """Deeper blocks over the features of each patch by itself, their mean and that of the centre, a linear layer.

    Parameters
    ----------
    layers
        Map (n, channels, p, p) to features.
    channels
        Number of these.
    """

    def __init__(self, layers: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.dropout = nn.Dropout(_DROPOUT)
        self.linear = nn.Linear(2 * channels, 1)

    def forward(self, features: torch.Tensor, window: int, step: int) -> torch.Tensor:
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
        windows = features.unfold(2, window, step).unfold(3, window, step)
        count, _, rows, columns = windows.shape[:4]
        patches = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        if (short := -len(patches) % _HEAD_PATCHES) and len(patches) > _HEAD_PATCHES:
            patches = torch.cat([patches, patches.new_zeros((short, *patches.shape[1:]))])
        logits = torch.cat([self._logits(part) for part in torch.split(patches, _HEAD_PATCHES)])
        return logits[: count * rows * columns].view(count, rows, columns)

    def _logits(self, patches: torch.Tensor) -> torch.Tensor:
        found = self.layers(patches.contiguous(memory_format=torch.channels_last))
        rim = found.shape[-1] // 3
        inner = found[:, :, rim:-rim, rim:-rim] if rim else found
        means = torch.cat([found.mean(dim=(2, 3)), inner.mean(dim=(2, 3))], dim=1)
        logits: torch.Tensor = self.linear(self.dropout(means))
        return logits[:, 0]


class Enlargement(nn.Module):
    """Patches enlarged 1.5 times, by linear interpolation, without the rim that would need pixels beyond them.

    Every two pixels become three, by a fixed convolution: so pixels are the same, bit for bit, wherever the patch lies
    on a larger area, as long as that is a multiple of two pixels.
    """

    kernel: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        # New pixels lie two thirds of a pixel apart: halfway between the first two, then a sixth beside the middle one.
        taps = torch.tensor([(1 / 2, 1 / 2, 0), (0, 5 / 6, 1 / 6), (0, 1 / 6, 5 / 6)])
        kernel = torch.einsum("ai,bj->abij", taps, taps).reshape(9, 1, 3, 3)
        self.register_buffer("kernel", kernel.repeat(3, 1, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Enlarge patches.

        Parameters
        ----------
        pixels
            Shape (n, 3, h, w).

        Returns
        -------
        Tensor
            Shape (n, 3, 3 · ⌊(h - 1) / 2⌋, 3 · ⌊(w - 1) / 2⌋), channels last in memory.
        """
        new = nn.functional.conv2d(pixels, self.kernel, stride=2, groups=3)
        return nn.functional.pixel_shuffle(new, 3).contiguous(memory_format=torch.channels_last)


def lite_layers(patch_px: int, *, enlarged: bool = False) -> tuple[nn.Sequential, OwnFeaturesHead]:
    """Build trunk and head with random weights.

    Parameters
    ----------
    patch_px
        Side of a patch in pixels, 32 or more.
    enlarged
        Whether patches are enlarged 1.5 times first.

    Returns
    -------
    tuple of Sequential and OwnFeaturesHead
        Features of the trunk are 4 px apart, of the enlarged patch if it is.
    """
    trunk: list[nn.Module] = [_convolution(3, _STEM_CHANNELS, 3, 2)]
    head: list[nn.Module] = []
    if enlarged:
        trunk.insert(0, Enlargement())
        patch_px = 3 * ((patch_px - 1) // 2)
    side = (patch_px - 3) // 2 + 1
    for number, shape in enumerate(_BLOCKS):
        dropped = _DROPPED_BLOCKS * number / len(_BLOCKS)
        if number < _TRUNK_BLOCKS:
            trunk.append(Bottleneck(shape, None, dropped))
            side = (side - shape.kernel) // shape.stride + 1
        else:
            head.append(Bottleneck(shape, side, dropped))
            side = ceil_div(side, shape.stride)
    return nn.Sequential(*trunk), OwnFeaturesHead(nn.Sequential(*head), _BLOCKS[-1].outputs)


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> Conv2dNormActivation:
    return Conv2dNormActivation(
        inputs,
        outputs,
        kernel,
        stride,
        padding=0,
        groups=groups,
        norm_layer=_NORM,
        activation_layer=activation,
    )


def _padding(side: int, shape: _Shape) -> tuple[int, int, int, int]:
    """Pad as TensorFlow does, where the weights come from: the odd pixel goes to the right and the bottom."""
    total = max((ceil_div(side, shape.stride) - 1) * shape.stride + shape.kernel - side, 0)
    before, after = total // 2, total - total // 2
    return before, after, before, after


def take_imagenet_weights(network: nn.Module, path: Path) -> None:
    """Give a network of `lite_layers` the weights of an EfficientNet-Lite0 that was trained on ImageNet.

    Parameters
    ----------
    network
        Its trunk and the layers of its head are changed; the linear layer is not.
    path
        File of weights of EfficientNet-Lite0 for Torch, its layers in their order.

    Raises
    ------
    ModelError
        If the file holds something else.
    """
    own = {name: tensor for name, tensor in network.state_dict().items() if "linear" not in name}
    try:
        tensors = list(torch.load(path, map_location="cpu", weights_only=True).values())[: len(own)]
    except UnpicklingError:
        tensors = []
    if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in own.values()]:
        raise ModelError(f"{path.name} does not hold the weights of EfficientNet-Lite0, layer by layer")
    network.load_state_dict(dict(zip(own, tensors, strict=True)), strict=False)
