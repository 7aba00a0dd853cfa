"""Slides that are left out of a study, or of part of it, for reasons somebody published.

A list is a table ``slide,scope,reason,source``. The scopes:

* ``all``: the slide takes no part in anything.
* ``lesions``: it counts for slide predictions, not for the lesion evaluation.
* ``train_negatives``: only its annotated tumour is used for training; what is not annotated there may be tumour.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

from slidepipe.errors import CohortError
from slidepipe.storage.locations import location

logger = logging.getLogger(__name__)

Scope = Literal["all", "lesions", "train_negatives"]
"""What a slide is left out of."""

_SCOPES: dict[str, Scope] = {scope: scope for scope in get_args(Scope)}

BUILT_IN = ("camelyon16",)
"""Names of the lists that come with the package."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One row of a list."""

    slide: str
    """Name of the slide; matched without regard to case."""
    scope: Scope
    """What it is left out of."""
    reason: str
    """Why."""


def read_exclusions(name_or_path: str) -> tuple[Exclusion, ...]:
    """Read a list of exclusions.

    Parameters
    ----------
    name_or_path
        ``camelyon16``, or the path of a CSV file with the columns ``slide`` and ``scope``, and if wanted ``reason`` and
        ``source``.

    Returns
    -------
    tuple of Exclusion
        In the order of the file. A slide may stand in it several times, with different scopes.

    Raises
    ------
    CohortError
        If there is no such file, a column is missing or a scope is unknown.
    """
    if name_or_path in BUILT_IN:
        text = resources.files("slidepipe.slides").joinpath(f"{name_or_path}.csv").read_text(encoding="utf-8")
    else:
        try:
            text = location(name_or_path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CohortError(
                f"the exclusions {name_or_path} cannot be read: {error}; built in are {', '.join(BUILT_IN)}"
            ) from error
    rows = csv.DictReader(text.splitlines())
    if not {"slide", "scope"} <= set(rows.fieldnames or ()):
        raise CohortError(f"the exclusions {name_or_path} need the columns slide and scope")
    exclusions = []
    for row in rows:
        scope = (row["scope"] or "").strip()
        if scope not in _SCOPES:
            raise CohortError(
                f"the exclusions {name_or_path}, line {rows.line_num}: the scope {scope!r} of slide "
                f"{row['slide']!r} is none of {', '.join(_SCOPES)}"
            )
        exclusions.append(Exclusion(row["slide"].strip(), _SCOPES[scope], (row.get("reason") or "").strip()))
    return tuple(exclusions)
