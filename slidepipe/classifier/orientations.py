"""Test-time augmentation: the mean answer to the eight orientations of what is looked at."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from slidepipe.classifier.symmetry import ORIENTATIONS, inverse, orient


class AveragedPass(nn.Module):
    """Patches or areas to probabilities, each the mean over its eight orientations.

    Every patch is seen in the same eight ways in patch and in dense mode: a turned area holds the turned patches, at
    other places, and their answers are put back.

    Parameters
    ----------
    one_pass
        A pass that gives one probability per patch, or a square of them per square area.
    """

    def __init__(self, one_pass: nn.Module) -> None:
        super().__init__()
        self.one_pass = one_pass

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the probabilities.

        Parameters
        ----------
        pixels
            RGB, uint8, shape (n, S, S, 3).

        Returns
        -------
        Tensor
            float32, shape (n,) or (n, rows, columns), as the pass itself answers.
        """
        planes = pixels.permute(0, 3, 1, 2)
        answers = []
        for orientation in range(ORIENTATIONS):
            turned = orient(planes, orientation).permute(0, 2, 3, 1).contiguous()
            answer = self.one_pass(turned)
            answers.append(orient(answer, inverse(orientation)) if answer.ndim == 3 else answer)
        return torch.stack(answers).mean(dim=0)


@lru_cache(maxsize=4)
def averaged_pass(one_pass: nn.Module) -> AveragedPass:
    """Make the averaged form of a pass, once per process.

    Parameters
    ----------
    one_pass
        As `AveragedPass` takes it.

    Returns
    -------
    AveragedPass
        In evaluation mode; nothing is copied.
    """
    return AveragedPass(one_pass).eval()
