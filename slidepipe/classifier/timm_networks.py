"""Networks of timm by name, as ``timm/resnet34``: to be trained here like our own, from random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from slidepipe.classifier.settings import TIMM_PREFIX
from slidepipe.errors import ModelError

try:
    import timm as _timm
except ImportError:
    _timm = None

timm: Any = _timm


class WholeNetwork(nn.Module):
    """A network that is not split into trunk and head, so that it looks at patches only.

    Parameters
    ----------
    network
        Maps (n, 3, P, P) to (n, 1).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

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
        logits: torch.Tensor = self.network(patches)
        return logits[:, 0]


def build_timm_network(architecture: str) -> WholeNetwork:
    """Build a network of timm with random weights; nothing is downloaded.

    Parameters
    ----------
    architecture
        ``timm/`` and the name that timm knows it by.

    Returns
    -------
    WholeNetwork
        On the CPU, in training mode. Weights come from Torch's global random state.

    Raises
    ------
    ModelError
        If timm is not installed, or knows no such network.
    """
    name = architecture.removeprefix(TIMM_PREFIX)
    if timm is None:
        raise ModelError(
            f"the network {architecture!r} is one of timm, which is not installed: pip install timm"
        )
    if not timm.is_model(name):
        raise ModelError(f"timm {timm.__version__} knows no network called {name!r}: see timm.list_models()")
    return WholeNetwork(timm.create_model(name, pretrained=False, num_classes=1))
