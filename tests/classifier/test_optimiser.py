import copy

import pytest
import torch
from torch import nn

from slidepipe.classifier.optimiser import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_all_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 100
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_it_finds_the_least_squares() -> None:
    generator = torch.Generator().manual_seed(4)
    wanted, inputs = torch.randn(4, 6, generator=generator), torch.randn(64, 6, generator=generator)
    kernel, offset = nn.Parameter(torch.zeros(4, 6)), nn.Parameter(torch.full((4,), 3.0))
    optimiser = Muon([kernel], [offset], lr=0.1, weight_decay=0.0)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = optimiser.param_groups[1]["lr"] = 0.1 * (1 - step / 300)
        optimiser.zero_grad()
        loss = (inputs @ (kernel - wanted).T + offset).square().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-3


def test_only_kernels_decay_and_what_has_no_gradient_stays() -> None:
    kernel, offset, idle = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    kernel.grad, offset.grad = torch.zeros(2, 2), torch.zeros(2, 2)
    Muon([kernel, idle], [offset], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(kernel.detach(), torch.full((2, 2), 0.95))
    torch.testing.assert_close(offset.detach(), torch.ones(2, 2))
    torch.testing.assert_close(idle.detach(), torch.ones(2, 2))


def test_it_goes_on_from_its_saved_state_as_if_it_had_not_stopped() -> None:
    def make() -> tuple[nn.Parameter, nn.Parameter, Muon]:
        kernel, offset = nn.Parameter(torch.ones(3, 5)), nn.Parameter(torch.ones(3))
        return kernel, offset, Muon([kernel], [offset], lr=0.1, weight_decay=0.01)

    gradients = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(5))
    kernel, offset, optimiser = make()
    for number, gradient in enumerate(gradients):
        if number == 2:
            kernel_again, offset_again, optimiser_again = make()
            optimiser_again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
            kernel_again.data, offset_again.data = kernel.detach().clone(), offset.detach().clone()
        kernel.grad, offset.grad = gradient, gradient.sum(dim=1)
        optimiser.step()
        if number >= 2:
            kernel_again.grad, offset_again.grad = gradient, gradient.sum(dim=1)
            optimiser_again.step()
    assert torch.equal(kernel, kernel_again)
    assert torch.equal(offset, offset_again)
