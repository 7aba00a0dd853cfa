"""Cells of a lymph node with a metastasis, as small pictures to be stamped on a drawing.

Cells are merged by maximum of the stain amounts, so that neighbours never darken each other and a boundary between
two cells stays visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from slidepipe.slides.drawing_texture import ByteImage, whole_amounts

_STAMPS = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One kind of cell. Ranges are drawn from evenly, once per stamp."""

    diameter_um: tuple[float, float]
    """Mean diameter of the nucleus."""
    elongation: tuple[float, float] = (1.0, 1.2)
    """Long side over short side of the nucleus, at equal area."""
    haematoxylin: tuple[float, float]
    """Stain amount of the nucleus, at its rim."""
    paleness: float = 0.0
    """How much stain the middle of the nucleus lacks, 0 (filled) to 1 (an empty vesicle)."""
    clumping: float = 0.2
    """Standard deviation of the chromatin, as a share of the stain amount."""
    wobble: float = 0.06
    """Irregularity of the outlines, as a share of the radius."""
    nucleolus: float = 0.0
    """Stain amount that a nucleolus adds."""
    body_um: tuple[float, float] = (0.0, 0.0)
    """Diameter of the cell body; 0 draws none."""
    eosin: tuple[float, float] = (0.0, 0.0)
    """Stain amount in the middle of the cell body."""


