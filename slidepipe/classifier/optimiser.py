"""Muon, an optimiser whose updates of kernels are made orthogonal first.

After Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the scale of Liu et al.,
"Muon is scalable for LLM training" (2025), under which learning rates mean what they mean to AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

_MOMENTUM = 0.95
_ADAM_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_UPDATE_SIZE = 0.2
"""Root mean square of an update per unit of learning rate, which is about that of AdamW."""

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan's iteration: five steps bring all singular values to between 0.7 and 1.2."""
_NEWTON_SCHULZ_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Muon for kernels, Adam for all else.

    Parameters
    ----------
    kernels
        Weights of two or more dimensions, the first of them outputs. They decay.
    others
        Normalisation, biases, and what else is to follow Adam. They do not decay.
    lr
        Learning rate.
    weight_decay
        Share of a kernel that is taken away per step, per unit of learning rate.
    """

    def __init__(
        self, kernels: Iterable[nn.Parameter], others: Iterable[nn.Parameter], lr: float, weight_decay: float
    ) -> None:
        groups = [
            {"params": list(kernels), "orthogonal": True, "weight_decay": weight_decay},
            {"params": list(others), "orthogonal": False, "weight_decay": 0.0},
        ]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change all parameters once, by their gradients.

        Parameters
        ----------
        closure
            Not used; a gradient must be there.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = _muon if group["orthogonal"] else _adam
                    change = update(self.state[parameter], parameter.grad)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(change, alpha=-group["lr"])


def _muon(state: dict[str, Any], gradient: torch.Tensor) -> torch.Tensor:
    momentum: torch.Tensor = state.setdefault("momentum", torch.zeros_like(gradient))
    momentum.lerp_(gradient, 1 - _MOMENTUM)
    matrix = gradient.lerp(momentum, _MOMENTUM).flatten(1)
    size = _UPDATE_SIZE * math.sqrt(max(matrix.shape))
    update: torch.Tensor = orthogonalised(matrix).reshape(gradient.shape) * size
    return update


def _adam(state: dict[str, Any], gradient: torch.Tensor) -> torch.Tensor:
    first: torch.Tensor = state.setdefault("first", torch.zeros_like(gradient))
    second: torch.Tensor = state.setdefault("second", torch.zeros_like(gradient))
    steps: int = state.get("step", 0) + 1
    state["step"] = steps
    first.lerp_(gradient, 1 - _ADAM_BETAS[0])
    second.lerp_(gradient.square(), 1 - _ADAM_BETAS[1])
    unbiased_first = first / (1 - _ADAM_BETAS[0] ** steps)
    unbiased_second = second / (1 - _ADAM_BETAS[1] ** steps)
    return unbiased_first / (unbiased_second.sqrt() + _EPSILON)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Bring all singular values of a matrix near 1.

    Parameters
    ----------
    matrix
        Of full rank, any scale.

    Returns
    -------
    Tensor
        Same shape and singular vectors; singular values between about 0.7 and 1.2, those that were next to zero less.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    current: torch.Tensor = matrix.mT if is_tall else matrix
    current = current / (current.norm() + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = current @ current.mT
        current = a * current + (b * gram + c * gram @ gram) @ current
    return current.mT if is_tall else current
