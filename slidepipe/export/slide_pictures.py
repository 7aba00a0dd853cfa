"""Small pictures of a slide for a page: the thumbnail, the heatmap, and outlines as one drawing path.

A page carries hundreds of them inside itself, so each is made to fit a number of bytes that the caller names. What is
given up is decided here once:

* A heatmap picture keeps the *highest* probability of the cells that share a pixel. Averaging would wash out the
  single hot cell that a reader has to see.
* Colours are inferno on a fixed range of 0 to 1: even in brightness and readable by colour-blind people, and a slide
  looks the same on every page whatever the other slides hold.
* A cell that was not looked at is transparent, never dark: dark means "no tumour here".
* Pictures are always written anew, so that nothing hidden in the file that came in (comments, camera tags, embedded
  previews) gets out.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from slidepipe.errors import ExportError
from slidepipe.geometry import Scale, ceil_div
from slidepipe.heatmaps.heatmap import Heatmap

HEATMAP_SIDE_PX = 400
"""Longest side of a heatmap picture; coarser is chosen where the bytes do not suffice."""

THUMBNAIL_SIDE_PX = 640
"""Longest side of a thumbnail; smaller is chosen where the bytes do not suffice."""

_COLOUR_MAP = "inferno"
_STEPS = (63, 31, 15)
_QUALITIES = (85, 78, 70, 62, 54)
_SHRINK = 0.85
_SMALLEST_BUDGET = 1024


@dataclass(frozen=True, slots=True)
class HeatmapPicture:
    """A heatmap as a picture, and where on the slide it lies."""

    png: bytes
    """Palette PNG; index 0 is transparent."""
    size_px: tuple[int, int]
    """Width and height of the picture."""
    extent_px0: Scale
    """Level-0 pixels that the picture spans along x and y, from the slide's corner; a little more than the slide
    where the last cells reach past its edge."""
    cells_per_pixel: int
    """Heatmap cells along the side of one pixel; 1 shows every cell."""


def probability_colours(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour probabilities by inferno, on the fixed range 0 to 1.

    Parameters
    ----------
    probability
        Tumour probabilities of any shape, 0 to 1; NaN means "not looked at".

    Returns
    -------
    ndarray
        uint8 RGBA, the shape of `probability` and a last axis of four. NaN is (0, 0, 0, 0), everything else opaque.

    Raises
    ------
    ExportError
        If a probability lies outside 0 to 1.
    """
    _check_range(probability)
    looked_at = ~np.isnan(probability)
    colours: NDArray[np.uint8] = colormaps[_COLOUR_MAP](np.where(looked_at, probability, 0.0), bytes=True)
    colours[~looked_at] = 0
    return colours


def colour_stops(count: int = 9) -> tuple[str, ...]:
    """List colours of the legend, evenly from probability 0 to 1.

    Parameters
    ----------
    count
        Number of colours, 2 or more.

    Returns
    -------
    tuple of str
        Colours as ``#rrggbb``.
    """
    colours = probability_colours(np.linspace(0, 1, count, dtype=np.float32))
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in colours.tolist())


def draw_heatmap(heatmap: Heatmap, max_bytes: int) -> HeatmapPicture:
    """Draw a heatmap as a PNG of at most so many bytes.

    First the number of colours gives way (63, 31, 15 steps of probability), then the number of pixels. A pixel that
    stands for several cells shows the highest of them, and is transparent only if none was looked at.

    Parameters
    ----------
    heatmap
        Probabilities of one slide, at least one cell.
    max_bytes
        Largest size of the PNG, 1024 or more.

    Returns
    -------
    HeatmapPicture
        Equal heatmaps give equal bytes.

    Raises
    ------
    ExportError
        If a probability lies outside 0 to 1, the heatmap has no cell, or `max_bytes` is below 1024.
    """
    _check_budget(max_bytes)
    rows, columns = heatmap.probability.shape
    if not rows or not columns:
        raise ExportError(f"{heatmap.slide_id}: a heatmap of {rows} × {columns} cells cannot be drawn")
    _check_range(heatmap.probability, heatmap.slide_id)
    first_factor = ceil_div(max(rows, columns), HEATMAP_SIDE_PX)
    attempts = (
        (factor, highest.shape, _palette_png(highest, steps))
        for factor in itertools.count(first_factor)
        for highest in (_block_maximum(heatmap.probability, factor),)
        for steps in _STEPS
    )
    factor, (height, width), png = next(attempt for attempt in attempts if len(attempt[2]) <= max_bytes)
    scale_x, scale_y = heatmap.cell_px0
    extent = (width * factor * scale_x, height * factor * scale_y)
    return HeatmapPicture(png, (width, height), extent, factor)


