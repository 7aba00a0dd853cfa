"""Draw a small cohort that looks like CAMELYON16, to try the whole chain without a download.

The folder has the layout of the open release: ``images/*.tif``, ``annotations/*.xml`` and ``reference.csv``. Slides of
two centres alternate; each centre has its stain, its scanner and its container. Lesions are of all three sizes (macro
above 2 mm, micro, and isolated tumour cells below 0.2 mm). Tumour differs from normal tissue in the size, shape and
texture of its nuclei; germinal centres, histiocytes and stroma have its colours. Nothing here is patient data, and
nothing measured on it says how well a method does on real slides.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from xml.sax.saxutils import quoteattr

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from slidepipe.errors import CohortError, ConfigError
from slidepipe.slides.drawing_anatomy import DrawnLesion, plan_anatomy
from slidepipe.slides.drawing_picture import Look, paint
from slidepipe.slides.drawing_texture import Sheets, draw_sheets
from slidepipe.slides.slide_writer import Container, write_slide
from slidepipe.storage.publish import atomic_path, write_text

_log = logging.getLogger(__name__)

MACRO_UM = 2000.0
"""Lesions longer than this are macrometastases; CAMELYON16 follows the TNM classification."""

_RECIPES_UM: tuple[tuple[float, ...], ...] = (
    (2500.0, 600.0, 150.0),
    (1300.0, 500.0, 160.0, 110.0),
    (750.0, 350.0, 130.0),
    (2700.0, 140.0, 450.0),
)
"""Lengths of the lesions of a tumour slide, in turn; both centres get a macrometastasis and a slide without."""

_MPP = (0.972, 0.905)
_CONTAINERS: tuple[Container, Container] = ("asap", "philips")
_BLUE_INK, _GREEN_INK = (1.3, 0.6, 0.08), (1.3, 0.25, 0.9)
_GROUPS = (("Tumor", "Exclusion"), ("_0", "_2"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingSettings:
    """What to draw. The defaults give 16 slides that a small network learns from in minutes."""

    train_normal: Annotated[int, Ge(0)] = 4
    """Training slides without tumour, ``normal_001`` and so on."""
    train_tumour: Annotated[int, Ge(0)] = 4
    """Training slides with tumour, ``tumor_001`` and so on."""
    test: Annotated[int, Ge(0)] = 8
    """Test slides, ``test_001`` and so on; every other one, the first included, has tumour."""
    size_px: Annotated[int, Ge(1024), Le(16384)] = 4608
    """Mean side of the slides in pixels of about 0.94 µm; single slides differ by up to 8 %. Lesions
    shrink with small slides; a macrometastasis needs about 4096."""
    seed: Annotated[int, Ge(0)] = 0
    """Start of all random numbers. Same settings, same files."""

    def __post_init__(self) -> None:
        if self.train_normal + self.train_tumour + self.test == 0:
            raise ConfigError(
                "a drawn cohort without slides: train_normal, train_tumour and test are all 0; ask for one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidePlan:
    """One slide to draw, decided before anything is drawn."""

    slide_id: str
    """Name as in the open release."""
    index: int
    """Place in the cohort; seeds the slide's random numbers."""
    size_px: tuple[int, int]
    """Width and height as drawn; a Philips container pads them."""
    look: Look
    """Centre, pixel size and artefacts."""
    lesion_lengths_um: tuple[float, ...]
    """Wanted lengths of the lesions; none on a normal slide."""


