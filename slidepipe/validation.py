"""Values from outside against the annotations of a frozen dataclass; what is wrong is told place by place.

Pydantic decides what is valid, the JSON Schema that it derives from the same annotations says in words what was
expected, and the document says where the value was written. No type is converted in silence: ``"0.5"`` is not a number
here, nor is 1 the same as true.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from slidepipe.documents import KeyPath, Place, place_of
from slidepipe.errors import ConfigError

T = TypeVar("T")
Schema = Mapping[str, Any]

_LONGEST = 60


def validate(kind: type[T], value: Any, places: Mapping[KeyPath, Place]) -> T:
    """Turn a document's value into a settings object, or say everything that is wrong with it.

    Parameters
    ----------
    kind
        Dataclass whose ``__pydantic_config__`` is strict and forbids extra keys.
    value
        None, bool, int, float, str, list and dict, nested.
    places
        Where each part of `value` was written; a part without a place has that of the nearest part around it.

    Returns
    -------
    T
        The settings.

    Raises
    ------
    ConfigError
        If `value` does not fit. One line for each setting that is wrong: its place, its key, what was found and what
        was expected.
    """
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        schema = adapter.json_schema()
        found: dict[KeyPath, tuple[Place, str]] = {}
        for detail in error.errors():
            path = _path_in(value, detail["loc"], keep_last=detail["type"] == "missing")
            found.setdefault(path, (place_of(path, places), _complaint(path, detail, value, schema)))
        lines = [f"{place}: {text}" for place, text in sorted(found.values())]
        head = "" if len(lines) == 1 else f"{len(lines)} settings cannot be used:\n  "
        raise ConfigError(head + "\n  ".join(lines)) from error


def _path_in(value: Any, location: tuple[str | int, ...], *, keep_last: bool) -> KeyPath:
    """Drop from an error's location what is not in the document: Pydantic also names the branches of a union there."""
    path: list[str | int] = []
    for index, key in enumerate(location):
        if isinstance(value, dict) and key in value:
            value = value[str(key)]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        elif not (keep_last and index == len(location) - 1 and isinstance(value, dict)):
            continue
        path.append(key)
    return tuple(path)


def _complaint(path: KeyPath, detail: Any, value: Any, schema: Schema) -> str:
    key = dotted(path) or "the document"
    if detail["type"] in {"value_error", "assertion_error"}:
        return f"{key}: {str(detail['ctx']['error']).removeprefix(f'{key}: ')}"
    if detail["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return f"{key}: unknown setting; {_known_instead(path, schema)}"
    expected = (
        _either(dict.fromkeys(_describe(node, schema) for node in _nodes_at(path, schema))) or detail["msg"]
    )
    if detail["type"] == "missing" and not isinstance(_value_at(path, value), list):
        return f"{key}: missing; expected {expected}"
    return f"{key}: found {_shown(_value_at(path, value))}, expected {expected}"


def _value_at(path: KeyPath, value: Any) -> Any:
    for key in path:
        if isinstance(value, dict) and key not in value:
            return None
        value = value[key]
    return value


def dotted(path: KeyPath) -> str:
    """Write a path as it is written on the command line.

    Parameters
    ----------
    path
        Keys and list positions.

    Returns
    -------
    str
        ``tiles.mpp``, ``slides.paths[0]``; empty for the top of the document.
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"a mapping with {', '.join(map(repr, value)) or 'no keys'}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


# ---- what the schema knows of a path ----


def _branches(node: Schema, schema: Schema) -> Iterator[Schema]:
    """Follow references and unions down to nodes that describe one kind of value."""
    if "$ref" in node:
        yield from _branches(schema["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]], schema)
    elif "anyOf" in node or "oneOf" in node:
        for branch in node.get("anyOf", node.get("oneOf", ())):
            yield from _branches(branch, schema)
    else:
        yield node


def _nodes_at(path: KeyPath, schema: Schema) -> list[Schema]:
    nodes = list(_branches(schema, schema))
    for key in path:
        below: list[Schema] = []
        for node in nodes:
            if isinstance(key, int):
                items = node.get("prefixItems", ())
                child = items[key] if key < len(items) else node.get("items")
            else:
                child = node.get("properties", {}).get(key, node.get("additionalProperties"))
            if isinstance(child, Mapping):
                below += _branches(child, schema)
        nodes = below
    return nodes


def _known_instead(path: KeyPath, schema: Schema) -> str:
    *section, key = path
    siblings = [name for node in _nodes_at(tuple(section), schema) for name in node.get("properties", {})]
    nearest = difflib.get_close_matches(str(key), siblings, n=1)
    elsewhere = [known for known in _all_keys(schema) if known[-1] == key]
    if nearest or elsewhere:
        return f"did you mean {dotted((*section, nearest[0]) if nearest else elsewhere[0])}?"
    return f"{dotted(tuple(section)) or 'the document'} knows {', '.join(siblings)}"


def _all_keys(schema: Schema, path: KeyPath = ()) -> Iterator[KeyPath]:
    for node in _nodes_at(path, schema):
        for key in node.get("properties", {}):
            yield (*path, key)
            yield from _all_keys(schema, (*path, key))


# ---- a schema node in words ----


def _describe(node: Schema, schema: Schema) -> str:
    if "const" in node or "enum" in node:
        return _either(
            json.dumps(value, ensure_ascii=False) for value in node.get("enum", [node.get("const")])
        )
    match node.get("type"):
        case "number" | "integer" as kind:
            return f"a {'whole ' if kind == 'integer' else ''}number{_limits(node)}"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "string":
            return "text"
        case "array":
            return _describe_list(node, schema)
    return "a mapping of settings"


def _limits(node: Schema) -> str:
    words = (
        ("exclusiveMinimum", "greater than"),
        ("minimum", "at least"),
        ("exclusiveMaximum", "less than"),
        ("maximum", "at most"),
        ("multipleOf", "a multiple of"),
    )
    limits = [f"{text} {node[key]:g}" for key, text in words if key in node]
    return " " + " and ".join(limits) if limits else ""


def _describe_list(node: Schema, schema: Schema) -> str:
    parts = node.get("prefixItems")
    if parts is None:
        least = f" at least {node['minItems']}" if "minItems" in node else ""
        parts = [node["items"]] if isinstance(node.get("items"), Mapping) else []
        each = ", each " if parts else ""
    else:
        least, each = f" {len(parts)}", ": "
    words = (
        _either(dict.fromkeys(_describe(branch, schema) for branch in _branches(part, schema)))
        for part in parts
    )
    return f"a list{' of' if least else ''}{least}{each}{', '.join(words)}"


def _either(words: Iterable[str]) -> str:
    *first, last = [*words] or [""]
    return f"{', '.join(first)} or {last}" if first else last
