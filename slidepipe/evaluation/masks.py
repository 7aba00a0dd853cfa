"""The reference mask of a slide: painted from its outlines, or read from an image somebody made.

The rules are defined on level 5 of CAMELYON16's pyramids, whose pixels have sides of 7.776 µm (or 7.232 µm, from the
second scanner). Slides scanned at another pixel size are judged on the level that comes nearest: 3 for 0.972 µm, 4
for 0.5 µm. The rules *public* and *leaderboard* take its pixels for 7.776 µm on every slide; *release* and *exact* use
the slide's own pixel size times 2^level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.reference import GROWTH_UM
from slidepipe.evaluation.rules import OFFICIAL_PIXEL_UM
from slidepipe.geometry import ceil_div
from slidepipe.slides.annotations import SlideAnnotation
from slidepipe.slides.rasterise import rasterise

OFFICIAL_LEVEL = 5
"""Pyramid level at which CAMELYON16 is evaluated."""

MaskValue = Literal[255, 1, 2]
"""Value of tumour in mask images: 255 in the masks of 2016, 1 in conversions in circulation, 2 in the open release."""

_KNOWN_VALUES: dict[int, frozenset[int]] = {
    255: frozenset({0, 255}),
    1: frozenset({0, 1}),
    2: frozenset({0, 1, 2}),
}
_PRINT_UM = 50.0
"""Pixels larger than this (about 500 to the inch) are a setting for screens and printers, not a measurement."""
_TIFF_SUFFIXES = {".tif", ".tiff"}


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask image of one slide, not read yet."""

    path: str
    """PNG or TIFF; of a pyramid, the wanted level is read."""
    tumour_value: MaskValue = 255
    """Value of tumour pixels. Any value that does not go with it is refused."""
    level: int = OFFICIAL_LEVEL
    """Pyramid level of the image, or to read from a pyramid: one pixel spans 2^level level-0 pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class TumourMask:
    """Where a slide holds tumour."""

    is_tumour: NDArray[np.bool_]
    """Shape (rows, columns)."""
    level: int
    """One pixel spans 2^level level-0 pixels."""
    is_bounded: bool
    """Whether the mask ends where the slide ends, so that a detection outside it must be a mistake."""
    spacing_um: float | None = None
    """Side of a level-0 pixel, where the image's tags tell."""

    @property
    def step_px0(self) -> float:
        """Level-0 pixels per mask pixel."""
        return float(2**self.level)


def nearest_level(spacing_um: float | None) -> int:
    """Choose the pyramid level whose pixels come nearest to 7.776 µm.

    Parameters
    ----------
    spacing_um
        Side of a level-0 pixel in µm; None if unknown.

    Returns
    -------
    int
        The level, never below 0; 5, CAMELYON16's, if the pixel size is unknown.
    """
    if spacing_um is None:
        return OFFICIAL_LEVEL
    return max(0, round(math.log2(OFFICIAL_PIXEL_UM / spacing_um)))


