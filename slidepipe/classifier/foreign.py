"""Models that were not made here: a folder with a network file and the ``config.json`` of WSInfer beside it.

The form of the card is WSInfer's (https://github.com/SBU-BMI/wsinfer-zoo, schema ``model-config``, version 1.0); its
``transform`` is applied as it stands. The network is ``torchscript_model.pt``, as in that zoo, or another TorchScript
file, whose code is Torch's own operators and no Python. Pickles are refused: loading one can run any code. So can
loading a ``torch.export`` archive (``.pt2``), since Torch evaluates what stands in it: it has to be trusted by name.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import ConfigDict, TypeAdapter, ValidationError

from slidepipe.errors import ModelError
from slidepipe.storage.publish import read_json

CONFIG_NAME = "config.json"
_USUAL_NAME = "torchscript_model.pt"
_SUFFIXES = (".pt", ".pt2")
_TUMOUR_NAMES = frozenset(
    {"tumor", "tumour", "cancer", "carcinoma", "malignant", "mets", "metastasis", "metastases"}
)
_PICKLES = (
    "Pickles are refused, because loading one can run any code; whoever trusts it saves the network by "
    "torch.jit.script(model).save(...)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFacts:
    """What a model that was not made here needs besides what every card says."""

    file: str
    """Name of the network file in the model's folder."""
    resize_px: int | None
    """Side to which patches are resized before anything else; None leaves them as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignConfig:
    """What stands in ``config.json``."""

    name: str
    """Architecture, as its makers call it."""
    classes: tuple[str, ...]
    patch_px: int
    mpp: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    facts: ForeignFacts
    sha256: str
    """SHA-256 of the network file followed by the configuration: either changes what comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One entry of ``transform``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Literal["Resize", "ToTensor", "Normalize"]
    arguments: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """``config.json`` itself."""

    num_classes: Annotated[int, Ge(1)]
    class_names: Annotated[tuple[str, ...], MinLen(1)]
    patch_size_pixels: Annotated[int, Ge(1)]
    spacing_um_px: Annotated[float, Gt(0)]
    transform: tuple[_Step, ...]
    spec_version: Literal["1.0"]
    architecture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Normalise:
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)], Annotated[float, Gt(0)]]


def read_foreign(folder: Path) -> ForeignConfig:
    """Read what a model that was not made here is, without loading it.

    Parameters
    ----------
    folder
        Folder with ``config.json`` and a network file.

    Returns
    -------
    ForeignConfig
        Every field checked.

    Raises
    ------
    ModelError
        If the configuration is not WSInfer's, asks for something that is not known here, or there is no network file
        that can be loaded safely.
    """
    path = folder / CONFIG_NAME
    try:
        card = TypeAdapter(_Card).validate_python(read_json(path))
        resize_px, normalise = _read_transform(card.transform, path)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError(f"{path} is no model card of WSInfer, version 1.0: {problems}") from error
    except ValueError as error:
        raise ModelError(str(error)) from error
    if len(card.class_names) != card.num_classes:
        raise ModelError(
            f"{path} names {len(card.class_names)} classes and says that there are {card.num_classes}"
        )
    network = _find_network(folder)
    return ForeignConfig(
        name=card.architecture,
        classes=card.class_names,
        patch_px=card.patch_size_pixels,
        mpp=card.spacing_um_px,
        mean=normalise.mean,
        std=normalise.std,
        facts=ForeignFacts(
            file=network.name, resize_px=None if resize_px == card.patch_size_pixels else resize_px
        ),
        sha256=_digest(network, path),
    )


def _read_transform(steps: tuple[_Step, ...], path: Path) -> tuple[int | None, _Normalise]:
    """Read the transform: perhaps Resize, then ToTensor, then perhaps Normalize.

    Raises
    ------
    ModelError
        If it is another one.
    """
    names = [step.name for step in steps]
    known = [name for name in ("Resize", "ToTensor", "Normalize") if name in names]
    if names != known or "ToTensor" not in names:
        raise ModelError(
            f"{path} transforms patches by {', '.join(names) or 'nothing'}; known here are ToTensor, Resize before it "
            "and Normalize after it, each once"
        )
    arguments = {step.name: step.arguments or {} for step in steps}
    resize_px = None
    if "Resize" in arguments:
        size = arguments["Resize"].get("size")
        sides = size if isinstance(size, list) else [size]
        if set(arguments["Resize"]) != {"size"} or len(set(sides)) != 1 or not isinstance(sides[0], int):
            raise ModelError(
                f"{path} resizes patches by {arguments['Resize']}; known here is one size in pixels"
            )
        resize_px = sides[0]
    if "Normalize" not in arguments:
        return resize_px, _Normalise(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return resize_px, TypeAdapter(_Normalise).validate_python(arguments["Normalize"])


def find_tumour_class(classes: tuple[str, ...], name: str | None) -> int:
    """Find the class whose probability is the heatmap's.

    Parameters
    ----------
    classes
        Names of all classes, in the network's order.
    name
        Name of the class; None takes the only one that is called tumor, cancer, metastasis or the like, or the only
        one there is.

    Returns
    -------
    int
        Its place among the classes.

    Raises
    ------
    ModelError
        If there is no such class, or none or several look like tumour.
    """
    if name is not None:
        if classes.count(name) != 1:
            raise ModelError(
                f"inference.tumour_class is {name!r}, and the model's classes are {', '.join(classes)}"
            )
        return classes.index(name)
    if len(classes) == 1:
        return 0
    found = [place for place, known in enumerate(classes) if known.lower() in _TUMOUR_NAMES]
    if len(found) != 1:
        raise ModelError(
            f"which of the model's classes is tumour? They are {', '.join(classes)}: name one by "
            "inference.tumour_class, as in --set inference.tumour_class=NAME"
        )
    return found[0]


def _find_network(folder: Path) -> Path:
    usual = folder / _USUAL_NAME
    found = [usual] if usual.is_file() else sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES)
    if len(found) != 1:
        others = ", ".join(sorted(path.name for path in found or folder.iterdir()))
        raise ModelError(
            f"{folder} holds {len(found)} networks in TorchScript or torch.export form ({others}): one is expected, "
            f"such as {_USUAL_NAME}. {_PICKLES}"
        )
    if found[0].suffix == ".pt" and not _is_torchscript(found[0]):
        raise ModelError(f"{found[0]} is no TorchScript but weights alone, or a pickle. {_PICKLES}")
    return found[0]


def _is_torchscript(path: Path) -> bool:
    """Tell TorchScript, which has its code in the archive, from weights and pickled networks, which have not."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        inner = {name.partition("/")[2] for name in archive.namelist()}
    return "constants.pkl" in inner and any(name.startswith("code/") for name in inner)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    return digest.hexdigest()
