"""What the viewer shows: a run as plain values, handed over once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slidepipe.lesions.lesion import Lesion
from slidepipe.slides.reader import SlideSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedSlide:
    """One slide, and what the run found out about it."""

    source: SlideSource
    """Where it lies. Only its name is ever sent to the browser."""
    label: str | None = None
    """``normal`` or ``tumor``; None where no reference says."""
    probability: float | None = None
    """Probability that the slide holds a metastasis, 0 to 1."""
    thumbnail: Path | None = None
    """Picture of the whole slide, in the run."""
    heatmap: Path | None = None
    """Heatmap store, in the run; None if nobody looked."""
    lesions: tuple[Lesion, ...] | None = None
    """Most probable first; None if none were looked for."""
    annotation: Path | None = None
    """File of the reference outlines, wherever it lies; only its outlines are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedRun:
    """A run. Nothing is shown but these slides and these files."""

    title: str
    root: Path
    """The run directory. A file of the run that turns out to lie elsewhere, through a link, is not read."""
    slides: Mapping[str, ViewedSlide]
    """Slides by name, in the order in which they are listed."""
    threshold: float
    """Threshold that the lesions were found with; they are outlined where the heatmap is above it."""
    report: Path | None = None
    """The run's report, in the run."""
    classes: Mapping[str, bool] = field(default_factory=dict)
    """Meaning of annotation classes, as for `slidepipe.slides.annotations.read_annotation`."""
