"""Variations of training patches: orientation, position, stain, colour.

All of it is arithmetic over a whole batch, with numbers drawn for each patch: a change of stain is one 3 × 3 matrix per
patch in optical density, a change of colour one in RGB.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import affine_grid, grid_sample

from slidepipe.classifier.settings import AugmentationSettings
from slidepipe.classifier.symmetry import ORIENTATIONS, orient

_STAIN_RGB = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and residue in red, green and blue (Ruifrok and Johnston 2001)."""

_DARKEST = 1 / 255
"""Least light whose optical density is taken; the logarithm of none is infinite."""

_LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601)."""


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
    count, _, height, width = pixels.shape
    if settings.dihedral:
        pixels = turn(pixels, torch.randint(ORIENTATIONS, (count,)))
    if settings.rotation or settings.zoom or settings.shift_px:
        pixels = _move(pixels, settings)
    colours = pixels.permute(0, 2, 3, 1).reshape(count, height * width, 3)
    if settings.stain or settings.stain_shift:
        colours = _restain(colours, settings)
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        colours = _recolour(colours, settings)
    return colours.view(count, height, width, 3).permute(0, 3, 1, 2)


def mix(pixels: torch.Tensor, target: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every patch of a batch, and what is to be learned of it, with another one (mixup, Zhang et al. 2018).

    Draws as `augment` does.

    Parameters
    ----------
    pixels
        Shape (n, channels, P, P).
    target
        Probability of tumour, shape (n,).
    alpha
        Both parameters of the beta distribution from which the share of the one patch is drawn, one for the batch.

    Returns
    -------
    tuple of Tensor
        Same shapes.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(pixels)).to(pixels.device)
    return pixels * share + pixels[other] * (1 - share), target * share + target[other] * (1 - share)


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
        turned[chosen] = orient(pixels[chosen], orientation)
    return turned


def _move(pixels: torch.Tensor, settings: AugmentationSettings) -> torch.Tensor:
    """Rotate, zoom and shift each patch about its centre; what lies beyond its edge is mirrored in."""
    count, side = len(pixels), pixels.shape[-1]
    is_moved = torch.rand(count) < settings.moved_share
    angle = math.pi * _draw(count) * is_moved if settings.rotation else torch.zeros(count)
    zoom = torch.exp(_draw(count) * math.log1p(settings.zoom) * is_moved)
    # Whole pixels, so that a shift alone blurs nothing. grid_sample counts from -1 to 1 over the patch.
    shift = torch.round(_draw(count, 2) * (settings.shift_px + 0.5)).clamp(
        -settings.shift_px, settings.shift_px
    )
    shift = shift * 2 / side
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    grid = affine_grid(torch.stack(rows, 1).to(pixels.device), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _restain(colours: torch.Tensor, settings: AugmentationSettings) -> torch.Tensor:
    """Multiply the amount of each stain, and add to it, by numbers drawn for each patch (Tellez et al. 2019)."""
    count = len(colours)
    stains = torch.tensor(_STAIN_RGB, dtype=torch.float32)
    factors = 1 + settings.stain * _draw(count, 3)
    # Unmixing, scaling and mixing again are linear, so they are one 3 × 3 matrix per patch.
    change = torch.linalg.inv(stains) @ torch.diag_embed(factors) @ stains
    added = settings.stain_shift * _draw(count, 1, 3) @ stains
    density = torch.log(colours.clamp(min=_DARKEST)).neg_()
    density = torch.baddbmm(added.to(colours.device), density, change.to(colours.device))
    return torch.exp_(density.neg_()).clamp_(max=1)


def _recolour(colours: torch.Tensor, settings: AugmentationSettings) -> torch.Tensor:
    """Change hue, saturation, brightness and contrast, in this order, by one matrix and one offset per patch."""
    count = len(colours)
    luma = torch.tensor(_LUMA)
    hue = _about_grey(2 * math.pi * settings.hue * _draw(count))
    saturation = 1 + settings.saturation * _draw(count, 1, 1)
    brightness = 1 + settings.brightness * _draw(count, 1, 1)
    contrast = 1 + settings.contrast * _draw(count, 1, 1)
    grey = luma.expand(3, 3)
    change = brightness * (saturation * hue + (1 - saturation) * grey)
    # Contrast pulls towards the mean grey of the patch as it is after the steps before.
    mean = (colours.mean(dim=1, keepdim=True).cpu() @ change.transpose(1, 2) * luma).sum(dim=2, keepdim=True)
    offset = ((1 - contrast) * mean).expand(count, 1, 3)
    change = (contrast * change).transpose(1, 2)
    return torch.baddbmm(offset.to(colours.device), colours, change.to(colours.device)).clamp_(0, 1)


def _about_grey(angle: torch.Tensor) -> torch.Tensor:
    """Rotations of RGB about the grey axis, shape (n, 3, 3): a change of hue that is linear (Rodrigues)."""
    angle = angle[:, None, None]
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    along = torch.full((3, 3), 1 / 3)
    return torch.cos(angle) * torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * along


def _draw(*shape: int) -> torch.Tensor:
    """Draw evenly from -1 to 1."""
    return 2 * torch.rand(*shape) - 1
