"""Hits drawn at random, and the recorded answers of the organisers' scripts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slidepipe.evaluation.matching import SlideHits

MakeHits = Callable[..., SlideHits]


@pytest.fixture
def make_hits() -> MakeHits:
    """Hits of one slide: probabilities of its lesions (None for ITC) and of its false positives."""

    def make(
        slide_id: str,
        lesions: list[float | None] | None = None,
        false_positives: list[float] | None = None,
        diameters: list[float] | None = None,
    ) -> SlideHits:
        found = lesions or []
        return SlideHits(
            slide_id=slide_id,
            is_tumour=lesions is not None,
            lesion_probability=np.array([probability or 0.0 for probability in found], dtype=np.float64),
            is_itc=np.array([probability is None for probability in found], dtype=np.bool_),
            diameter_um=np.array(diameters or [600.0] * len(found)),
            false_positive_probability=np.array(false_positives or [], dtype=np.float64),
            on_lesion_probability=np.array([probability for probability in found if probability]),
        )

    return make


@pytest.fixture
def draw_hits(make_hits: MakeHits) -> Callable[..., list[SlideHits]]:
    """Hits of a set of slides, drawn at random; `digits` rounds probabilities, so that there are ties."""

    def draw(seed: int, n_slides: int = 20, n_false: int = 30, digits: int = 6) -> list[SlideHits]:
        generator = np.random.default_rng(seed)
        slides = []
        for number in range(n_slides):
            false_positives = (generator.random(n_false) ** 3).round(digits)
            false_positives = false_positives[false_positives > 0].tolist()
            lesions: list[float | None] | None = None
            if number % 5 < 2:
                found = generator.random(generator.integers(1, 6)).round(digits)
                lesions = [None if p < 0.15 else 0.0 if p < 0.3 else float(p) for p in found] + [0.9]
            slides.append(make_hits(f"slide_{number:03d}", lesions, false_positives))
        return slides

    return draw


@dataclass(frozen=True)
class Vector:
    """One recorded case."""

    name: str
    folder: Path
    slides: list[dict[str, Any]]
    runs: dict[str, dict[str, Any]]

    def write_reference(self, path: Path, *, only_with_csv: bool = False) -> Path:
        """Write its slides as a reference table with spacings."""
        rows = [
            f"{slide['name']}.tif,{slide['type']},,,{slide['spacing_um']}\n"
            for slide in self.slides
            if slide["has_csv"] or not only_with_csv
        ]
        path.write_text("image,type,class,center,spacing_um\n" + "".join(rows))
        return path


@pytest.fixture(scope="session")
def vectors(shared_data: Path) -> dict[str, Vector]:
    """All recorded cases by the number their names begin with."""
    cases = {}
    for folder in sorted((shared_data / "froc").glob("[0-9]*")):
        case = json.loads((folder / "case.json").read_text())
        runs = json.loads((folder / "expected.json").read_text())["runs"]
        cases[folder.name[:2]] = Vector(folder.name, folder, case["slides"], runs)
    return cases
