"""One YAML file: one frozen settings object per room.

The settings and what they mean stand in the rooms; here they are put together and filled from a file and from the
command line. Whatever is wrong is refused before any work, with the line it was written on (`slidepipe.validation`).

::

    name: lymph nodes
    slides: CAMELYON16           # short for {folder: CAMELYON16}; a list is short for {paths: [...]}
    tiles:
      mpp: 0.5
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen
from pydantic import ConfigDict, TypeAdapter

from slidepipe.classifier.builtin import BUILTIN_MODEL
from slidepipe.classifier.settings import InferenceSettings, TrainSettings
from slidepipe.cluster_settings import ClusterSettings
from slidepipe.documents import Document, KeyPath, Place, parse_document, place_of, read_document, write_yaml
from slidepipe.errors import ConfigError
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.export.slide_files import ExportSettings
from slidepipe.heatmaps.grid import HeatmapSettings
from slidepipe.lesions.detection import LesionSettings
from slidepipe.lesions.false_positives import MiningSettings
from slidepipe.lesions.settings import SlideModelSettings
from slidepipe.slides.cohort import CohortSettings
from slidepipe.slides.exclusions import BUILT_IN
from slidepipe.storage.locations import is_url
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.validation import validate

_PATHS = (
    ("slides", "folder"), ("slides", "paths"), ("slides", "annotations"), ("slides", "exclusions"),
    ("inference", "model"), ("tiles", "stage_dir"), ("train", "files"), ("train", "validation_files"),
)  # fmt: skip
"""Settings that hold paths, which count from the folder of the file they stand in."""
_BUILT_IN = {"exclusions": BUILT_IN, "model": (BUILTIN_MODEL,)}
"""Names that are no paths, by the setting that takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """How lesions and slide probabilities come out of heatmaps."""

    lesions: LesionSettings = field(default_factory=LesionSettings)
    """How lesions are found."""
    slide_model: SlideModelSettings = field(default_factory=SlideModelSettings)
    """How a slide gets its probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """Everything that one study fixes: a section for each room."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: Annotated[str, MinLen(1)] = "study"
    """Title of the study in its report; the name of the file unless given."""
    slides: CohortSettings = field(default_factory=CohortSettings)
    """Which slides take part. A text is short for `folder`, a list for `paths`."""
    tissue: TissueSettings = field(default_factory=TissueSettings)
    """How tissue is told from glass."""
    tiles: TileSettings = field(default_factory=TileSettings)
    """How slides are cut and stored."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """How the patch classifier is trained."""
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    """How the patch classifier is applied."""
    heatmap: HeatmapSettings = field(default_factory=HeatmapSettings)
    """Where on a slide the patch classifier is applied."""
    mine: MiningSettings = field(default_factory=MiningSettings)
    """Which false positives `slidepipe mine` collects for the next training."""
    predict: PredictSettings = field(default_factory=PredictSettings)
    """How lesions and slide probabilities are read off heatmaps."""
    evaluate: EvaluationSettings = field(default_factory=EvaluationSettings)
    """How predictions are compared with the reference."""
    export: ExportSettings = field(default_factory=ExportSettings)
    """What is written for other programs."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    """Where the work is done."""


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read the configuration of a study.

    Parameters
    ----------
    path
        YAML file; None starts from the defaults of every setting. Paths in it count from its folder, sections left
        empty keep their defaults.
    overrides
        Settings to change, ``section.key=value`` with the value in YAML; later ones win. A mapping changes the keys
        that it names; ``slides=FOLDER`` and ``slides=[FILE, …]`` replace the slides. Paths count from the working
        directory.

    Returns
    -------
    StudyConfig
        Validated; all paths absolute.

    Raises
    ------
    ConfigError
        If the file cannot be read, or any setting is unknown or impossible. All that are wrong are listed, each with
        its line or override, what was found and what was expected.
    """
    document = Document({}, {(): Place("defaults")}) if path is None else read_document(path)
    value, places = {} if document.value is None else document.value, dict(document.places)
    if path is not None and isinstance(value, dict):
        value = {"name": path.stem} | {key: part for key, part in value.items() if part is not None}
        _settle(value, path.absolute().parent)
    for override in overrides:
        _override(value, places, override)
    return validate(StudyConfig, value, places)