def plan_cohort(settings: DrawingSettings) -> tuple[SlidePlan, ...]:
    """Decide on every slide of a cohort.

    Parameters
    ----------
    settings
        What to draw.

    Returns
    -------
    tuple of SlidePlan
        Normal, tumour and test slides, in this order. Centres alternate within each kind, and artefacts occur with
        and without tumour: nothing but the tissue tells the label.
    """
    slides = [(f"normal_{rank + 1:03d}", False, rank, rank) for rank in range(settings.train_normal)]
    slides += [(f"tumor_{rank + 1:03d}", True, rank, rank + 1) for rank in range(settings.train_tumour)]
    # The test recipes start where the training recipes do, with the other centre.
    slides += [(f"test_{rank + 1:03d}", rank % 2 == 0, rank // 2, rank // 2) for rank in range(settings.test)]
    return tuple(
        _plan_slide(settings, index, name, _RECIPES_UM[rank % len(_RECIPES_UM)] if has_tumour else (), turn)
        for index, (name, has_tumour, rank, turn) in enumerate(slides)
    )


def _plan_slide(
    settings: DrawingSettings, index: int, slide_id: str, lengths_um: tuple[float, ...], turn: int
) -> SlidePlan:
    rng = np.random.default_rng([settings.seed, index, 0])
    width, height = (round(settings.size_px * rng.uniform(0.92, 1.08) / 64) * 64 for _ in range(2))
    centre = turn % 2
    side_um = min(width, height) * _MPP[centre]
    # The first lesion leaves room for the others, whose distance from it does not shrink with the slide.
    limits_um = (max(400.0, 0.8 * side_um - 800), *(0.12 * side_um for _ in lengths_um[1:]))
    return SlidePlan(
        slide_id=slide_id,
        index=index,
        size_px=(width, height),
        look=Look(
            centre=centre,
            mpp=_MPP[centre],
            pen=(_BLUE_INK, _GREEN_INK)[centre] if index % 7 == 1 else None,
            has_blurred_spot=index % 3 == 0,
            is_cropped=_CONTAINERS[centre] == "philips",
        ),
        lesion_lengths_um=tuple(
            min(length, limit) for length, limit in zip(lengths_um, limits_um, strict=False)
        ),
    )


def draw_cohort(
    folder: Path, settings: DrawingSettings = DrawingSettings(), progress: Callable[[str], None] | None = None
) -> Path:
    """Draw a cohort in the layout of the open release of CAMELYON16.

    The defaults take about a minute on one core and 70 MB. Files that are there already are drawn again;
    ``reference.csv`` is written last, so a folder that has it is complete.

    Parameters
    ----------
    folder
        Where to put it; made if missing.
    settings
        What to draw.
    progress
        Called with the name of each slide once it is written.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    CohortError
        If ``images`` or ``annotations`` in `folder` hold files that do not belong to this cohort.
    OSError
        If a file cannot be written.
    """
    plans = plan_cohort(settings)
    _refuse_strangers(folder, plans)
    (folder / "reference.csv").unlink(missing_ok=True)
    sheets = draw_sheets(np.random.default_rng([settings.seed]))
    rows = [("image", "type", "class", "center")]
    for plan in plans:
        lesions = _draw_slide(folder, plan, settings.seed, sheets)
        longest = max((lesion.length_um for lesion in lesions), default=0.0)
        size_class = "macro" if longest > MACRO_UM else "micro" if lesions else "negative"
        label = "tumor" if lesions else "normal"
        rows.append((f"{plan.slide_id}.tif", label, size_class, str(plan.look.centre)))
        _log.info(
            "drew %s: %d × %d px, %d lesions, class %s",
            plan.slide_id,
            *plan.size_px,
            len(lesions),
            size_class,
        )
        if progress is not None:
            progress(plan.slide_id)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_text(folder / "reference.csv", table.getvalue())
    return folder


def _refuse_strangers(folder: Path, plans: tuple[SlidePlan, ...]) -> None:
    ours = {plan.slide_id for plan in plans}
    for part, pattern in (("images", "*.tif"), ("annotations", "*.xml")):
        strangers = sorted(path.name for path in (folder / part).glob(pattern) if path.stem not in ours)
        if strangers:
            raise CohortError(
                f"{folder / part} holds {len(strangers)} files that these settings do not draw, {strangers[0]} first; "
                "draw into an empty folder"
            )


def _draw_slide(folder: Path, plan: SlidePlan, seed: int, sheets: Sheets) -> tuple[DrawnLesion, ...]:
    """Draw one slide and its annotation; return its lesions."""
    rng = np.random.default_rng([seed, plan.index, 1])
    anatomy = plan_anatomy(rng, plan.size_px, plan.look.mpp, plan.lesion_lengths_um)
    pixels = paint(rng, anatomy, plan.look, plan.size_px, sheets)
    with atomic_path(folder / "images" / f"{plan.slide_id}.tif") as temporary:
        write_slide(temporary, pixels, _CONTAINERS[plan.look.centre], plan.look.mpp)
    if anatomy.lesions:
        annotation = asap_annotation(anatomy.lesions, *_GROUPS[plan.index % 2])
        write_text(folder / "annotations" / f"{plan.slide_id}.xml", annotation)
    return anatomy.lesions


def asap_annotation(lesions: tuple[DrawnLesion, ...], tumour_group: str, exclusion_group: str) -> str:
    """Write lesions as ASAP does.

    Parameters
    ----------
    lesions
        What was drawn.
    tumour_group
        Group of the outlines, ``Tumor`` or ``_0`` in CAMELYON16.
    exclusion_group
        Group of the islands inside, ``Exclusion`` or ``_2``.

    Returns
    -------
    str
        XML with one polygon per outline and island, in level-0 pixels with four decimals.
    """
    rings = [(tumour_group, lesion.outline_px0) for lesion in lesions]
    rings += [(exclusion_group, hole) for lesion in lesions for hole in lesion.holes_px0]
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for number, (group, points) in enumerate(rings):
        lines.append(
            f'\t\t<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup={quoteattr(group)} Color="#F4FA58">'
        )
        lines += _coordinates(points)
        lines.append("\t\t</Annotation>")
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]
    for group in (tumour_group, exclusion_group):
        lines.append(f'\t\t<Group Name={quoteattr(group)} PartOfGroup="None" Color="#00ff00">')
        lines += ["\t\t\t<Attributes />", "\t\t</Group>"]
    return "\n".join([*lines, "\t</AnnotationGroups>", "</ASAP_Annotations>", ""])


def _coordinates(points_px0: NDArray[np.float64]) -> list[str]:
    lines = [
        f'\t\t\t\t<Coordinate Order="{order}" X="{x:.4f}" Y="{y:.4f}" />'
        for order, (x, y) in enumerate(points_px0)
    ]
    return ["\t\t\t<Coordinates>", *lines, "\t\t\t</Coordinates>"]