CELLS = {
    "lymphocyte": Cell(diameter_um=(5.8, 7.6), haematoxylin=(1.25, 1.75), clumping=0.28, paleness=0.12),
    "centroblast": Cell(
        diameter_um=(7.2, 10.0), elongation=(1.0, 1.5), haematoxylin=(0.6, 1.15), paleness=0.45, clumping=0.3,
        wobble=0.1, nucleolus=0.2, body_um=(10.0, 13.0), eosin=(0.30, 0.42),
    ),
    "fibroblast": Cell(
        diameter_um=(4.8, 7.0), elongation=(2.2, 4.5), haematoxylin=(0.9, 1.5), clumping=0.15, wobble=0.05,
    ),
    "histiocyte": Cell(
        diameter_um=(6.5, 9.5), elongation=(1.1, 1.8), haematoxylin=(0.5, 1.0), paleness=0.45, wobble=0.08,
        nucleolus=0.1, body_um=(13.0, 22.0), eosin=(0.40, 0.62),
    ),
    "tumour": Cell(
        diameter_um=(8.5, 14.5), elongation=(1.0, 1.7), haematoxylin=(0.55, 1.15), paleness=0.62, clumping=0.3,
        wobble=0.1, nucleolus=0.8, body_um=(18.0, 26.0), eosin=(0.45, 0.78),
    ),
    "dark tumour": Cell(
        diameter_um=(8.0, 15.0), elongation=(1.0, 2.2), haematoxylin=(1.0, 1.7), paleness=0.25, clumping=0.3,
        wobble=0.14, nucleolus=0.2, body_um=(16.0, 24.0), eosin=(0.5, 0.8),
    ),
    "red cell": Cell(
        diameter_um=(1.0, 1.0), haematoxylin=(0.0, 0.0), body_um=(5.5, 7.0), eosin=(1.0, 1.4),
    ),
    "dust": Cell(
        diameter_um=(1.5, 6.0), elongation=(1.0, 6.0), haematoxylin=(0.1, 0.7), clumping=0.4, wobble=0.25,
    ),
}  # fmt: skip
"""The cells of a lymph node with a metastasis, by name. Sizes as in sections, where nuclei are cut and shrunken."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """Ready pictures of one kind of cell; stamp k of n is turned by k / n of half a circle."""

    amounts: ByteImage
    """Stain amounts, shape (2, n, side, side): haematoxylin, eosin."""

    @property
    def count(self) -> int:
        """Number of stamps."""
        return int(self.amounts.shape[1])

    @property
    def side_px(self) -> int:
        """Side of a stamp in pixels."""
        return int(self.amounts.shape[2])


def draw_stamps(rng: np.random.Generator, cell: Cell, mpp: float) -> Stamps:
    """Draw pictures of one kind of cell.

    Parameters
    ----------
    rng
        Source of randomness.
    cell
        What the cell looks like.
    mpp
        µm per pixel of the drawing.

    Returns
    -------
    Stamps
        Enough pictures that no repetition is seen.
    """
    widest = (
        max(cell.diameter_um[1] * cell.elongation[1] ** 0.5, cell.body_um[1]) / mpp * (1 + 2 * cell.wobble)
    )
    half = int(np.ceil(widest / 2)) + 1
    n = _STAMPS
    turn = np.arange(n) * np.pi / n
    centre = rng.uniform(-0.5, 0.5, (2, n, 1, 1))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    dy, dx = y[None] - centre[0], x[None] - centre[1]
    radius_px = rng.uniform(*cell.diameter_um, n) / 2 / mpp
    stretch = np.sqrt(rng.uniform(*cell.elongation, n))
    r = _outline_radius(rng, dy, dx, turn, stretch, cell.wobble) / radius_px[:, None, None]
    inside = np.clip((1 - r) * radius_px[:, None, None] + 0.5, 0, 1)
    chromatin = ndimage.gaussian_filter(rng.standard_normal(r.shape), (0, 0.8, 0.8))
    chromatin = 1 + cell.clumping * chromatin / chromatin.std()
    rim = 1 - cell.paleness * np.clip(1.25 - r**2, 0, 1)
    nucleus = rng.uniform(*cell.haematoxylin, (n, 1, 1)) * rim * chromatin
    if cell.nucleolus:
        oy, ox = rng.uniform(-0.35, 0.35, (2, n, 1, 1)) * radius_px[:, None, None]
        nucleus = nucleus + cell.nucleolus * np.exp(-((dy - oy) ** 2 + (dx - ox) ** 2) / (1.3 / mpp) ** 2)
    body = np.zeros_like(r)
    if cell.body_um[1]:
        body_px = rng.uniform(*cell.body_um, (n, 1, 1)) / 2 / mpp
        s = _outline_radius(rng, dy, dx, turn, stretch**0.5, 2 * cell.wobble) / body_px
        # A dome: where two bodies meet, the lower edges of both show as a boundary.
        body = rng.uniform(*cell.eosin, (n, 1, 1)) * np.where(s < 1, 1 - 0.5 * s**3, 0)
    amounts = np.stack([nucleus * inside, body * (1 - 0.55 * inside)])
    return Stamps(whole_amounts(100 * amounts))


def _outline_radius(
    rng: np.random.Generator,
    dy: NDArray[np.float64],
    dx: NDArray[np.float64],
    turn: NDArray[np.float64],
    stretch: NDArray[np.float64],
    wobble: float,
) -> NDArray[np.float64]:
    """Distance from the centre in units in which every wobbly ellipse is the circle of the same area."""
    sin, cos = np.sin(turn)[:, None, None], np.cos(turn)[:, None, None]
    along = (dx * cos + dy * sin) / stretch[:, None, None]
    across = (dy * cos - dx * sin) * stretch[:, None, None]
    angle = np.arctan2(across, along)
    bumps = np.zeros_like(angle)
    for waves in (2, 3, 5):
        size, phase = rng.normal(0, wobble, (len(turn), 1, 1)), rng.uniform(0, 2 * np.pi, (len(turn), 1, 1))
        bumps += size / waves**0.5 * np.cos(waves * angle + phase)
    return np.asarray(np.hypot(along, across) / np.clip(1 + bumps, 0.6, 1.5))


def stamp_cells(
    canvas: ByteImage, stamps: Stamps, centres_px: NDArray[np.int64], pictures: NDArray[np.int64]
) -> None:
    """Put cells on a drawing, in place; the higher stain amount wins.

    Parameters
    ----------
    canvas
        uint8 stain amounts, shape (2, rows, columns), C-contiguous.
    stamps
        Pictures of the cell.
    centres_px
        int64 (n, 2), row and column of each cell; cells that would reach over the edge are left out.
    pictures
        int64 (n,), which stamp each cell is.
    """
    rows, columns = canvas.shape[1:]
    half, side = stamps.side_px // 2, stamps.side_px
    fits = ((centres_px >= half) & (centres_px < np.array([rows, columns]) - half)).all(1)
    corners = ((centres_px[fits, 0] - half) * columns + centres_px[fits, 1] - half).astype(np.int64)
    pictures = pictures[fits]
    offsets = (np.arange(side)[:, None] * columns + np.arange(side)).ravel()
    for plane in range(2):
        amounts = stamps.amounts[plane].reshape(stamps.count, -1)
        if not amounts.any():
            continue
        flat = canvas[plane].reshape(-1)
        for start in range(0, len(corners), 16384):
            part = slice(start, start + 16384)
            np.maximum.at(flat, (corners[part, None] + offsets).ravel(), amounts[pictures[part]].ravel())
