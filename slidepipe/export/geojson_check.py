"""What would stop QuPath from importing a GeoJSON file, or make it read something else than was meant.

QuPath's import is all or nothing, and its versions differ in what they refuse. This checks a file, from whatever
program and without QuPath, against every case in `slidepipe.export.geojson_features` and
`slidepipe.export.geojson_geometry`.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidepipe.export.geojson_features import feature_problems
from slidepipe.export.geojson_reading import READ_SUFFIXES, FeatureReader, Readable, open_documents
from slidepipe.export.geojson_rule import ALL_VERSIONS, Rule

_ENDINGS = (*READ_SUFFIXES, *(f"{suffix}.gz" for suffix in READ_SUFFIXES), ".zip")
_MANY_ANNOTATIONS = 10_000
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_NAME_IGNORED = Rule(
    f"the name does not end in {', '.join(_ENDINGS)}: QuPath imports nothing and says nothing"
)
_NOT_JSON = Rule("the file is not JSON in UTF-8", ALL_VERSIONS)
_NOT_WHOLE = Rule("the file is not whole, or not packed as its name says", ALL_VERSIONS)
_NO_TYPE = Rule(
    "the top level is no FeatureCollection, Feature, list or geometry: QuPath imports nothing and says nothing"
)
_NO_UUID = Rule("id is missing or no UUID: QuPath draws a new one at each import, so that objects double")
_SAME_ID = Rule("id is used more than once: QuPath asks what to do about it")
_TWO_COLOURS = Rule("the class has another color than before: QuPath keeps the first")
_MANY = Rule(
    f"more than {_MANY_ANNOTATIONS:,} annotations, which QuPath takes minutes to place: write tiles or detections"
)


@dataclass(frozen=True, slots=True)
class GeoJsonProblem:
    """One rule that a file breaks, however often."""

    text: str
    """What is wrong."""
    refused_by: str | None
    """Versions of QuPath that refuse the whole file because of it; None if some objects become others than meant."""
    feature: int | None
    """Position of the first feature that breaks it, from 0; None if it is about the file."""
    count: int
    """How often it is broken."""

    def __str__(self) -> str:
        """Say it in one line."""
        where = "" if self.feature is None else f"feature {self.feature}: "
        consequence = "" if self.refused_by is None else f": {self.refused_by} refuses the whole file"
        others = "" if self.count == 1 else f" ({self.count:,} times)"
        return f"{where}{self.text}{consequence}{others}"


def check_geojson(path: Path) -> tuple[GeoJsonProblem, ...]:
    """Look for everything in a file that a QuPath version from 0.4 to 0.7 stumbles over.

    The file is read feature by feature, so memory grows with the number of objects (their ids) and not with the file.

    Parameters
    ----------
    path
        Existing file: GeoJSON, plain, gzipped or in a zip archive.

    Returns
    -------
    tuple of GeoJsonProblem
        One for each rule that is broken, those that lose the whole file first; empty if there is none. Features of a
        zip archive are counted from the first of its first document.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    check = _Check()
    if not path.name.lower().endswith(_ENDINGS):
        check.note(_NAME_IGNORED, path.name, None)
    try:
        with open_documents(path) as documents:
            check.read(documents)
    except FileNotFoundError:
        raise
    except ValueError as error:
        check.note(_NOT_JSON, str(error), None)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        check.note(_NOT_WHOLE, str(error), None)
    return check.problems()


def check_document(document: Readable) -> tuple[GeoJsonProblem, ...]:
    """Check one GeoJSON document, as `check_geojson` does a file.

    Parameters
    ----------
    document
        Unpacked, from its beginning.

    Returns
    -------
    tuple of GeoJsonProblem
        One for each rule that is broken.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    check = _Check()
    try:
        check.read((document,))
    except ValueError as error:
        check.note(_NOT_JSON, str(error), None)
    return check.problems()


class _Check:
    """What has been seen of a file so far."""

    def __init__(self) -> None:
        self._found: dict[Rule, tuple[str, int | None, int]] = {}
        self._ids: set[int] = set()
        self._colours: dict[str, Any] = {}
        self._annotations = 0

    def read(self, documents: Iterable[Readable]) -> None:
        """Check all features of some documents."""
        index = 0
        for document in documents:
            features = FeatureReader(document)
            for feature in features:
                self._feature(index, feature)
                index += 1
            if features.kind is None:
                self.note(_NO_TYPE, "", None)
        if self._annotations > _MANY_ANNOTATIONS:
            self.note(_MANY, f"{self._annotations:,}", None)

    def note(self, rule: Rule, detail: str, feature: int | None) -> None:
        """Count a broken rule; the detail and position of the first time are kept."""
        first, index, count = self._found.get(rule, (detail, feature, 0))
        self._found[rule] = (first, index, count + 1)

    def problems(self) -> tuple[GeoJsonProblem, ...]:
        """List what was found, the worst first, else in order of appearance."""
        found = [
            GeoJsonProblem(f"{rule.text} [{detail}]" if detail else rule.text, rule.refused_by, index, count)
            for rule, (detail, index, count) in self._found.items()
        ]
        return tuple(sorted(found, key=lambda problem: problem.refused_by is None))

    def _feature(self, index: int, feature: Any) -> None:
        for rule, detail in feature_problems(feature):
            self.note(rule, detail, index)
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            self._annotations += 1
            return
        self._identifier(index, feature.get("id", ""))
        properties = feature.get("properties")
        if not isinstance(properties, dict):
            return
        self._annotations += properties.get("objectType", "annotation") == "annotation"
        label = properties.get("classification")
        if isinstance(label, dict) and isinstance(label.get("name"), str):
            colour = label.get("color")
            if colour is not None and self._colours.setdefault(label["name"], colour) != colour:
                self.note(_TWO_COLOURS, label["name"], index)

    def _identifier(self, index: int, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            self.note(_NO_UUID, "" if value == "" else str(value)[:40], index)
            return
        number = int(value.replace("-", ""), 16)
        if number in self._ids:
            self.note(_SAME_ID, value, index)
        self._ids.add(number)
