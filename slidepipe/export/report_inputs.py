"""What goes into a report: the slides, the stages, the failures, and where it all came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion

SHOWN_LESIONS = 50
"""Most probable lesions of a slide that are listed and drawn. The page says so where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideRow:
    """One slide of the run."""

    slide_id: str
    size_px0: tuple[int, int]
    """Width and height of level 0."""
    split: str | None = None
    """``train`` or ``test``."""
    label: str | None = None
    """``normal`` or ``tumor``; None where no reference says."""
    size_class: str | None = None
    """``negative``, ``micro`` or ``macro``."""
    centre: str | None = None
    n_tiles: int | None = None
    """Tiles with tissue, damaged ones among them; None if the slide was not tiled."""
    n_damaged: int = 0
    """Tiles with tissue that could not be read."""
    tissue_mm2: float | None = None
    probability: float | None = None
    """Probability that the slide holds a metastasis, 0 to 1."""
    n_lesions: int | None = None
    """All lesions found, listed below or not; None if none were looked for."""
    lesions: Sequence[Lesion] = ()
    """Lesions to draw and list, most probable first; those beyond `SHOWN_LESIONS` are only counted."""
    thumbnail: Path | bytes | None = field(default=None, repr=False)
    """Picture of the whole slide."""
    heatmap: Heatmap | Path | None = field(default=None, repr=False)
    """Heatmap, or the store that holds it; a store is opened when its turn comes, so that only one is in memory."""
    reference_rings: Sequence[Sequence[tuple[float, float]] | NDArray[np.float64]] = field(
        default=(), repr=False
    )
    """Outlines of the reference in level-0 pixels, points as (x, y)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """How long a stage took, and how busy it kept the machine."""

    name: str
    wall_s: float | None = None
    """Time from its begin to its end."""
    busy_s: float | None = None
    """Time summed over its tasks: busy_s / wall_s workers were at work on average."""
    workers: int | None = None
    n_slides: int | None = None
    n_failed: int = 0
    peak_memory_bytes: int | None = None
    """Largest of all processes."""
    work: str = ""
    """What was done and how fast, in words: ``12,400 tiles, 310 tiles/s``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """A slide that failed in a stage."""

    slide_id: str | None
    """None where the stage works on the whole cohort."""
    stage: str
    message: str
    """What is wrong and what to do."""
    traceback: str = ""
    """Shown folded. It may name files: leave it empty where the page is passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """How the patch classifier of the run was trained."""

    summary: str
    """What came of it, in words."""
    plot: bytes = field(repr=False)
    """Its curves, a PNG file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything a report shows."""

    title: str
    created: str
    """Date as it shall be read; given, so that equal inputs make equal pages."""
    slides: Sequence[SlideRow]
    evaluation: Mapping[str, object] | None = None
    """The evaluation as it lies in its JSON file; None if nothing was evaluated. Missing parts are left out."""
    stages: Sequence[StageRow] = ()
    training: TrainingRow | None = None
    """None if the run trained nothing."""
    failures: Sequence[FailureRow] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    """Parts by name: settings, versions, fingerprints. Nothing that names a file."""
