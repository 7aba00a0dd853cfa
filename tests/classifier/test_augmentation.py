import pytest
import torch

from slidepipe.classifier.augmentation import augment, turn
from slidepipe.classifier.settings import AugmentationSettings

NONE = AugmentationSettings(dihedral=False, brightness=0, contrast=0, saturation=0, hue=0)


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        yield


def test_the_eight_orientations_are_different_and_keep_every_pixel() -> None:
    patch = torch.arange(2 * 5 * 5).reshape(1, 2, 5, 5)
    turned = turn(patch.repeat(8, 1, 1, 1), torch.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 8
    assert torch.equal(turned[0], patch[0])
    assert torch.equal(turned.flatten(2).sort().values, patch.repeat(8, 1, 1, 1).flatten(2))


def test_nothing_varies_when_nothing_is_asked_for() -> None:
    pixels = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(augment(pixels, NONE), pixels)


@pytest.mark.parametrize(
    "settings",
    [
        AugmentationSettings(),
        AugmentationSettings(dihedral=False, brightness=0, contrast=0, saturation=0, hue=0, stain=0.2),
    ],
)
def test_equal_patches_become_different_ones_and_stay_pixels(settings: AugmentationSettings) -> None:
    pixels = torch.rand(1, 3, 16, 16).repeat(6, 1, 1, 1)
    before = pixels.clone()
    varied = augment(pixels, settings)
    assert torch.equal(pixels, before)
    assert varied.shape == pixels.shape
    assert 0 <= varied.min() <= varied.max() <= 1
    assert len({tuple(patch.flatten().tolist()) for patch in varied}) == 6


def test_the_same_seed_varies_in_the_same_way() -> None:
    pixels = torch.rand(4, 3, 16, 16)
    settings = AugmentationSettings(stain=0.1)
    torch.manual_seed(5)
    first = augment(pixels, settings)
    torch.manual_seed(5)
    assert torch.equal(augment(pixels, settings), first)


def test_white_stays_white_whatever_the_stain() -> None:
    white = torch.ones(3, 3, 4, 4)
    settings = AugmentationSettings(dihedral=False, brightness=0, contrast=0, saturation=0, hue=0, stain=0.5)
    torch.testing.assert_close(augment(white, settings), white)
