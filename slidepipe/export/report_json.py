"""Plain values out of a JSON document that another room wrote: what is missing is None, what is wrong is an error.

Every reader takes the document's part and a key. A value of another kind than expected means that the document is of
another version than the page knows, and a page that guessed would show wrong numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

from slidepipe.errors import ExportError

Json = Mapping[str, object]
"""An object of a JSON document."""


def part(document: Json, key: str) -> Json:
    """Read an object.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    mapping
        Empty if it is missing or null.

    Raises
    ------
    ExportError
        If it is something else.
    """
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _refuse(key, value, "an object")
    return value


def parts(document: Json, key: str) -> tuple[Json, ...]:
    """Read a list of objects.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    tuple of mapping
        Empty if it is missing or null.

    Raises
    ------
    ExportError
        If it is something else.
    """
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, Mapping) for item in value):
        _refuse(key, value, "a list of objects")
    return tuple(value)


def number(document: Json, key: str) -> float | None:
    """Read a number.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    float or None
        None if it is missing, null or not finite.

    Raises
    ------
    ExportError
        If it is something else.
    """
    return _number(document.get(key), key)


def numbers(document: Json, key: str) -> tuple[float | None, ...]:
    """Read a list of numbers.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    tuple of float or None
        None for what is null or not finite; empty if the list is missing or null.

    Raises
    ------
    ExportError
        If it is something else.
    """
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        _refuse(key, value, "a list of numbers")
    return tuple(_number(item, key) for item in value)


def count(document: Json, key: str) -> int | None:
    """Read a whole number.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    int or None
        None if it is missing or null.

    Raises
    ------
    ExportError
        If it is something else.
    """
    value = document.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        _refuse(key, value, "a whole number")
    return value


def interval(document: Json, key: str) -> tuple[float, float] | None:
    """Read a confidence interval.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    tuple of float or None
        Lower and upper end; None if it is missing, null, or an end is not finite.

    Raises
    ------
    ExportError
        If it is something else.
    """
    return _interval(document.get(key), key)


def intervals(document: Json, key: str) -> tuple[tuple[float, float] | None, ...]:
    """Read a list of confidence intervals.

    Parameters
    ----------
    document
        Object that holds it.
    key
        Its name.

    Returns
    -------
    tuple of interval or None
        As `interval` reads them; empty if the list is missing or null.

    Raises
    ------
    ExportError
        If it is something else.
    """
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        _refuse(key, value, "a list of intervals")
    return tuple(_interval(item, key) for item in value)


def text(document: Json, key: str) -> str:
    """Read words.

    Parameters
    ----------
    document
        Object that holds them.
    key
        Their name.

    Returns
    -------
    str
        Empty if they are missing or null.

    Raises
    ------
    ExportError
        If it is something else.
    """
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        _refuse(key, value, "text")
    return value or ""


def _number(value: object, key: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        _refuse(key, value, "a number")
    return float(value) if math.isfinite(value) else None


def _interval(value: object, key: str) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        _refuse(key, value, "two numbers")
    low, high = _number(value[0], key), _number(value[1], key)
    return None if low is None or high is None else (low, high)


def _refuse(key: str, value: object, wanted: str) -> NoReturn:
    raise ExportError(
        f"the evaluation's {key} should be {wanted}, but is {type(value).__name__}: run evaluate again with this "
        "version of slidepipe"
    )
