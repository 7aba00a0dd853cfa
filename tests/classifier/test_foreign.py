"""Models that were not made here: WSInfer's card is kept to the letter, and nothing is loaded that could run code."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from slidepipe.classifier.card import ForeignCard, read_card
from slidepipe.classifier.checkpoint import load_model
from slidepipe.classifier.foreign import find_tumour_class
from slidepipe.classifier.inference import classify_cells
from slidepipe.classifier.modes import resolve_mode
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.errors import ModelError
from slidepipe.tiles.store import TileStore

CARD: dict[str, Any] = {
    "spec_version": "1.0",
    "architecture": "tiny",
    "num_classes": 3,
    "class_names": ["stroma", "Tumor", "notumor"],
    "patch_size_pixels": 40,
    "spacing_um_px": 0.5,
    "transform": [
        {"name": "Resize", "arguments": {"size": 28}},
        {"name": "ToTensor"},
        {"name": "Normalize", "arguments": {"mean": [0.7, 0.5, 0.6], "std": [0.2, 0.1, 0.3]}},
    ],
}


class Tiny(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 5, stride=3)
        self.linear = torch.nn.Linear(8, classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 20 * self.linear(torch.relu(self.convolution(pixels)).mean(dim=(2, 3)))


@pytest.fixture
def tiny() -> Tiny:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Tiny(3).eval()


@pytest.fixture
def make_model(tmp_path: Path, tiny: Tiny) -> Callable[..., Path]:
    def make(network: torch.nn.Module | None = None, **changes: Any) -> Path:
        folder = tmp_path / "zoo"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(CARD | changes))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(network or tiny).save(folder / "torchscript_model.pt")
        return folder

    return make


def _patches(count: int, side: int = 40) -> NDArray[np.uint8]:
    smooth = np.random.default_rng(0).integers(0, 255, (count, 5, 5, 3)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side))) for one in smooth])


def test_the_card_of_wsinfer_is_a_card(make_model: Callable[..., Path]) -> None:
    card = read_card(make_model())
    assert isinstance(card, ForeignCard)
    assert (card.patch_px, card.mpp, card.classes) == (40, 0.5, ("stroma", "Tumor", "notumor"))
    assert (card.mean, card.std) == ((0.7, 0.5, 0.6), (0.2, 0.1, 0.3))
    assert card.facts.resize_px == 28


def test_another_card_or_another_network_is_another_model(make_model: Callable[..., Path]) -> None:
    plain = read_card(make_model()).weights_sha256
    other_card = read_card(make_model(transform=[{"name": "ToTensor"}])).weights_sha256
    other_network = read_card(make_model(Tiny(3))).weights_sha256
    assert len({plain, other_card, other_network}) == 3


def test_patches_are_transformed_as_wsinfer_transforms_pictures(
    make_model: Callable[..., Path], tiny: Tiny
) -> None:
    patches = _patches(12)
    theirs = transforms.Compose(
        [transforms.Resize(28), transforms.ToTensor(), transforms.Normalize((0.7, 0.5, 0.6), (0.2, 0.1, 0.3))]
    )
    with torch.inference_mode():
        logits = tiny(torch.stack([theirs(Image.fromarray(patch)) for patch in patches]))
    expected = torch.softmax(logits, dim=1)[:, 1].numpy()
    assert np.ptp(expected) > 0.1
    ours = load_model(make_model(), "cpu").probabilities(patches)
    # Pillow and torchvision round a resized pixel differently now and then, by one of 255.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-3)


def test_without_resizing_the_probabilities_are_the_same_to_rounding(
    make_model: Callable[..., Path], tiny: Tiny
) -> None:
    patches = _patches(5)
    with torch.inference_mode():
        expected = torch.softmax(tiny(torch.from_numpy(patches).permute(0, 3, 1, 2) / 255), dim=1)[:, 2]
    model = load_model(make_model(transform=[{"name": "ToTensor"}]), "cpu", "notumor")
    np.testing.assert_allclose(model.probabilities(patches), expected, rtol=0, atol=1e-6)


def test_a_single_class_is_a_sigmoid(make_model: Callable[..., Path]) -> None:
    network = Tiny(1).eval()
    folder = make_model(network, num_classes=1, class_names=["anything"], transform=[{"name": "ToTensor"}])
    patches = _patches(4)
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(patches).permute(0, 3, 1, 2) / 255))[:, 0]
    np.testing.assert_allclose(load_model(folder, "cpu").probabilities(patches), expected, atol=1e-6)


def test_a_slide_is_looked_at_patch_by_patch(make_model: Callable[..., Path], store: TileStore) -> None:
    model = load_model(make_model(), "cpu")
    cells = np.argwhere(np.ones((10, 10), dtype=np.bool_)).astype(np.int64)
    probability = classify_cells(model, store, cells, 40)
    patch = store.read_window(4 * 40, 5 * 40, 40, 40)
    assert probability[54] == pytest.approx(model.probabilities(patch[None])[0], abs=1e-6)
    assert resolve_mode("auto", model.card, 8) == "patch"
    with pytest.raises(ModelError, match="split into trunk and head"):
        classify_cells(model, store, cells, 40, InferenceSettings(mode="dense"))


@pytest.mark.parametrize(
    ("classes", "name", "place"),
    [
        (("normal", "tumor"), None, 1),
        (("Tumor", "notumor"), None, 0),
        (("nomets", "mets"), None, 1),
        (("grade3", "benign"), "grade3", 0),
        (("something",), None, 0),
    ],
)
def test_the_class_that_is_tumour_is_found(classes: tuple[str, ...], name: str | None, place: int) -> None:
    assert find_tumour_class(classes, name) == place


@pytest.mark.parametrize(
    ("classes", "name"),
    [(("grade3", "grade4+5", "benign"), None), (("tumor", "cancer"), None), (("a", "b"), "c")],
)
def test_a_class_is_never_guessed(classes: tuple[str, ...], name: str | None) -> None:
    with pytest.raises(ModelError, match=r"inference\.tumour_class"):
        find_tumour_class(classes, name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec_version": "2.0"}, "spec_version"),
        ({"num_classes": 2}, "names 3 classes and says that there are 2"),
        (
            {"transform": [{"name": "ToTensor"}, {"name": "Resize", "arguments": {"size": 9}}]},
            "ToTensor, Resize",
        ),
        (
            {"transform": [{"name": "CenterCrop", "arguments": {"size": 9}}, {"name": "ToTensor"}]},
            "transform",
        ),
        (
            {"transform": [{"name": "Resize", "arguments": {"size": [9, 8]}}, {"name": "ToTensor"}]},
            "one size",
        ),
        ({"transform": [{"name": "ToTensor"}, {"name": "Normalize", "arguments": {"mean": [0]}}]}, "std"),
    ],
)
def test_a_card_that_cannot_be_kept_to_is_refused(
    make_model: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        read_card(make_model(**changes))


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it-went-off"),))


@pytest.mark.parametrize("name", ["torchscript_model.pt", "pytorch_model.bin", "model.pth"])
@pytest.mark.parametrize("form", ["pickle", "old pickle", "weights"])
def test_pickles_are_refused_without_being_loaded(
    make_model: Callable[..., Path],
    tiny: Tiny,
    name: str,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_model()
    (folder / "torchscript_model.pt").unlink()
    if form == "old pickle":
        (folder / name).write_bytes(pickle.dumps(_Bomb()))
    else:
        torch.save(_Bomb() if form == "pickle" else tiny.state_dict(), folder / name)
    with pytest.raises(ModelError, match=r"Pickles are refused.*torch\.jit\.script"):
        load_model(folder, "cpu")
    assert not (tmp_path / "it-went-off").exists()


def test_an_exported_network_has_to_be_trusted(make_model: Callable[..., Path], tiny: Tiny) -> None:
    folder = make_model(transform=[{"name": "ToTensor"}])
    (folder / "torchscript_model.pt").unlink()
    pixels = torch.rand(2, 3, 40, 40)
    exported = torch.export.export(tiny, (pixels,), dynamic_shapes=({0: torch.export.Dim("patches")},))
    torch.export.save(exported, folder / "network.pt2")
    with pytest.raises(ModelError, match=r"inference\.trust_model=true"):
        load_model(folder, "cpu")
    patches = _patches(5)
    with torch.inference_mode():
        expected = torch.softmax(tiny(torch.from_numpy(patches).permute(0, 3, 1, 2) / 255), dim=1)[:, 1]
    trusted = load_model(folder, "cpu", trusted=True)
    np.testing.assert_allclose(trusted.probabilities(patches), expected, rtol=0, atol=1e-6)


def test_a_network_that_does_not_answer_by_class_is_refused(make_model: Callable[..., Path]) -> None:
    folder = make_model(Tiny(2).eval())
    with pytest.raises(ModelError, match="names 3 classes"):
        load_model(folder, "cpu").probabilities(_patches(4))


def test_a_damaged_network_is_told(make_model: Callable[..., Path]) -> None:
    folder = make_model()
    path = folder / "torchscript_model.pt"
    content = bytearray(path.read_bytes())
    content[64:3000] = bytes(2936)
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, "cpu")
