import pytest
import torch

from slidepipe.classifier.networks import PatchNetwork, build_network, plain_network
from slidepipe.classifier.symmetry import (
    ORIENTATIONS,
    SymmetricConvolution,
    compose,
    inverse,
    orient,
)

EVERY = range(ORIENTATIONS)
SQUARE = torch.arange(16.0).view(4, 4)


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with torch.random.fork_rng([]):
        torch.manual_seed(11)
        yield


@pytest.fixture
def network() -> PatchNetwork:
    """After a few batches, so that its running statistics are not those of a new network."""
    network = build_network("symmetric")
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 96, 96))
        network.head.linear.weight.normal_()
    return network.eval()


@pytest.mark.parametrize("second", EVERY)
@pytest.mark.parametrize("first", EVERY)
def test_two_orientations_compose_to_one(first: int, second: int) -> None:
    both = orient(orient(SQUARE, first), second)
    assert torch.equal(orient(SQUARE, compose(second, first)), both)


@pytest.mark.parametrize("orientation", EVERY)
def test_an_orientation_and_its_inverse_change_nothing(orientation: int) -> None:
    assert torch.equal(orient(orient(SQUARE, orientation), inverse(orientation)), SQUARE)


@pytest.mark.parametrize("orientation", EVERY)
def test_fields_turn_with_the_patch_and_their_channels_change_places(orientation: int) -> None:
    lifting = SymmetricConvolution(3, 2, 6, stride=2, is_first=True).eval()
    following = SymmetricConvolution(2, 5, 3).eval()
    pixels = torch.randn(2, 3, 18, 18)
    with torch.inference_mode():
        upright = following(lifting(pixels)).unflatten(1, (5, ORIENTATIONS))
        turned = following(lifting(orient(pixels, orientation))).unflatten(1, (5, ORIENTATIONS))
    places = [compose(inverse(orientation), other) for other in EVERY]
    torch.testing.assert_close(turned, orient(upright[:, :, places], orientation), rtol=0, atol=1e-5)


def test_a_patch_has_the_same_probability_in_all_eight_orientations(network: PatchNetwork) -> None:
    patches = torch.rand(4, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        upright = torch.sigmoid(network(patches))
        assert upright.std() > 1e-3
        for orientation in EVERY:
            turned = torch.sigmoid(network(orient(patches, orientation)))
            torch.testing.assert_close(turned, upright, rtol=0, atol=1e-5)


def test_the_ordinary_network_answers_as_the_symmetric_one_does(network: PatchNetwork) -> None:
    plain = plain_network(network)
    assert not any(isinstance(module, SymmetricConvolution) for module in plain.modules())
    patches = torch.rand(4, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(plain(patches), network(patches), rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("is_plain", [False, True])
def test_one_pass_over_an_area_answers_as_patch_by_patch(
    network: PatchNetwork, step: int, is_plain: bool
) -> None:
    if is_plain:
        network = plain_network(network)
    area = torch.rand(1, 3, 160, 136) * 2 - 1
    with torch.inference_mode():
        window = network.trunk(area[..., :96, :96]).shape[-1]
        dense = torch.sigmoid(network.dense(area, window, step))
        stride = 8 * step
        rows, columns = (160 - 96) // stride + 1, (136 - 96) // stride + 1
        assert dense.shape == (1, rows, columns)
        for row in range(rows):
            for column in range(columns):
                patch = area[..., row * stride :, column * stride :][..., :96, :96]
                alone = torch.sigmoid(network(patch))
                torch.testing.assert_close(dense[:, row, column], alone, rtol=0, atol=1e-5)


def test_the_symmetric_network_learns(network: PatchNetwork) -> None:
    patches, network = torch.randn(4, 3, 96, 96), network.train()
    network(patches).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_the_running_statistics_of_a_field_are_those_of_its_channels() -> None:
    layer = SymmetricConvolution(3, 2, 6, stride=2, is_first=True)
    pixels = torch.randn(16, 3, 30, 30)
    every = torch.cat([orient(pixels, orientation) for orientation in EVERY])
    layer(every)
    channels = torch.nn.functional.conv2d(every, layer.kernels(), stride=2).unflatten(1, (2, ORIENTATIONS))
    torch.testing.assert_close(layer.norm.running_mean, 0.1 * channels.mean(dim=(0, 2, 3, 4)))
    torch.testing.assert_close(
        layer.norm.running_var,
        0.9 + 0.1 * channels.transpose(1, 2).flatten(0, 1).var(dim=(0, 2, 3)),
        rtol=1e-3,
        atol=0,
    )