def dump_config(config: StudyConfig) -> str:
    """Write a configuration as YAML, every setting of it.

    Parameters
    ----------
    config
        The configuration.

    Returns
    -------
    str
        In the order of the rooms; `load_config` reads the same configuration back from it, wherever it lies.
    """
    return write_yaml(json.loads(json.dumps(asdict(config))))


def json_schema() -> dict[str, Any]:
    """Describe the configuration file for editors.

    Returns
    -------
    dict
        JSON Schema with the explanation of every setting.
    """
    schema = TypeAdapter(StudyConfig).json_schema()
    for node in _objects(schema):
        node.pop("title", None)
        if "description" in node:
            node["description"] = _in_yaml_words(node["description"])
        if "properties" in node:
            node["additionalProperties"] = False
    _explain_inherited(schema["$defs"]["ClusterSettings"], schema["$defs"]["WorkerSettings"])
    slides = schema["properties"]["slides"]
    texts = {"type": "array", "items": {"type": "string"}}
    schema["properties"]["slides"] = {
        "description": slides["description"],
        "anyOf": [{"type": "string"}, texts, {"$ref": slides["$ref"]}],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "slidepipe study", **schema}


def _explain_inherited(below: dict[str, Any], above: dict[str, Any]) -> None:
    # Pydantic reads the docstrings of a class from its own text only.
    for name, node in above["properties"].items():
        below["properties"][name]["description"] = node["description"]


def _in_yaml_words(docstring: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(docstring.split())).replace("``", "`")


def _objects(node: Any) -> Iterable[dict[str, Any]]:
    """Give the schema nodes below and including `node`, but not the tables of named nodes."""
    if isinstance(node, list):
        for item in node:
            yield from _objects(item)
    elif isinstance(node, dict):
        yield node
        for key, child in node.items():
            yield from _objects(list(child.values()) if key in {"properties", "$defs"} else child)


def _settle(value: dict[str, Any], folder: Path) -> None:
    """Write short forms out and make paths absolute, in place."""
    slides = value.get("slides")
    if isinstance(slides, str):
        value["slides"] = {"folder": slides, "paths": []}
    elif isinstance(slides, list):
        value["slides"] = {"folder": None, "paths": slides}
    for section, key in _PATHS:
        settings = value.get(section)
        if isinstance(settings, dict) and key in settings and settings[key] not in _BUILT_IN.get(key, ()):
            settings[key] = _absolute(settings[key], folder)


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    # What begins with a variable is completed where it is used, which may be another machine.
    if not isinstance(value, str) or is_url(value) or value.startswith("$"):
        return value
    # Not resolved: the name of a link is the name of the slide.
    return os.path.normpath(folder / Path(value).expanduser())


def _override(value: Any, places: dict[KeyPath, Place], override: str) -> None:
    place = Place(f"--set {override}")
    dotted, sign, text = override.partition("=")
    keys = [key.strip() for key in dotted.split(".")]
    if not sign or not all(keys):
        raise ConfigError(f"{place}: expected section.setting=value, as in --set tiles.mpp=0.5")
    change = parse_document(text, place.name, is_file=False).value
    for key in reversed(keys):
        change = {key: change}
    _settle(change, Path.cwd())
    if isinstance(value, dict):
        _merge(value, change, (), places, place)


def _merge(
    value: dict[str, Any], change: dict[str, Any], path: KeyPath, places: dict[KeyPath, Place], place: Place
) -> None:
    for key, new in change.items():
        here, old = (*path, key), value.get(key)
        if isinstance(new, dict) and isinstance(old, dict):
            _merge(old, new, here, places, place)
            # What is wrong with the section as a whole may be the fault of either.
            places[here] = Place(f"{place_of(here, places)} with {place}")
            continue
        value[key] = new
        for below in [known for known in places if known[: len(here)] == here]:
            del places[below]
        places[here] = place
