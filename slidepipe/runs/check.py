"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]
"""``ok``; ``warn``: works, but slowly or not everywhere; ``fail``: a study would not get through."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing."""

    name: str
    """The thing."""
    status: Status
    """Whether it is fit."""
    detail: str
    """What was found, with numbers."""
    advice: str = ""
    """What to do; empty where nothing has to be done."""
