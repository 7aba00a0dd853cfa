"""Convolutions that treat the eight orientations of a square alike: turned or mirrored tissue is the same tissue.

After Cohen and Welling, "Group Equivariant Convolutional Networks" (2016), whose group is called p4m; Veeling et al.,
"Rotation Equivariant CNNs for Digital Pathology" (2018), use it on the patches of PatchCamelyon. A *field* is eight
channels, one per orientation. When a patch is turned, each field turns with it and its channels change places; a mean
over them, at the end, does not change at all.

The learned kernels are few: one per field, not per channel. For each step they are expanded to the kernels of ordinary
convolutions, which do the work. A finished network is expanded once, by `SymmetricConvolution.plain`, and is then an
ordinary network.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d

ORIENTATIONS = 8
"""Of a square: quarter turns 0 to 3, then the same mirrored."""

_MOMENTUM = 0.1
"""Share of the newest batch in the running statistics, Torch's default."""

_RUNNING = ("running_mean", "running_var")


def orient(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
    """Bring squares into one of the eight orientations.

    Parameters
    ----------
    pixels
        Shape (..., P, P).
    orientation
        0 to 7: quarter turns, plus 4 for a mirror image thereafter. 0 changes nothing.

    Returns
    -------
    Tensor
        The same numbers in other places, same shape.
    """
    turned = torch.rot90(pixels, orientation % 4, dims=(-2, -1))
    return turned.flip(-1) if orientation >= 4 else turned


def compose(second: int, first: int) -> int:
    """Return the orientation that equals two, one after the other.

    Parameters
    ----------
    second
        Done last.
    first
        Done first.

    Returns
    -------
    int
        0 to 7.
    """
    turns = first - second if first >= 4 else first + second
    return 4 * ((first >= 4) != (second >= 4)) + turns % 4


def inverse(orientation: int) -> int:
    """Return the orientation that undoes another.

    Parameters
    ----------
    orientation
        0 to 7.

    Returns
    -------
    int
        0 to 7. A mirror image undoes itself.
    """
    return orientation if orientation >= 4 else -orientation % 4


class SymmetricConvolution(nn.Module):
    """Unpadded convolution of fields, normalisation over each field, ReLU.

    Parameters
    ----------
    inputs
        Number of fields that come in; of plain channels if it is the first layer.
    outputs
        Number of fields that go out.
    kernel
        Side of a kernel.
    stride
        Step. Where a step does not divide the way evenly, turned patches would be sampled at other places and the
        symmetry would be lost: the caller chooses sizes that fit.
    is_first
        Whether plain channels come in, such as red, green and blue.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, is_first: bool = False
    ) -> None:
        super().__init__()
        self.seen = 1 if is_first else ORIENTATIONS
        shape = (outputs, inputs * self.seen, kernel, kernel)
        self.weight = nn.Parameter(torch.randn(shape) * math.sqrt(2 / math.prod(shape[1:])))
        self.norm = nn.BatchNorm1d(outputs)
        self.stride = stride

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise and cut off below zero.

        Parameters
        ----------
        features
            Shape (n, 8 × `inputs`, h, w), or (n, `inputs`, h, w) in a first layer; channels of a field side by side.

        Returns
        -------
        Tensor
            Shape (n, 8 × `outputs`, h', w'), channels last in memory.
        """
        kernels = self.kernels().contiguous(memory_format=torch.channels_last)
        return torch.relu_(self._normalise(conv2d(features, kernels, stride=self.stride)))

    def _normalise(self, channels: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        # In training each channel is normalised by its own batch: over a batch the orientations do not differ, and it
        # is twice as fast as one mean over eight channels. What is learned and kept is the same for all eight.
        mean, variance = (norm.get_buffer(name).repeat_interleave(ORIENTATIONS) for name in _RUNNING)
        weight, bias = (part.repeat_interleave(ORIENTATIONS) for part in (norm.weight, norm.bias))
        normal = batch_norm(channels, mean, variance, weight, bias, self.training, _MOMENTUM, norm.eps)
        if self.training:
            for name, updated in zip(_RUNNING, (mean, variance), strict=True):
                norm.get_buffer(name).copy_(updated.view(-1, ORIENTATIONS).mean(dim=1))
        return normal

    def kernels(self) -> torch.Tensor:
        """Expand the learned kernels to those of an ordinary convolution.

        Returns
        -------
        Tensor
            Shape (8 × outputs, 8 × inputs, kernel, kernel), in a first layer (8 × outputs, inputs, kernel, kernel).
        """
        turned = [orient(self._seen_from(orientation), orientation) for orientation in range(ORIENTATIONS)]
        return torch.stack(turned, dim=1).flatten(0, 1)

    def _seen_from(self, orientation: int) -> torch.Tensor:
        if self.seen == 1:
            return self.weight
        back = inverse(orientation)
        fields = self.weight.view(len(self.weight), -1, ORIENTATIONS, *self.weight.shape[2:])
        return fields[:, :, [compose(back, other) for other in range(ORIENTATIONS)]].flatten(1, 2)

    def plain(self) -> nn.Conv2d:
        """Make the same layer of ordinary weights, for a trained network in evaluation mode.

        Returns
        -------
        Conv2d
            A convolution that contains the normalisation. With ReLU after it, equal to this layer up to rounding.
        """
        kernels = self.kernels().detach()
        norm = self.norm
        mean, variance = (norm.get_buffer(name) for name in _RUNNING)
        scale = norm.weight.detach() / torch.sqrt(variance + norm.eps)
        offset = norm.bias.detach() - mean * scale
        convolution = nn.Conv2d(kernels.shape[1], kernels.shape[0], kernels.shape[2], self.stride)
        with torch.no_grad():
            convolution.weight.copy_(kernels * scale.repeat_interleave(ORIENTATIONS).view(-1, 1, 1, 1))
            convolution.bias.copy_(offset.repeat_interleave(ORIENTATIONS))  # type: ignore[union-attr]
        return convolution
