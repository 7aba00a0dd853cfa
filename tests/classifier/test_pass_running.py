import pytest
import torch

from slidepipe.classifier.pass_running import patches_per_pass
from slidepipe.classifier.settings import InferenceSettings


@pytest.mark.parametrize(("device", "patches"), [("cpu", 16), ("cuda", 64)])
def test_a_cpu_takes_fewer_patches_per_pass_unless_told_how_many(device: str, patches: int) -> None:
    assert patches_per_pass(InferenceSettings(), torch.device(device)) == patches
    assert patches_per_pass(InferenceSettings(batch_size=5), torch.device(device)) == 5
