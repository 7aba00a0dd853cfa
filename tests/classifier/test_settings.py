import subprocess
import sys

import pytest

from slidepipe.classifier.settings import PatchSettings, TrainSettings
from slidepipe.errors import ConfigError


def test_patches_smaller_than_the_view_of_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"62 px .* 63 px or more"):
        TrainSettings(patches=PatchSettings(patch_px=62))
    TrainSettings(architecture="resnet18", patches=PatchSettings(patch_px=62))


def test_an_epoch_that_does_not_fill_a_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="10 patches does not fill one batch of 64"):
        TrainSettings(patches_per_epoch=10)


def test_settings_and_cards_are_read_without_torch() -> None:
    code = "import sys, slidepipe.classifier.settings, slidepipe.classifier.card; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
