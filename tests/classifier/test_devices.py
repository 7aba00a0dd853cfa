import multiprocessing
import platform
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from slidepipe.classifier.devices import choose_device, deterministic_torch, kept_memory, torch_threads
from slidepipe.classifier.networks import build_network
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_kept_for_the_next_batch_and_then_given_back() -> None:
    # In a process of its own, whose memory no other test has used.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        while_kept, afterwards = pool.submit(mapped_pages).result()
    assert while_kept * 4 < afterwards


def mapped_pages() -> tuple[int, int]:
    """Count the pages that the system maps for a step of training, at best, while memory is kept and afterwards."""
    network, pixels = build_network("lite0"), torch.rand(64, 3, 96, 96)

    def step() -> int:
        before = page_faults()
        network(pixels).sum().backward()
        return page_faults() - before

    with kept_memory(torch.device("cpu")):
        while_kept = min(step() for _ in range(4))
    return while_kept, min(step() for _ in range(3))


def page_faults() -> int:
    """Tell how often the system had to map memory for this process."""
    return int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[7])


def test_global_state_is_given_back() -> None:
    random_before = torch.get_rng_state()
    with deterministic_torch(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        torch.manual_seed(7)
        torch.rand(3)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), random_before)
