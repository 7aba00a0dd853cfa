"""Where which tissue lies on a drawn slide: a lymph node, and metastases in it.

Everything here is planned on a coarse grid of `STEP_PX` pixels; the picture is painted from it at full size. A node
has a capsule with trabeculae, sinuses beneath the capsule and in the medulla, follicles with germinal centres in the
cortex, and fat around it. Lesions are blobs with noisy borders, grown until they have the wanted length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from slidepipe.slides.drawing_texture import FloatImage, smooth_noise

STEP_PX = 8
"""Pixels of the slide per pixel of the plan: about 8 µm, one small cell."""

BoolImage = NDArray[np.bool_]

find_contours: Callable[[FloatImage, float], list[NDArray[np.float64]]] = measure.find_contours
"""Lines of equal value, (n, 2) points (row, column) each. Named here because scikit-image declares no types."""

_LEAST_UM = 60.0
"""Shortest lesion worth drawing: a nest of about ten cells."""

_CLEARANCE_UM = 220.0
"""Least distance between two lesions. The lesion FROC merges what lies within 75 µm and judges isolated tumour cells
after that, so closer lesions would change their class."""


@dataclass(frozen=True, slots=True)
class DrawnLesion:
    """A metastasis as it is drawn."""

    outline_px0: NDArray[np.float64]
    """Outer border, (n, 2) points (x, y), first point not repeated."""
    holes_px0: tuple[NDArray[np.float64], ...]
    """Borders of islands of normal tissue inside."""
    length_um: float
    """Major axis of the ellipse with the same second moments, 4 · sqrt(largest eigenvalue of the covariance)."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The plan of one slide. Images are float32 on the coarse grid."""

    edge_px: FloatImage
    """Distance to the edge of the tissue in slide pixels, positive inside."""
    shares: dict[str, FloatImage]
    """Share of each tissue, 0 to 1. They sum to 1 in the middle of the tissue and to 0 outside."""
    across_px: FloatImage
    """Coordinate that grows across the fibres, in slide pixels: fibres run along its level sets."""
    lesions: tuple[DrawnLesion, ...]
    """What was drawn."""


