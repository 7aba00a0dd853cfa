"""What a rule about GeoJSON is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ALL_VERSIONS = "QuPath"
"""Every version that was tried, 0.4.4 to 0.7.0."""
UNTIL_04 = "QuPath 0.4"
SINCE_06 = "QuPath 0.6 and later"


@dataclass(frozen=True, slots=True)
class Rule:
    """Something a feature must not be or have."""

    text: str
    """What is wrong, and what comes of it where the file is still read."""
    refused_by: str | None = None
    """Versions that refuse the whole file because of it; None if the object only becomes another than was meant."""


Problems = Iterator[tuple[Rule, str]]
"""Broken rules, each with the value that broke it or nothing."""
