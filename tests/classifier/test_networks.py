import pytest
import torch
from torchvision.models import resnet18

from slidepipe.classifier.networks import build_network, normalise, unit_pixels
from slidepipe.classifier.settings import MIN_PATCH_PX, TRUNK_STRIDE_PX
from slidepipe.errors import ModelError


@pytest.fixture
def compact() -> torch.nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return build_network("compact").eval()


def test_compact_is_small() -> None:
    weights = sum(parameter.numel() for parameter in build_network("compact").parameters())
    assert 300_000 < weights < 700_000


@pytest.mark.parametrize("architecture", ["compact", "resnet18"])
@pytest.mark.parametrize("extra_px", [0, 1, 33])
def test_any_patch_from_the_smallest_on_gives_one_logit(architecture: str, extra_px: int) -> None:
    side = MIN_PATCH_PX[architecture] + extra_px
    with torch.inference_mode():
        logits = build_network(architecture).eval()(torch.zeros(3, 3, side, side))
    assert logits.shape == (3,)


@pytest.mark.parametrize("side", [80, 88, 96, 128])
def test_the_symmetric_network_takes_patches_of_a_multiple_of_8_px(side: int) -> None:
    with torch.inference_mode():
        assert build_network("symmetric", side).eval()(torch.zeros(3, 3, side, side)).shape == (3,)


@pytest.mark.parametrize("side", [72, 100])
def test_the_symmetric_network_refuses_other_sizes(side: int) -> None:
    with pytest.raises(ModelError, match=f"80, 88, 96 ... px, not {side}"):
        build_network("symmetric", side)


def test_the_smallest_patch_of_compact_is_the_view_of_one_feature(compact: torch.nn.Module) -> None:
    side = MIN_PATCH_PX["compact"]
    pixels = torch.rand(1, 3, side, side, requires_grad=True)
    features = compact.trunk(pixels)
    assert features.shape[2:] == (1, 1)
    torch.autograd.backward(features.sum())
    seen = pixels.grad[0].abs().sum(dim=0) > 0
    assert seen[0].any()
    assert seen[-1].any()
    with pytest.raises(RuntimeError):
        compact.trunk(torch.rand(1, 3, side - 1, side - 1))


def test_one_pass_of_compact_over_an_area_gives_every_patch_its_own_features(
    compact: torch.nn.Module,
) -> None:
    stride, side = TRUNK_STRIDE_PX["compact"], 96
    area = torch.rand(1, 3, 160, 144)
    with torch.inference_mode():
        whole = compact.trunk(area)
        for row, column in ((0, 0), (3, 1), (8, 6)):
            patch = area[:, :, row * stride :, column * stride :][:, :, :side, :side]
            alone = compact.trunk(patch)
            part = whole[:, :, row : row + alone.shape[2], column : column + alone.shape[3]]
            torch.testing.assert_close(part, alone, rtol=0, atol=1e-5)


def test_a_dense_pass_of_compact_gives_every_patch_its_own_logit(compact: torch.nn.Module) -> None:
    side, step = 96, 2
    apart = step * TRUNK_STRIDE_PX["compact"]
    area = torch.rand(1, 3, side + 2 * apart, side + 3 * apart)
    with torch.inference_mode():
        window = compact.trunk(area[..., :side, :side]).shape[-1]
        dense = compact.dense(area, window, step)
        alone = [
            [compact(area[..., y * apart :, x * apart :][..., :side, :side]).item() for x in range(4)]
            for y in range(3)
        ]
    torch.testing.assert_close(dense[0], torch.tensor(alone), rtol=0, atol=1e-5)


def test_resnet18_has_the_trunk_of_torchvision() -> None:
    pixels = torch.rand(2, 3, 64, 64)
    with torch.random.fork_rng([]), torch.inference_mode():
        torch.manual_seed(2)
        ours = build_network("resnet18").eval()
        torch.manual_seed(2)
        theirs = resnet18(weights=None).eval()
        theirs.fc = torch.nn.Linear(512, 1)
        theirs.fc.load_state_dict(ours.head.state_dict())
        torch.testing.assert_close(ours(pixels), theirs(pixels)[:, 0])


def test_an_unknown_network_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModelError, match="compact, lite0, lite0-enlarged, resnet18, symmetric"):
        build_network("vgg")


def test_pixels_are_scaled_and_normalised() -> None:
    patches = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    pixels = normalise(unit_pixels(patches), (0.5, 0.2, 0.5), (0.5, 1, 0.25))
    assert pixels.shape == (1, 3, 1, 1)
    torch.testing.assert_close(pixels.flatten(), torch.tensor([-1.0, 0.0, 2.0]))