def plan_anatomy(
    rng: np.random.Generator, size_px: tuple[int, int], mpp: float, lesion_lengths_um: tuple[float, ...]
) -> Anatomy:
    """Plan a slide with one lymph node.

    Parameters
    ----------
    rng
        Source of randomness.
    size_px
        Width and height of the slide.
    mpp
        µm per pixel.
    lesion_lengths_um
        Wanted length of each lesion. A lesion that finds no room is made smaller until it does, and left out when
        less than 60 µm would remain; the first one longer than 300 µm gets an island of normal tissue.

    Returns
    -------
    Anatomy
        The plan.
    """
    shape = (-(-size_px[1] // STEP_PX), -(-size_px[0] // STEP_PX))
    step_um = STEP_PX * mpp
    node, fat = _node_and_fat(rng, shape)
    depth_um = (ndimage.distance_transform_edt(node) * step_um).astype(np.float32)
    masks, lesions = _place_lesions(rng, depth_um, step_um, lesion_lengths_um)
    tissue = node | fat
    outside = ndimage.distance_transform_edt(~tissue)
    edge_px = (ndimage.distance_transform_edt(tissue) - outside) * STEP_PX
    shares, across_px = _share_out(rng, depth_um, fat, masks, step_um)
    return Anatomy(edge_px.astype(np.float32), shares, across_px, lesions)


def _node_and_fat(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[BoolImage, BoolImage]:
    """Masks of the lymph node and of the fat around it, both away from the edge of the slide."""
    side = min(shape)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    turn = rng.uniform(-0.35, 0.35)
    cx, cy = rng.uniform(-0.06, 0.06, 2)
    u = ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) / rng.uniform(0.78, 0.84)
    v = ((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)) / rng.uniform(0.64, 0.76)
    bays = 0.13 * smooth_noise(rng, shape, side / 12) + 0.02 * smooth_noise(rng, shape, side / 60)
    margin = np.minimum(1 - np.abs(x), 1 - np.abs(y))
    field = np.minimum(1 - np.hypot(u, v) + bays, 4 * (margin - 0.08) + bays)
    node = _largest((field > 0) & (margin > 0.05))
    lobes = smooth_noise(rng, shape, side / 9)
    ripples = 0.05 * smooth_noise(rng, shape, side / 22) + 0.015 * smooth_noise(rng, shape, side / 70)
    fat = (np.minimum(field, 2 * (margin - 0.12)) + 0.16 * lobes + ripples > 0) & (margin > 0.03)
    return node, _largest(fat | node) & ~node


def _largest(mask: BoolImage) -> BoolImage:
    """Largest connected piece of a mask, without holes."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes))), bool)


def _place_lesions(
    rng: np.random.Generator, depth_um: FloatImage, step_um: float, lengths_um: tuple[float, ...]
) -> tuple[list[FloatImage], tuple[DrawnLesion, ...]]:
    """Smoothed masks of the lesions, islands taken out, and what they are."""
    taken = np.zeros(depth_um.shape, bool)
    masks: list[FloatImage] = []
    lesions: list[DrawnLesion] = []
    has_island = False
    for length_um in lengths_um:
        body = _grow_lesion(rng, depth_um, taken, step_um, length_um)
        if not body.any():
            continue
        taken |= body
        island = np.zeros_like(body)
        if length_um > 300 and not has_island:
            island = _island(rng, body)
            has_island = True
        smooth_body, smooth_island = _smooth(body), _smooth(island)
        masks.append(np.minimum(smooth_body, 1 - smooth_island))
        lesions.append(
            DrawnLesion(
                outline_px0=max(_outlines(smooth_body), key=len),
                holes_px0=tuple(_outlines(smooth_island)),
                length_um=_length(body) * step_um,
            )
        )
    return masks, tuple(lesions)


def _grow_lesion(
    rng: np.random.Generator, depth_um: FloatImage, taken: BoolImage, step_um: float, length_um: float
) -> BoolImage:
    """Mask of one more lesion at a random free place in the node; empty if there is none."""
    free_um = (
        ndimage.distance_transform_edt(~taken) * step_um if taken.any() else np.full(depth_um.shape, np.inf)
    )
    room_um = np.minimum(depth_um - 70, free_um - _CLEARANCE_UM)
    wanted_um = min(length_um, 2.6 * float(depth_um.max()))
    # Half a length of room on every side would leave large lesions only one place; their ends may be cut off.
    while wanted_um >= _LEAST_UM and not (room_um > 0.36 * wanted_um).any():
        wanted_um *= 0.85
    if wanted_um < _LEAST_UM:
        return np.zeros(depth_um.shape, bool)
    places = np.argwhere(room_um > 0.36 * wanted_um)
    row, column = places[rng.integers(len(places))]
    y, x = np.mgrid[: depth_um.shape[0], : depth_um.shape[1]]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    along = ((x - column) * np.cos(turn) + (y - row) * np.sin(turn)) / stretch
    across = ((y - row) * np.cos(turn) - (x - column) * np.sin(turn)) * stretch
    distance = np.hypot(along, across)
    radius = wanted_um / step_um / 2 / stretch
    bumps = 0.22 * smooth_noise(rng, depth_um.shape, max(1.0, radius / 3))
    bumps += 0.12 * smooth_noise(rng, depth_um.shape, max(1.0, radius / 9))
    allowed = room_um > 45 * np.clip(smooth_noise(rng, depth_um.shape, 60 / step_um), -1, 1)
    best, least_miss = np.zeros(depth_um.shape, bool), np.inf
    for _ in range(6):
        body = (distance < radius * (1 + np.clip(bumps, -0.6, 0.6))) & allowed
        body = _largest(ndimage.binary_opening(body) | (distance < 1.5))
        ratio = wanted_um / step_um / _length(body)
        if abs(np.log(ratio)) < least_miss:
            best, least_miss = body, abs(np.log(ratio))
        radius *= float(np.clip(ratio, 0.6, 1.6))
    return best


def _island(rng: np.random.Generator, body: BoolImage) -> BoolImage:
    """Mask of normal tissue well inside a lesion."""
    inside = ndimage.distance_transform_edt(body)
    radius = 0.42 * float(inside.max())
    places = np.argwhere(inside > 0.85 * inside.max())
    row, column = places[rng.integers(len(places))]
    y, x = np.mgrid[: body.shape[0], : body.shape[1]]
    bumps = 0.25 * smooth_noise(rng, body.shape, max(1.0, radius / 2))
    blob = np.hypot(y - row, (x - column) * 1.25) < radius * (1 + np.clip(bumps, -0.5, 0.5))
    return _largest(blob & (inside > 4))


def _smooth(mask: BoolImage) -> FloatImage:
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), 0.8), np.float32)


def _outlines(mask: FloatImage) -> list[NDArray[np.float64]]:
    """Trace a mask at one half, in slide pixels: plan pixel (r, c) is centred at (c + 1/2, r + 1/2) steps."""
    return [(ring[:-1, ::-1] + 0.5) * STEP_PX for ring in find_contours(mask, 0.5) if len(ring) > 4]


def _length(mask: BoolImage) -> float:
    """Major axis of a mask in its pixels, as the lesion FROC measures it."""
    points = np.argwhere(mask)
    if len(points) < 2:
        return 1.0
    return float(4 * np.sqrt(max(np.linalg.eigvalsh(np.cov(points.T, bias=True))[-1], 0.0625)))


def _soft(value: FloatImage, width: float) -> FloatImage:
    """0 below -width/2, 1 above +width/2, a ramp between."""
    return np.asarray(np.clip(value / width + 0.5, 0, 1), np.float32)


def _share_out(
    rng: np.random.Generator, depth_um: FloatImage, fat: BoolImage, lesions: list[FloatImage], step_um: float
) -> tuple[dict[str, FloatImage], FloatImage]:
    """Give every place to its tissues, the first claim first; and the coordinate across the fibres."""
    shape = depth_um.shape

    def noise(length_um: float) -> FloatImage:
        return smooth_noise(rng, shape, length_um / step_um)

    node = _soft(depth_um - step_um, 2 * step_um)
    lesion = np.clip(sum(lesions, np.zeros(shape, np.float32)), 0, 1).astype(np.float32)
    nests = noise(rng.uniform(26, 40)) + 0.4 * noise(120.0)
    nest = _soft(nests + rng.uniform(0.45, 1.1), 0.35)
    for mask in lesions:
        if mask.sum() * step_um**2 < 90_000:  # isolated cells bring no stroma of their own
            nest = np.maximum(nest, _soft(mask - 0.3, 0.2))
    strands, cords, waves = noise(230.0), noise(75.0), noise(330.0)
    capsule_um = 45 + 25 * noise(300.0) + 6 * noise(25.0)
    medulla = _soft(depth_um - 380 - 120 * waves, 200) * _soft(noise(420.0) + 0.35, 0.7)
    claims = (
        ("nest", lesion * nest),
        ("tumour stroma", lesion),
        ("stroma", _soft(capsule_um - depth_um, 14)),
        ("sinus", 0.85 * _soft(26 + 14 * cords - np.abs(depth_um - capsule_um - 22), 12)),
        ("stroma", _soft(0.075 + 0.05 * waves - np.abs(strands), 0.03) * _soft(1300 - depth_um, 400)),
        ("sinus", 0.9 * medulla * _soft(0.30 - np.abs(cords), 0.14)),
        ("follicle", _follicles(rng, depth_um, step_um)),
        ("histiocytes", _soft(noise(170.0) - 1.55, 0.3)),
        ("lymphoid", np.ones(shape, np.float32)),
    )
    left = node.copy()
    shares: dict[str, FloatImage] = {}
    for name, claim in claims:
        shares[name] = shares.get(name, np.float32(0)) + left * claim
        left = left * (1 - claim)
    shares["fat"] = _soft(_smooth(fat) - 0.5, 0.3) * (1 - node)
    across_um = np.where(lesion > 0.4, nests * 34, np.where(np.abs(strands) < 0.25, strands * 230, depth_um))
    across_um = across_um + 7 * noise(22.0) + 16 * noise(70.0)
    return shares, (across_um / step_um * STEP_PX).astype(np.float32)


def _follicles(rng: np.random.Generator, depth_um: FloatImage, step_um: float) -> FloatImage:
    """Share of germinal centres: rounded, in the cortex, mostly a few hundred µm wide."""
    cortex = np.argwhere((depth_um > 170) & (depth_um < 620))
    y, x = np.mgrid[: depth_um.shape[0], : depth_um.shape[1]].astype(np.float32)
    bumps = 1 + 0.16 * smooth_noise(rng, depth_um.shape, 60 / step_um)
    share = np.zeros(depth_um.shape, np.float32)
    centres: list[NDArray[np.int64]] = []
    wanted = round(len(cortex) * step_um**2 / 330_000)
    for place in cortex[rng.permutation(len(cortex))[: 12 * wanted]]:
        if len(centres) == wanted:
            break
        if any(np.hypot(*(place - other)) * step_um < 430 for other in centres):
            continue
        centres.append(place)
        radius_um = min(rng.uniform(95, 210), 0.9 * float(depth_um[tuple(place)]) - 60)
        distance_um = np.hypot((y - place[0]), (x - place[1]) * rng.uniform(0.8, 1.25)) * step_um
        share = np.maximum(share, _soft(radius_um * bumps - distance_um, 26))
    return share
