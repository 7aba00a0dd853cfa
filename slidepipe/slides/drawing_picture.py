"""Paint a planned slide: ground, fibres and fat first, then cell by cell, then colour, optics and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from slidepipe.slides.drawing_anatomy import STEP_PX, Anatomy, find_contours
from slidepipe.slides.drawing_cells import CELLS, draw_stamps, stamp_cells
from slidepipe.slides.drawing_texture import (
    MIDDLE,
    SHEET_PX,
    STAINS,
    ByteImage,
    FloatImage,
    Sheets,
    colour,
    smooth_noise,
    vary_stain,
    whole_amounts,
)

_FIELD_STEPS = 25  # about 180 µm
_MOST = 240  # leaves room for what the background adds, in uint8
_Number = TypeVar("_Number", np.uint8, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """What fills the room that one tissue has."""

    haematoxylin: float = 0.05
    """Stain amount of the ground between the cells."""
    eosin: float
    """Stain amount of the ground between the cells."""
    fibres: float = 0.0
    """Strength of the fibres, 0 to 1."""
    spacing_um: float
    """Mean distance of neighbouring cells."""
    fill: float = 1.0
    """Share of the places on the grid that hold a cell."""
    cells: dict[str, float]
    """How common each kind of cell is; the shares sum to 1."""


TISSUES = {
    "lymphoid": Tissue(
        haematoxylin=0.14, eosin=0.26, spacing_um=7.3, fill=0.93,
        cells={"lymphocyte": 0.94, "centroblast": 0.05, "histiocyte": 0.01},
    ),
    "follicle": Tissue(
        haematoxylin=0.12, eosin=0.26, spacing_um=9.6, fill=0.9,
        cells={"centroblast": 0.76, "lymphocyte": 0.2, "histiocyte": 0.04},
    ),
    "stroma": Tissue(
        eosin=0.55, fibres=1.0, spacing_um=19, fill=0.75,
        cells={"fibroblast": 0.92, "lymphocyte": 0.08},
    ),
    "sinus": Tissue(
        eosin=0.10, spacing_um=11, fill=0.62,
        cells={"histiocyte": 0.34, "lymphocyte": 0.38, "red cell": 0.24, "fibroblast": 0.04},
    ),
    "histiocytes": Tissue(
        haematoxylin=0.06, eosin=0.3, spacing_um=13.5, fill=0.95,
        cells={"histiocyte": 0.8, "lymphocyte": 0.2},
    ),
    "nest": Tissue(
        eosin=0.28, spacing_um=16, fill=0.96,
        cells={"tumour": 0.78, "dark tumour": 0.15, "lymphocyte": 0.07},
    ),
    "tumour stroma": Tissue(
        eosin=0.5, fibres=0.9, spacing_um=13, fill=0.75,
        cells={"fibroblast": 0.6, "lymphocyte": 0.34, "dark tumour": 0.06},
    ),
    "fat": Tissue(
        haematoxylin=0.015, eosin=0.0, spacing_um=55, fill=0.6,
        cells={"fibroblast": 0.8, "lymphocyte": 0.2},
    ),
}  # fmt: skip
"""Every tissue of `Anatomy.shares`. Germinal centres, histiocytes and stroma are the normal tissues that a classifier
which only looks at colour takes for tumour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a slide was stained and scanned, and what went wrong."""

    centre: int
    """0 or 1, one of the two stains."""
    mpp: float
    """µm per pixel."""
    pen: tuple[float, float, float] | None = None
    """Absorbance of a pen mark in red, green and blue light; None is no mark."""
    has_blurred_spot: bool = False
    """Whether part of the slide is out of focus."""
    is_cropped: bool = False
    """Whether the scanner left the surroundings of the tissue out, pure white."""


def paint(
    rng: np.random.Generator, anatomy: Anatomy, look: Look, size_px: tuple[int, int], sheets: Sheets
) -> ByteImage:
    """Paint a slide.

    Parameters
    ----------
    rng
        Source of randomness.
    anatomy
        What lies where.
    look
        Stain, pixel size and artefacts.
    size_px
        Width and height.
    sheets
        The shared patterns.

    Returns
    -------
    ndarray
        uint8 RGB, shape (height, width, 3).
    """
    canvas = _ground(rng, anatomy, size_px, sheets)
    _cells(rng, canvas, anatomy, look.mpp)
    stain = vary_stain(rng, STAINS[look.centre])
    picture = Image.fromarray(colour(canvas, stain)).filter(ImageFilter.BoxBlur(stain.blur_px))
    if look.has_blurred_spot:
        _blur_spot(rng, picture, anatomy)
    if look.pen is not None:
        _pen_mark(rng, picture, anatomy, look)
    pixels = np.array(picture)
    if look.is_cropped:
        _crop(pixels, anatomy)
    return pixels


def _enlarge(plan: NDArray[_Number], size_px: tuple[int, int]) -> NDArray[_Number]:
    """Bring an image of the plan to the size of the slide, linearly."""
    box = (0.0, 0.0, size_px[0] / STEP_PX, size_px[1] / STEP_PX)
    return np.asarray(Image.fromarray(plan).resize(size_px, Image.Resampling.BILINEAR, box))


def _blend(anatomy: Anatomy, quality: str) -> FloatImage:
    """Mean of one number of the tissues, weighted by their shares."""
    blend = np.zeros(anatomy.edge_px.shape, np.float32)
    for name, share in anatomy.shares.items():
        blend += getattr(TISSUES[name], quality) * share
    return blend


def _tiled(rng: np.random.Generator, sheet: ByteImage, size_px: tuple[int, int]) -> ByteImage:
    """Cover the slide with a sheet, shifted and turned at random."""
    top, left = rng.integers(0, SHEET_PX, 2)
    sheet = np.rot90(sheet, int(rng.integers(4)))
    repeats = (-(-size_px[1] // SHEET_PX) + 1, -(-size_px[0] // SHEET_PX) + 1)
    return np.tile(sheet, repeats)[top : top + size_px[1], left : left + size_px[0]]


def _ground(
    rng: np.random.Generator, anatomy: Anatomy, size_px: tuple[int, int], sheets: Sheets
) -> ByteImage:
    """Stain amounts without cells, shape (2, height, width)."""
    shape = anatomy.edge_px.shape
    cloud = 1 + 0.12 * smooth_noise(rng, shape, 40.0) + 0.10 * smooth_noise(rng, shape, 5.0)
    mottle, grain = _tiled(rng, sheets.mottle, size_px), _tiled(rng, sheets.grain, size_px)
    # The edge is frayed by the same noise that mottles the tissue.
    edge = _enlarge(whole_amounts(anatomy.edge_px * 6 + MIDDLE), size_px)
    is_tissue = edge.astype(np.int16) + (mottle.astype(np.int16) - MIDDLE) // 2 > MIDDLE
    canvas = np.empty((2, size_px[1], size_px[0]), np.uint8)
    for plane, stain in enumerate(("haematoxylin", "eosin")):
        ground = _enlarge(whole_amounts(100 * cloud * _blend(anatomy, stain)), size_px).astype(np.uint16)
        canvas[plane] = np.minimum(ground * mottle // MIDDLE, _MOST)
    _fibres(canvas[1], anatomy, size_px, sheets)
    fat = _enlarge(whole_amounts(255 * anatomy.shares["fat"]), size_px)
    np.maximum(canvas[1], np.where(fat > 128, _tiled(rng, sheets.fat, size_px), 0), out=canvas[1])
    canvas *= is_tissue
    canvas += _background(rng, grain, shape, size_px)
    return canvas


def _fibres(eosin: ByteImage, anatomy: Anatomy, size_px: tuple[int, int], sheets: Sheets) -> None:
    """Add fibres along the level sets of the plan's coordinate, in place."""
    weight = _enlarge(whole_amounts(255 * _blend(anatomy, "fibres")), size_px).reshape(-1)
    at = np.flatnonzero(weight > 12)
    rows, columns = np.divmod(at, size_px[0])
    across = _enlarge(anatomy.across_px.astype(np.float32), size_px).reshape(-1)[at].astype(np.int64)
    pattern = sheets.fibres[across % SHEET_PX, (rows + columns) % SHEET_PX].astype(np.int32) - MIDDLE
    flat = eosin.reshape(-1)
    flat[at] = np.clip(flat[at] + pattern * weight[at] // 255, 0, _MOST)


def _background(
    rng: np.random.Generator, grain: ByteImage, shape: tuple[int, int], size_px: tuple[int, int]
) -> ByteImage:
    """Uneven light and sensor noise as a few units of both stains."""
    light = _enlarge(whole_amounts(36 + 20 * smooth_noise(rng, shape, shape[0] / 5)), size_px)
    return ((light.astype(np.uint16) + grain // 4) // 32).astype(np.uint8)


def _cells(rng: np.random.Generator, canvas: ByteImage, anatomy: Anatomy, mpp: float) -> None:
    """Put the cells of every tissue on the canvas, and dust on all of it, in place."""
    stamps = {name: draw_stamps(rng, cell, mpp) for name, cell in CELLS.items()}
    size_px = (canvas.shape[2], canvas.shape[1])
    shape = anatomy.edge_px.shape
    sparse = 0.12 * smooth_noise(rng, shape, 2.5) + 0.10 * smooth_noise(rng, shape, 18.0)
    crowding = np.clip(1.05 - np.maximum(sparse, 0), 0, 1)
    down, along = np.gradient(anatomy.across_px)
    direction = np.arctan2(along, -down) % np.pi / np.pi
    for name, tissue in TISSUES.items():
        centres = _scatter(rng, size_px, tissue.spacing_um / mpp)
        plan = tuple((centres // STEP_PX).T)
        centres = centres[rng.random(len(centres)) < (anatomy.shares[name] * crowding)[plan] * tissue.fill]
        plan = tuple((centres // STEP_PX).T)
        common = np.array(list(tissue.cells.values())) * rng.uniform(0.6, 1.4, len(tissue.cells))
        kinds = rng.choice(len(common), len(centres), p=common / common.sum())
        for kind, cell in enumerate(tissue.cells):
            count = stamps[cell].count
            chosen = rng.integers(0, count, len(centres))
            if cell == "fibroblast":
                turn = direction[plan] + rng.normal(0, 0.06, len(centres))
                chosen = (turn * count).astype(np.int64) % count
            stamp_cells(canvas, stamps[cell], centres[kinds == kind], chosen[kinds == kind])
    specks = rng.integers(0, (size_px[1], size_px[0]), (size_px[0] * size_px[1] // 160_000, 2))
    stamp_cells(canvas, stamps["dust"], specks, rng.integers(0, stamps["dust"].count, len(specks)))


def _scatter(rng: np.random.Generator, size_px: tuple[int, int], spacing_px: float) -> NDArray[np.int64]:
    """Places (row, column) on a shaken hexagonal grid, all inside the slide."""
    rows = np.arange(0, size_px[1], spacing_px * np.sqrt(0.75))
    columns = np.arange(0, size_px[0], spacing_px)
    places = np.empty((len(rows), len(columns), 2))
    places[..., 0] = rows[:, None]
    places[..., 1] = columns + (np.arange(len(rows)) % 2)[:, None] * spacing_px / 2
    places += rng.normal(0, 0.17 * spacing_px, places.shape)
    whole = places.reshape(-1, 2).astype(np.int64)
    return whole[((whole >= 0) & (whole < (size_px[1], size_px[0]))).all(1)]


def _blur_spot(rng: np.random.Generator, picture: Image.Image, anatomy: Anatomy) -> None:
    """Put a round part of the tissue out of focus, in place."""
    places = np.argwhere(anatomy.edge_px > 100)
    radius = int(rng.uniform(0.07, 0.12) * min(picture.size))
    row, column = places[rng.integers(len(places))] * STEP_PX
    row = int(np.clip(row, radius, picture.height - radius))
    column = int(np.clip(column, radius, picture.width - radius))
    box = (column - radius, row - radius, column + radius, row + radius)
    y, x = np.mgrid[-1 : 1 : 2j * radius, -1 : 1 : 2j * radius]
    mask = whole_amounts(255 * np.clip(3 * (1 - np.hypot(x, y)), 0, 1))
    blurred = picture.crop(box).filter(ImageFilter.GaussianBlur(2.0))
    picture.paste(blurred, box[:2], Image.fromarray(mask))


def _pen_mark(rng: np.random.Generator, picture: Image.Image, anatomy: Anatomy, look: Look) -> None:
    """Draw a stroke of ink along the edge of the tissue, in place."""
    border = max(find_contours(anatomy.edge_px, -60.0), key=len)
    first = int(rng.integers(len(border)))
    part = np.roll(border, -first, axis=0)[: len(border) // 6 : 10]
    width = 170 / look.mpp / STEP_PX
    ink = Image.new("L", anatomy.edge_px.shape[::-1])
    ImageDraw.Draw(ink).line([(x, y) for y, x in part], fill=255, width=round(width), joint="curve")
    ink = ink.filter(ImageFilter.GaussianBlur(0.7))
    area = ink.getbbox() or (0, 0, 1, 1)
    left, top, right, bottom = (side * STEP_PX for side in area)
    size = (right - left, bottom - top)
    amount = np.asarray(ink.crop(area).resize(size, Image.Resampling.BILINEAR))
    streaks = 1 + 0.10 * smooth_noise(rng, amount.shape, 25.0)
    light = np.exp(-(amount * streaks / 255)[..., None] * np.array(look.pen))
    marked = whole_amounts(np.asarray(picture.crop((left, top, right, bottom))) * light)
    picture.paste(Image.fromarray(marked), (left, top))


def _crop(pixels: ByteImage, anatomy: Anatomy) -> None:
    """Make the fields pure white that a scanner skips for want of tissue in or beside them, in place."""
    rows, columns = (side // _FIELD_STEPS + 1 for side in anatomy.edge_px.shape)
    has_tissue = np.zeros((rows, columns), bool)
    has_tissue[tuple((np.argwhere(anatomy.edge_px > 0) // _FIELD_STEPS).T)] = True
    is_skipped = ~ndimage.binary_dilation(has_tissue, np.ones((3, 3), bool))
    side = _FIELD_STEPS * STEP_PX
    for row, column in np.argwhere(is_skipped):
        pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] = 255
