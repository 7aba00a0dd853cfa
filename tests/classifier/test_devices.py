import pytest
import torch

from slidepipe.classifier.devices import choose_device, deterministic_torch, torch_threads
from slidepipe.errors import ModelError


def test_auto_finds_a_device_that_computes() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_a_missing_device_is_refused() -> None:
    with pytest.raises(ModelError, match="'cuda' was asked for"):
        choose_device("cuda")


def test_the_number_of_threads_is_given_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    during = []

    def fail() -> None:
        with torch_threads(before + 1):
            during.append(torch.get_num_threads())
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert during == [before + 1]
    assert torch.get_num_threads() == before


def test_no_number_of_threads_changes_nothing() -> None:
    before = torch.get_num_threads()
    with torch_threads(None):
        assert torch.get_num_threads() == before


def test_global_state_is_given_back() -> None:
    random_before = torch.get_rng_state()
    with deterministic_torch(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        torch.manual_seed(7)
        torch.rand(3)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), random_before)
