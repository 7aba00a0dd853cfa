from dataclasses import replace

import pytest
import torch

from slidepipe.classifier.augmentation import augment, mix, turn
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


def test_a_shift_alone_moves_pixels_and_makes_no_new_ones() -> None:
    pixels = torch.randint(256, (1, 3, 16, 16)).repeat(8, 1, 1, 1) / 255
    shifted = augment(pixels, replace(NONE, shift_px=2))
    found = set()
    for patch in shifted:
        for x in range(-2, 3):
            for y in range(-2, 3):
                moved = pixels[0].roll((-y, -x), dims=(1, 2))[:, 2:-2, 2:-2]
                if torch.allclose(patch[:, 2:-2, 2:-2], moved, atol=1e-5):
                    found.add((x, y))
    assert 3 <= len(found) <= 8
    torch.testing.assert_close(shifted * 255, (shifted * 255).round(), rtol=0, atol=1e-2)


def test_rotation_and_zoom_keep_the_centre_where_it_is() -> None:
    pixels = torch.zeros(6, 3, 33, 33)
    pixels[:, :, 15:18, 15:18] = 1
    moved = augment(pixels, replace(NONE, rotation=True, zoom=0.2))
    assert (moved[:, :, 16, 16] > 0.9).all()
    assert (moved[:, :, :8].amax(dim=(1, 2, 3)) == 0).all()
    assert len({tuple(patch.flatten().tolist()) for patch in moved}) == 6


def test_brightness_alone_multiplies_each_patch_by_one_factor() -> None:
    pixels = torch.rand(5, 3, 8, 8) * 0.5
    factors = (augment(pixels, replace(NONE, brightness=0.5)) / pixels).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert 0.5 <= factors.min() < factors.max() <= 1.5


def test_contrast_keeps_the_mean_grey_and_saturation_the_grey_of_each_pixel() -> None:
    pixels = 0.4 + 0.1 * torch.rand(5, 3, 8, 8)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (pixels * luma).sum(dim=1)
    contrast = (augment(pixels, replace(NONE, contrast=0.5)) * luma).sum(dim=1)
    torch.testing.assert_close(contrast.mean(dim=(1, 2)), grey.mean(dim=(1, 2)))
    saturation = (augment(pixels, replace(NONE, saturation=0.5)) * luma).sum(dim=1)
    torch.testing.assert_close(saturation, grey)


def test_hue_leaves_grey_as_it_is() -> None:
    grey = torch.rand(4, 1, 8, 8).expand(4, 3, 8, 8)
    torch.testing.assert_close(augment(grey, replace(NONE, hue=0.5)), grey)


def test_a_shift_of_the_stain_also_stains_white() -> None:
    stained = augment(torch.ones(6, 3, 4, 4), replace(NONE, stain_shift=0.2))
    assert stained.std(dim=0).max() > 0.01
    assert stained.max() <= 1


def test_white_stays_white_whatever_the_stain() -> None:
    white = torch.ones(3, 3, 4, 4)
    settings = AugmentationSettings(dihedral=False, brightness=0, contrast=0, saturation=0, hue=0, stain=0.5)
    torch.testing.assert_close(augment(white, settings), white)


def test_patches_are_mixed_with_others_of_their_batch_and_so_are_their_targets() -> None:
    target = torch.linspace(0, 1, 16)
    shares = []
    for _ in range(200):
        pixels, mixed = mix(target.view(16, 1, 1, 1).expand(-1, 3, 2, 2), target, 0.2)
        torch.testing.assert_close(pixels, mixed.view(16, 1, 1, 1).expand(-1, 3, 2, 2))
        torch.testing.assert_close(mixed.sum(), target.sum())
        shares.append(mixed[0].item())
    assert len(set(shares)) > 100


def test_the_share_is_drawn_from_the_beta_distribution() -> None:
    ends = torch.tensor([0.0, 1.0])
    # With two patches the other one is the patch itself half of the time.
    shares = torch.stack([mix(ends.view(2, 1, 1, 1), ends, 0.5)[1] for _ in range(4000)])[:, 1]
    shares = shares[shares != 1]
    assert len(shares) == pytest.approx(2000, abs=150)
    # Variance of the beta distribution: 1 / (4 (2 alpha + 1)).
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / 8, abs=0.01)
