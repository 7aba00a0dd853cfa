"""YAML documents of which every value knows its line, so that a wrong setting can be shown to its writer.

Scalars follow the core schema of YAML 1.2, as editors do, and not YAML 1.1, as PyYAML does: there, ``1e-3`` is a text,
``no`` is false, ``12:30`` is the number 750 and ``2016-11-01`` a date, none of which anybody means in a study. Foreign
tags, duplicate keys and aliases inside themselves are refused; the keys of a mapping are always text, so that a slide
may be called ``001``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slidepipe.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list positions that lead from the top of a document to one of its values."""

_TAG = "tag:yaml.org,2002:"
_MOST_VALUES = 500_000
"""Values of a document, those that aliases repeat counted as often: a few lines of aliases of aliases make billions."""
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a value was written."""

    name: str
    """File, or the words of the command line."""
    line: int = 0
    """Line in the file, counted from 1; 0 where there are no lines."""

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A value and where each of its parts was written."""

    value: Any
    """None, bool, int, float, str, list and dict with text keys, nested; None for an empty document."""
    places: Mapping[KeyPath, Place]
    """Place of every value by its path; for the values of a mapping, the place of the key. ``()`` is the top."""


def place_of(path: KeyPath, places: Mapping[KeyPath, Place]) -> Place:
    """Return where a value was written, or the nearest part around it of which that is known.

    Parameters
    ----------
    path
        Keys and list positions.
    places
        Known places; that of the top, ``()``, is among them.

    Returns
    -------
    Place
        Of the value or around it.
    """
    while path not in places:
        path = path[:-1]
    return places[path]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML fills the class's own dictionary below


class _Dumper(yaml.SafeDumper):
    # Resolvers of both YAML versions: a text that either would take for something else is written in quotes.
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    is_flat = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence(f"{_TAG}seq", items, flow_style=is_flat)


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # PyYAML writes these line breaks of Unicode as they are, and reads them back as spaces, unless they are quoted.
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
for _kind, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"^(?:{_pattern})$"), _first)


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file, UTF-8.

    Returns
    -------
    Document
        Its value and the line of every part.

    Raises
    ------
    ConfigError
        If the file cannot be read, or for the reasons of `parse_document`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_document(text, str(path))


def parse_document(text: str, name: str, *, is_file: bool = True) -> Document:
    """Read YAML from a text.

    Parameters
    ----------
    text
        One YAML document.
    name
        What messages call it: the file, or the option of the command line.
    is_file
        Whether messages name lines.

    Returns
    -------
    Document
        The value and the place of every part.

    Raises
    ------
    ConfigError
        If it is not YAML, holds more than one document, a tag, a duplicate key, a key that is not plain text, an
        alias of something that contains it, or more values or depth than any study. The message gives the line.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1 if mark and is_file else 0)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{place}: not valid YAML: {reason}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: its values are nested too deeply to be read") from error
    places: dict[KeyPath, Place] = {(): Place(name, 1 if is_file else 0)}
    try:
        value = None if node is None else _Reading(name, is_file, places).value(node, (), ())
    except RecursionError as error:
        raise ConfigError(f"{name}: its values are nested too deeply to be read") from error
    return Document(value, places)


def write_yaml(value: object) -> str:
    """Write a value as YAML that `parse_document`, and any reader of YAML 1.1 or 1.2, reads back as it was.

    Parameters
    ----------
    value
        None, bool, int, float, str, list and dict with text keys, nested.

    Returns
    -------
    str
        Keys in the order given, a list of plain values on one line.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One pass over the nodes of a document, which notes where each value stands."""

    name: str
    is_file: bool
    places: dict[KeyPath, Place]

    def place(self, node: yaml.Node) -> Place:
        return Place(self.name, node.start_mark.line + 1 if self.is_file else 0)

    def value(self, node: yaml.Node, path: KeyPath, ancestors: tuple[yaml.Node, ...]) -> Any:
        if node in ancestors:
            raise ConfigError(f"{self.place(node)}: an alias stands inside the value that it repeats")
        if len(self.places) > _MOST_VALUES:
            raise ConfigError(
                f"{self.place(node)}: with its aliases the document has more than {_MOST_VALUES} values"
            )
        ancestors = (*ancestors, node)
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, path, ancestors)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            for index, item in enumerate(node.value):
                self.places[*path, index] = self.place(item)
            return [self.value(item, (*path, index), ancestors) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and (kind == "str" or kind in _SCALARS):
            return self._scalar(node, kind)
        raise ConfigError(f"{self.place(node)}: the tag {node.tag} is not used here: leave it out")

    def _mapping(
        self, node: yaml.MappingNode, path: KeyPath, ancestors: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{place}: a key must be plain text, not a list or mapping")
            key = str(key_node.value)
            if key in values:
                first = self.places[*path, key]
                raise ConfigError(
                    f"{place}: the key {key!r} was given before (line {first.line}): keep one of the two"
                )
            self.places[*path, key] = place
            values[key] = self.value(value_node, (*path, key), ancestors)
        return values

    def _scalar(self, node: yaml.ScalarNode, kind: str) -> Any:
        text = str(node.value)
        if kind == "str":
            return text
        if not re.fullmatch(_SCALARS[kind][0], text):
            raise ConfigError(f"{self.place(node)}: {text!r} is tagged as {kind}, which it is not")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text)
        is_number = text[-1] in "0123456789."
        return float(
            text if is_number else text.replace(".", "")
        )  # Python writes .inf and .nan without the point