def _check_range(probability: NDArray[np.float32], slide_id: str = "heatmap") -> None:
    if np.any((probability < 0) | (probability > 1)):
        low, high = float(np.nanmin(probability)), float(np.nanmax(probability))
        raise ExportError(f"{slide_id}: probabilities must lie between 0 and 1, found {low:g} to {high:g}")


def _check_budget(max_bytes: int) -> None:
    if max_bytes < _SMALLEST_BUDGET:
        raise ExportError(f"a picture needs at least {_SMALLEST_BUDGET} bytes, {max_bytes} were allowed")


def _block_maximum(probability: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Highest of each square of `factor` cells, NaN where all of them are."""
    if factor == 1:
        return probability
    row_starts = np.arange(0, probability.shape[0], factor)
    column_starts = np.arange(0, probability.shape[1], factor)
    by_row: NDArray[np.float32] = np.fmax.reduceat(probability, row_starts, axis=0)
    highest: NDArray[np.float32] = np.fmax.reduceat(by_row, column_starts, axis=1)
    return highest


def _palette_png(probability: NDArray[np.float32], steps: int) -> bytes:
    looked_at = ~np.isnan(probability)
    level = np.rint(np.where(looked_at, probability, 0) * (steps - 1)).astype(np.uint8)
    index = np.where(looked_at, level + 1, 0).astype(np.uint8)
    image = Image.frombytes("P", (index.shape[1], index.shape[0]), index.tobytes())
    colours = probability_colours(np.linspace(0, 1, steps, dtype=np.float32))[:, :3]
    image.putpalette(bytes(3) + colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, transparency=0)
    return buffer.getvalue()


def fit_thumbnail(picture: Path | bytes, max_bytes: int, slide_id: str) -> bytes:
    """Make a thumbnail fit a number of bytes.

    Parameters
    ----------
    picture
        File or content of a picture of the whole slide, in any format that Pillow reads.
    max_bytes
        Largest size of the result, 1024 or more.
    slide_id
        Slide, named in errors.

    Returns
    -------
    bytes
        JPEG of at most 640 pixels a side, without any of the metadata of `picture`.

    Raises
    ------
    ExportError
        If `picture` cannot be read, or `max_bytes` is below 1024.
    """
    _check_budget(max_bytes)
    try:
        content = picture if isinstance(picture, bytes) else picture.read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ExportError(
            f"{slide_id}: the thumbnail cannot be read ({type(error).__name__}); run tile again for this slide"
        ) from error
    # Pillow carries comments and colour profiles along from image to image: only the pixels go on.
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.LANCZOS)
    while True:
        for quality in _QUALITIES:
            jpeg = _jpeg(image, quality)
            if len(jpeg) <= max_bytes:
                return jpeg
        width, height = image.size
        smaller = max(1, int(width * _SHRINK)), max(1, int(height * _SHRINK))
        image = image.resize(smaller, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def data_url(content: bytes, media_type: str) -> str:
    """Write bytes as a URL that carries them.

    Parameters
    ----------
    content
        The bytes.
    media_type
        What they are, for example ``image/png``.

    Returns
    -------
    str
        ``data:`` URL in base64.
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def outline_path(rings: Iterable[Sequence[Sequence[float]] | NDArray[np.float64]], unit_px0: float) -> str:
    """Write closed outlines as one SVG path.

    Points that fall on the same or a collinear unit as their neighbours are left out; an outline smaller than a unit
    stays as a point, which a round stroke still shows.

    Parameters
    ----------
    rings
        Outlines as sequences of (x, y) in level-0 pixels, closed or not; empty ones are passed over.
    unit_px0
        Level-0 pixels per unit of the drawing; coordinates are rounded to whole units.

    Returns
    -------
    str
        Value of a path's ``d``; empty without outlines.
    """
    pieces = []
    for ring in rings:
        points = np.rint(np.asarray(ring, dtype=np.float64).reshape(-1, 2) / unit_px0).astype(np.int64)
        if len(points):
            pieces.append(_ring_path(_without_repeats(points)))
    return "".join(pieces)


def _without_repeats(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out a closed ring's repeated and collinear points; one point at least stays."""
    if not np.ptp(points, axis=0).any():
        return points[:1]
    points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    corners = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return points[corners] if np.count_nonzero(corners) >= 3 else points


def _ring_path(points: NDArray[np.int64]) -> str:
    steps = np.diff(points, axis=0).tolist()
    x, y = points[0].tolist()
    return f"M{x} {y}" + "".join(f"l{dx} {dy}" for dx, dy in steps) + "z"
