"""What the drawn tissue is made of, without its cells: noise, fibres, fat and stains.

A drawing is two images of *stain amount*, one for haematoxylin and one for eosin, in uint8 units of 0.01. Amounts
become colour last, by the law of Beer and Lambert, with the stain vectors of one centre:
light = white · exp(-amount · vector).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

FloatImage = NDArray[np.floating]
ByteImage = NDArray[np.uint8]

SHEET_PX = 1024
"""Side of the sheets; all of them wrap around."""

MIDDLE = 128
"""Value of a sheet that means "no change"."""


@dataclass(frozen=True, slots=True)
class Sheets:
    """Patterns without cells, each uint8 of `SHEET_PX` × `SHEET_PX`, wrapping around."""

    mottle: ByteImage
    """Fine irregular noise around `MIDDLE`."""
    grain: ByteImage
    """White noise around `MIDDLE`, for sensor noise and to break up rounded amounts."""
    fibres: ByteImage
    """Streaks along the rows, around `MIDDLE`."""
    fat: ByteImage
    """Membranes of fat cells: stain amount, 0 inside the cells."""


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float] | float
) -> FloatImage:
    """Draw noise with a Gaussian correlation that wraps around.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        Rows and columns.
    sigma
        Standard deviation of the smoothing in pixels, along rows and columns.

    Returns
    -------
    ndarray
        float32 of `shape`, mean 0, standard deviation 1.
    """
    down, along = (sigma, sigma) if isinstance(sigma, float) else sigma
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    decay = np.exp(-2 * (np.pi * down * np.fft.fftfreq(shape[0])) ** 2)[:, None]
    decay = decay * np.exp(-2 * (np.pi * along * np.fft.rfftfreq(shape[1])) ** 2)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum * decay, s=shape)
    return np.asarray(noise / max(float(noise.std()), 1e-9), np.float32)


def draw_sheets(rng: np.random.Generator) -> Sheets:
    """Draw the patterns that every slide shares.

    Parameters
    ----------
    rng
        Source of randomness.

    Returns
    -------
    Sheets
        The patterns.
    """
    shape = (SHEET_PX, SHEET_PX)
    mottle = (
        14 * smooth_noise(rng, shape, 1.0)
        + 18 * smooth_noise(rng, shape, 2.5)
        + 16 * smooth_noise(rng, shape, 7.0)
    )
    fibres = 26 * smooth_noise(rng, shape, (0.8, 14.0)) + 22 * smooth_noise(rng, shape, (2.6, 40.0))
    return Sheets(
        mottle=whole_amounts(MIDDLE + mottle),
        grain=whole_amounts(rng.normal(MIDDLE, 20, shape)),
        fibres=whole_amounts(MIDDLE + fibres),
        fat=_fat(rng),
    )


def whole_amounts(amounts: FloatImage) -> ByteImage:
    """Round to uint8; what lies outside 0 to 255 becomes the nearest of the two.

    Parameters
    ----------
    amounts
        Any shape.

    Returns
    -------
    ndarray
        uint8 of the same shape.
    """
    return np.asarray(np.clip(np.rint(amounts), 0, 255), np.uint8)


def _fat(rng: np.random.Generator, spacing_px: float = 62.0) -> ByteImage:
    """Draw the walls between the cells of a random tessellation."""
    count = round((SHEET_PX / spacing_px) ** 2)
    wrap = np.full(2, float(SHEET_PX))
    seeds = rng.uniform(0, SHEET_PX, (1, 2))
    for _ in range(count - 1):
        # The candidate farthest from the seeds so far is kept, which makes cells of similar size.
        candidates = rng.uniform(0, SHEET_PX, (3, 2))
        distance, _ = cKDTree(seeds, boxsize=wrap).query(candidates)
        seeds = np.vstack([seeds, candidates[int(np.argmax(distance))]])
    pixels = np.argwhere(np.ones((SHEET_PX, SHEET_PX), bool))
    nearest = np.asarray(cKDTree(seeds, boxsize=wrap).query(pixels, k=3)[0])
    gap = nearest[:, 1] - nearest[:, 0]
    corner = nearest[:, 2] - nearest[:, 0]
    wall = np.exp(-((gap / 2.2) ** 2)) * (0.5 + 0.7 * np.exp(-((corner / 9.0) ** 2)))
    return whole_amounts(58 * wall).reshape(SHEET_PX, SHEET_PX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stain:
    """Colours of one laboratory and scanner."""

    haematoxylin: tuple[float, float, float]
    """Absorbance (natural logarithm) of red, green and blue light per unit of haematoxylin."""
    eosin: tuple[float, float, float]
    """The same of eosin."""
    white: tuple[float, float, float]
    """Red, green and blue of the empty slide, up to 255."""
    blur_px: float
    """Radius of the box blur that stands for the optics."""


STAINS = (
    Stain(
        haematoxylin=(0.66, 0.86, 0.57), eosin=(0.20, 0.72, 0.52), white=(244.0, 242.0, 241.0), blur_px=0.30,
    ),
    Stain(
        haematoxylin=(0.78, 1.02, 0.30), eosin=(0.25, 0.98, 0.26), white=(235.0, 235.0, 242.0), blur_px=0.45,
    ),
)  # fmt: skip
"""The two centres: brownish pink and bright, and purple-blue, a little darker and softer."""


def vary_stain(rng: np.random.Generator, stain: Stain) -> Stain:
    """Change a stain a little, as from one day in the laboratory to the next.

    Parameters
    ----------
    rng
        Source of randomness.
    stain
        Usual stain of the centre.

    Returns
    -------
    Stain
        The stain of one slide: both dyes up to 12 % stronger or weaker, their colours shifted by about 3 %.
    """

    def vary(vector: tuple[float, float, float]) -> tuple[float, float, float]:
        r, g, b = rng.uniform(0.88, 1.12) * np.array(vector) * rng.normal(1, 0.03, 3)
        return float(r), float(g), float(b)

    return Stain(
        haematoxylin=vary(stain.haematoxylin),
        eosin=vary(stain.eosin),
        white=stain.white,
        blur_px=stain.blur_px,
    )


def colour(amounts: ByteImage, stain: Stain) -> ByteImage:
    """Turn stain amounts into colours.

    Parameters
    ----------
    amounts
        uint8, shape (2, rows, columns): haematoxylin and eosin in units of 0.01.
    stain
        Colours of the two dyes.

    Returns
    -------
    ndarray
        uint8 RGB, shape (rows, columns, 3).
    """
    levels = np.arange(256)[:, None] / 100
    light_h = np.exp(-levels * np.array(stain.haematoxylin))
    light_e = np.exp(-levels * np.array(stain.eosin))
    table = np.zeros((256, 256, 4), np.uint8)
    table[..., :3] = np.rint(np.array(stain.white) * light_h[:, None] * light_e[None])
    # Looking up four bytes at once is twice as fast as three.
    pairs = (amounts[0].astype(np.uint16) << 8) | amounts[1]
    return np.ascontiguousarray(
        table.view(np.uint32).reshape(-1).take(pairs).view(np.uint8).reshape(*pairs.shape, 4)[..., :3]
    )
