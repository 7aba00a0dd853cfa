"""Which numbers are chosen. Nothing here needs a CUDA device: what is asked of one is told to stand for it."""

import pytest
import torch

from slidepipe.classifier.precision import computing_in, inference_precision, training_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_sixteen_bits_are_chosen_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for choose in (inference_precision, training_precision):
        assert choose("auto", CPU) == choose("auto", torch.device("mps")) == torch.float32
        assert choose("bfloat16", CPU) == torch.bfloat16
        assert choose("float32", CUDA) == torch.float32
    assert inference_precision("auto", CUDA) == torch.float16
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it, **_: has_it)
        assert training_precision("auto", CUDA) == expected


def test_what_is_computed_has_the_precision_asked_for() -> None:
    square = torch.ones(2, 2)
    for precision in (torch.float32, torch.bfloat16):
        with computing_in(precision, CPU):
            assert (square @ square).dtype == precision
    assert (square @ square).dtype == torch.float32
