"""Tissue masks that a person or another program drew: GeoJSON polygons or images.

GeoJSON is what QuPath exports: polygons in level-0 pixels. An image covers the whole slide at any size; what
is not black is tissue.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.errors import ShapelyError
from shapely.geometry import shape as geometry_from
from skimage.draw import polygon as fill_polygon

from slidepipe.errors import TissueError
from slidepipe.geometry import Scale
from slidepipe.slides.reader import SlideInfo
from slidepipe.tiles.tissue import TissueMask

_POLYGON_MPP = 4.0
"""Pixel size in µm of masks made from polygons."""
_ASPECT_TOLERANCE = 0.01
_POLYGON_SUFFIXES = (".geojson", ".json")
_PLAIN_MODES = ("1", "L", "I", "I;16", "I;16B", "F")


def read_tissue_mask(path: Path, info: SlideInfo) -> TissueMask:
    """Read where a slide has tissue.

    Parameters
    ----------
    path
        ``.geojson`` or ``.json``: polygons in level-0 pixels, counted from the corner of the stored image.
        Anything else: an image of the whole slide (PNG, TIFF, ...) in which every pixel that is not black is
        tissue.
    info
        The slide that the mask belongs to.

    Returns
    -------
    TissueMask
        Polygons are drawn with pixels of 4 µm, or the slide's own if those are larger; a pixel is tissue if
        its centre lies in a polygon and not in a hole of the same polygon. Images keep their pixels.

    Raises
    ------
    TissueError
        If the file cannot be read, holds no polygon or none on the slide, or is an image whose proportions
        differ from the slide's by more than 1 %.
    """
    if path.suffix.lower() in _POLYGON_SUFFIXES:
        return _mask_of_polygons(path, info)
    return _mask_of_image(path, info)


def _mask_of_image(path: Path, info: SlideInfo) -> TissueMask:
    try:
        with path.open("rb") as file, Image.open(file) as image:
            pixels = np.asarray(image if image.mode in _PLAIN_MODES else image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise TissueError(f"slide {info.slide_id}: tissue mask {path} cannot be read: {error}") from error
    mask = pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=2)
    (width0, height0), (height, width) = info.size_px0, mask.shape
    scale = (width0 / width, height0 / height)
    if abs(scale[0] / scale[1] - 1) > _ASPECT_TOLERANCE:
        raise TissueError(
            f"slide {info.slide_id}: tissue mask {path} is {width} × {height} px, which does not have the "
            f"proportions of the slide, {width0} × {height0} px: it must show the whole slide"
        )
    return TissueMask(mask, scale)


def _mask_of_polygons(path: Path, info: SlideInfo) -> TissueMask:
    try:
        polygons = list(_polygons(json.loads(path.read_bytes())))
    except (OSError, ValueError, TypeError, LookupError, ShapelyError) as error:
        raise TissueError(f"slide {info.slide_id}: tissue mask {path} cannot be read: {error}") from error
    if not polygons:
        raise TissueError(
            f"slide {info.slide_id}: tissue mask {path} holds no polygon: draw the tissue or leave the slide out"
        )
    own = max(info.pixel_size.x_um, info.pixel_size.y_um)
    scale = info.pixel_size.scale_to(max(_POLYGON_MPP, own))
    width0, height0 = info.size_px0
    mask = np.zeros((math.ceil(height0 / scale[1]), math.ceil(width0 / scale[0])), dtype=bool)
    for polygon in polygons:
        mask |= _fill(polygon, scale, mask.shape)
    if not mask.any():
        raise TissueError(
            f"slide {info.slide_id}: none of the {len(polygons)} polygons of tissue mask {path} covers any of "
            f"the slide's {width0} × {height0} px: were they exported from this slide, in pixels?"
        )
    return TissueMask(mask, scale)


def _polygons(value: Any) -> Iterator[shapely.Polygon]:
    # QuPath writes a feature collection, a list of features or a single feature, as the person chose.
    match value:
        case list():
            for item in value:
                yield from _polygons(item)
        case {"type": "FeatureCollection", "features": items} | {
            "type": "GeometryCollection",
            "geometries": items,
        }:
            yield from _polygons(items)
        case {"type": "Feature", "geometry": geometry}:
            yield from _polygons(geometry)
        case {"type": "Polygon" | "MultiPolygon"}:
            yield from (part for part in shapely.get_parts(geometry_from(value)) if not part.is_empty)
        case _:
            kind = value.get("type") if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"expected polygons, got {kind}")


def _fill(polygon: shapely.Polygon, scale: Scale, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for ring, value in [(polygon.exterior, True), *((hole, False) for hole in polygon.interiors)]:
        x, y = np.asarray(ring.coords)[:, :2].T / np.asarray(scale)[:, None] - 0.5
        mask[fill_polygon(y, x, shape)] = value  # type: ignore[no-untyped-call]
    return mask