def paint_mask(
    annotation: SlideAnnotation, level: int, size_px0: tuple[int, int] | None, spacing_um: float | None
) -> TumourMask:
    """Paint a slide's outlines into a mask, by ASAP's rule.

    Parameters
    ----------
    annotation
        Outlines of the slide.
    level
        Pyramid level: one mask pixel spans 2^level level-0 pixels.
    size_px0
        Width and height of the slide. If unknown, the mask reaches as far as the outlines and what they grow by, and
        detections beyond it count as lying where there is no tumour.
    spacing_um
        Side of a level-0 pixel, if known.

    Returns
    -------
    TumourMask
        Bounded if `size_px0` is known.
    """
    step = 2**level
    if size_px0 is not None:
        shape = (ceil_div(size_px0[1], step), ceil_div(size_px0[0], step))
        return TumourMask(rasterise(annotation, shape, (step, step)), level, is_bounded=True)
    pixel_um = min(OFFICIAL_PIXEL_UM, spacing_um * step if spacing_um else OFFICIAL_PIXEL_UM)
    margin = math.ceil(GROWTH_UM / (2 * pixel_um)) + 2
    corners = [outline.points_px0.max(axis=0) for outline in annotation.outlines if len(outline.points_px0)]
    far_x, far_y = np.max(corners, axis=0) if corners else (0.0, 0.0)
    shape = (max(int(far_y // step), 0) + margin, max(int(far_x // step), 0) + margin)
    return TumourMask(rasterise(annotation, shape, (step, step)), level, is_bounded=False)


def read_mask(file: MaskFile, slide_id: str) -> TumourMask:
    """Read the mask image of a slide with tumour.

    Parameters
    ----------
    file
        Which file, level and value.
    slide_id
        Name of the slide, for messages.

    Returns
    -------
    TumourMask
        Bounded. Of colour images the first channel counts; images of one bit are tumour where they are set.

    Raises
    ------
    EvaluationError
        If the image cannot be read, a pyramid lacks the level, or values do not go with the one stated for tumour:
        a mask of 0 and 1 read as one of 0 and 255 would hold no tumour, and the scripts would not say so.
    """
    try:
        with _open_image(Path(file.path)) as image:
            spacing_um = _spacing_of_tags(image, file.level)
            _seek_level(image, file.level, slide_id)
            pixels = np.asarray(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise EvaluationError(
            f"slide {slide_id}: mask {Path(file.path).name} cannot be read: {error}"
        ) from error
    values = pixels[..., 0] if pixels.ndim == 3 else pixels
    if values.dtype == np.bool_:
        return TumourMask(values, file.level, is_bounded=True, spacing_um=spacing_um)
    _require_known_values(values, file, slide_id)
    return TumourMask(values == file.tumour_value, file.level, is_bounded=True, spacing_um=spacing_um)


def _open_image(path: Path) -> Image.Image:
    # Image.open looks at the size of the first level and refuses a gigapixel pyramid of which a small level is wanted.
    return (
        TiffImagePlugin.TiffImageFile(str(path))
        if path.suffix.lower() in _TIFF_SUFFIXES
        else Image.open(path)
    )


def _seek_level(image: Image.Image, level: int, slide_id: str) -> None:
    n_levels = int(getattr(image, "n_frames", 1))
    if n_levels == 1:
        return
    width, height = image.size
    if level >= n_levels:
        raise EvaluationError(
            f"slide {slide_id}: its mask has {n_levels} levels, 0 to {n_levels - 1}, and level {level} is wanted: "
            "state another mask level"
        )
    image.seek(level)
    expected = (width / 2**level, height / 2**level)
    if any(abs(got - want) > 1 for got, want in zip(image.size, expected, strict=True)):
        raise EvaluationError(
            f"slide {slide_id}: page {level} of its mask has {image.size[0]} × {image.size[1]} pixels, but level "
            f"{level} of {width} × {height} pixels would have {expected[0]:g} × {expected[1]:g}"
        )


def _spacing_of_tags(image: Image.Image, level: int) -> float | None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    unit_um = {2: 25_400.0, 3: 10_000.0}.get(int(image.tag_v2.get(TiffImagePlugin.RESOLUTION_UNIT, 2)))
    per_unit = float(image.tag_v2.get(TiffImagePlugin.X_RESOLUTION, 0))
    if unit_um is None or not per_unit > 0:
        return None
    pixel_um = unit_um / per_unit
    if pixel_um > _PRINT_UM:
        return None
    is_pyramid = int(getattr(image, "n_frames", 1)) > 1
    return pixel_um if is_pyramid else pixel_um / 2**level


def _require_known_values(values: NDArray[np.generic], file: MaskFile, slide_id: str) -> None:
    found = {int(value) for value in np.unique(values)}
    name = Path(file.path).name
    if not found <= _KNOWN_VALUES[file.tumour_value]:
        raise EvaluationError(
            f"slide {slide_id}: mask {name} holds the values {_listed(found)}, but tumour was stated to be "
            f"{file.tumour_value}, which goes with {_listed(_KNOWN_VALUES[file.tumour_value])} only: state the "
            "mask's own value (255, 1 or 2)"
        )
    if found - {0} and file.tumour_value not in found:
        raise EvaluationError(
            f"slide {slide_id}: mask {name} holds the values {_listed(found)} and none is {file.tumour_value}, the "
            "value stated for tumour, although the slide is labelled tumor"
        )


def _listed(values: set[int] | frozenset[int]) -> str:
    shown = sorted(values)
    return ", ".join(map(str, shown[:8])) + (", ..." if len(shown) > 8 else "")
