"""The card beside a model's weights, ``model.json``: what the network is, what it eats, how it was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from slidepipe.classifier.foreign import CONFIG_NAME, ForeignConfig, ForeignFacts, read_foreign
from slidepipe.classifier.settings import is_architecture
from slidepipe.errors import ModelError
from slidepipe.geometry import PixelSize
from slidepipe.storage.publish import read_json, write_json

MODEL_VERSION = 1
"""Format of ``model.json`` and of the weights it describes; raised whenever older code would read them wrongly."""

CARD_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"

PIXEL_SIZE_TOLERANCE = 0.15
"""Relative difference between the pixel sizes of slides that one network may see. The two scanners of CAMELYON16 are
7 % apart (0.243 and 0.226 µm), the next level of a pyramid 100 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is and how it was made."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    architecture: str
    """Name of the network."""
    patch_px: int
    """Side of a patch in pixels."""
    mpp: float
    """Side of a pixel in µm, geometric mean over the training slides."""
    mpp_range: tuple[float, float]
    """Smallest and largest pixel of the training slides in µm."""
    mean: tuple[float, float, float]
    """Subtracted from red, green and blue, on the scale of 0 to 1."""
    std: tuple[float, float, float]
    """What the difference is divided by."""
    classes: tuple[str, ...] = ("normal", "tumour")
    """The network gives the log-odds of the last against the first."""
    weights_sha256: str
    """SHA-256 of ``model.safetensors``, 64 hexadecimal digits: the identity of the model."""
    training: dict[str, Any]
    """Settings, slides, counts and notes of the training."""
    metrics: dict[str, float | int | tuple[float, float]]
    """Validation results of the weights that were kept; pairs are 95 % intervals."""
    software: dict[str, str]
    """Versions of everything that took part in the training."""
    about: dict[str, str] = field(default_factory=dict)
    """Statements for people, from the settings of the training: data, licence, use, limits."""
    format_version: int = MODEL_VERSION
    """Format of this card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCard(ModelCard):
    """A model that was not made here, see `slidepipe.classifier.foreign`."""

    facts: ForeignFacts
    """Its network file, and how patches are resized."""


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.json``.

    Parameters
    ----------
    folder
        Folder of the model.
    card
        What to write.
    """
    write_json(folder / CARD_NAME, asdict(card))


def read_card(folder: Path) -> ModelCard:
    """Read what a model is without loading it: ``model.json``, or the ``config.json`` of WSInfer.

    Parameters
    ----------
    folder
        Folder of the model.

    Returns
    -------
    ModelCard
        The card, every field checked; a `ForeignCard` where there is only WSInfer's.

    Raises
    ------
    ModelError
        If there is no card, it was written by another format version, a field is missing, unknown or wrong, or a
        model that was not made here cannot be used.
    """
    path = folder / CARD_NAME
    if not path.is_file() and (folder / CONFIG_NAME).is_file():
        return _foreign_card(read_foreign(folder))
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise ModelError(f"there is no model in {folder}: {CARD_NAME} is missing") from error
    except ValueError as error:
        raise ModelError(str(error)) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != MODEL_VERSION:
        raise ModelError(
            f"{path} has format version {version}, this slidepipe reads {MODEL_VERSION}: train again, or use the "
            "slidepipe that wrote it"
        )
    try:
        card = TypeAdapter(ModelCard).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError(f"{path} does not describe a model: {problems}") from error
    if not is_architecture(card.architecture):
        raise ModelError(
            f"{path} does not describe a model: architecture {card.architecture!r} is not known here"
        )
    return card


def _foreign_card(config: ForeignConfig) -> ForeignCard:
    return ForeignCard(
        architecture=config.name,
        patch_px=config.patch_px,
        mpp=config.mpp,
        mpp_range=(config.mpp, config.mpp),
        mean=config.mean,
        std=config.std,
        classes=config.classes,
        weights_sha256=config.sha256,
        training={},
        metrics={},
        software={},
        facts=config.facts,
    )


def check_pixel_size(card: ModelCard, pixel_size: PixelSize, slide_id: str) -> None:
    """Refuse a slide whose pixels are not those the network was trained on.

    Parameters
    ----------
    card
        The model.
    pixel_size
        Pixels that patches would be cut from.
    slide_id
        Named in the message.

    Raises
    ------
    ModelError
        If the mean side differs by more than `PIXEL_SIZE_TOLERANCE` from the model's.
    """
    ratio = pixel_size.mean_um / card.mpp
    if max(ratio, 1 / ratio) > 1 + PIXEL_SIZE_TOLERANCE:
        raise ModelError(
            f"{slide_id}: pixels of {pixel_size.mean_um:.4g} µm do not fit a model trained on pixels of {card.mpp:.4g} "
            f"µm: tile the slide at mpp {card.mpp:.4g}, or train at {pixel_size.mean_um:.4g}"
        )
