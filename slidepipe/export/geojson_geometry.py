"""Whether QuPath can make an outline of a GeoJSON geometry.

QuPath 0.6 began to round every outline to 0.01 px and to refuse the whole file where rounding fails: rings that cross
themselves or each other, and polygons that overlap. Rings that only touch, and polygons that share an edge, are taken
by all versions although GeoJSON forbids them, so they are told apart by area: what only touches does not change when
it is repaired.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import shapely

from slidepipe.export.geojson_rule import ALL_VERSIONS, SINCE_06, Problems, Rule

MISSING = Rule("has no geometry", ALL_VERSIONS)
UNKNOWN = Rule("geometry is of no type that GeoJSON knows", ALL_VERSIONS)
COLLECTION = Rule("geometry is a GeometryCollection", SINCE_06)
BAD_PLANE = Rule("plane of the geometry has something else than whole numbers c, z and t", ALL_VERSIONS)
NOT_NUMBERS = Rule("geometry has a point that is not two finite numbers", ALL_VERSIONS)
NOT_CLOSED = Rule("geometry has a ring that is not closed, or of less than four points", ALL_VERSIONS)
CROSSING = Rule("geometry has a ring that crosses itself or another", SINCE_06)
OVERLAPPING = Rule("geometry has polygons that overlap", SINCE_06)
EMPTY = Rule("geometry has no area: QuPath makes an empty rectangle of it")

_DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
_NUMBERS = {int, float}
_TOLERANCE = 1e-9
_DECIMALS = 2


def geometry_problems(geometry: Any) -> Problems:
    """Hold a geometry against the rules.

    Parameters
    ----------
    geometry
        A decoded GeoJSON geometry, or whatever stands in its place.

    Yields
    ------
    tuple of Rule and str
        Each rule that is broken, and by what.
    """
    if not isinstance(geometry, dict):
        yield MISSING, ""
        return
    kind: Any = geometry.get("type")
    coordinates: Any = geometry.get("coordinates")
    if "plane" in geometry and not _is_plane(geometry["plane"]):
        yield BAD_PLANE, str(geometry["plane"])[:60]
    if kind == "Polygon" and _is_box(coordinates):
        return
    if kind == "GeometryCollection":
        yield COLLECTION, ""
    elif kind not in _DEPTH:
        yield UNKNOWN, str(kind)[:60]
    elif not _are_positions(coordinates, _DEPTH[kind]):
        yield NOT_NUMBERS, ""
    elif kind in {"Polygon", "MultiPolygon"}:
        yield from _polygon_problems([coordinates] if kind == "Polygon" else coordinates)


def _is_plane(plane: Any) -> bool:
    return (
        isinstance(plane, dict)
        and plane.keys() <= {"c", "z", "t"}
        and all(type(v) is int for v in plane.values())
    )


def _is_box(coordinates: Any) -> bool:
    """Tell the common case, an upright rectangle, without asking anything slow."""
    try:
        (((ax, ay), (bx, by), (cx, cy), (dx, dy), last),) = coordinates
        if not (set(map(type, (ax, ay, bx, by, cx, cy, dx, dy))) <= _NUMBERS and last == [ax, ay]):
            return False
    except (TypeError, ValueError):
        return False
    is_upright = (ay == by and bx == cx and cy == dy and dx == ax) or (
        ax == bx and by == cy and cx == dx and dy == ay
    )
    return is_upright and ax != cx and ay != cy and math.isfinite(ax + ay + cx + cy)


def _are_positions(values: Any, depth: int) -> bool:
    if not isinstance(values, list):
        return False
    if depth:
        return all(_are_positions(value, depth - 1) for value in values)
    return len(values) >= 2 and all(type(v) in _NUMBERS and math.isfinite(v) for v in values)


def _polygon_problems(polygons: list[list[list[list[float]]]]) -> Problems:
    rings = [ring for polygon in polygons for ring in polygon if ring]
    if any(len(ring) < 4 or ring[0] != ring[-1] for ring in rings):
        yield NOT_CLOSED, ""
        return
    shape = shapely.MultiPolygon(
        [
            (_xy(polygon[0]), [_xy(hole) for hole in polygon[1:] if hole])
            for polygon in polygons
            if any(polygon)
        ]
    )
    if shape.area == 0 and shapely.make_valid(shape).area == 0:
        yield EMPTY, ""
        return
    found = list(_shape_problems(shape))
    yield from found
    if not found:
        yield from _shape_problems(shapely.transform(shape, lambda points: np.round(points, _DECIMALS)))


def _xy(ring: list[list[float]]) -> list[tuple[float, float]]:
    return [(point[0], point[1]) for point in ring]


def _shape_problems(shape: shapely.MultiPolygon) -> Problems:
    if shapely.is_valid(shape):
        return
    parts = shapely.get_parts(shape)
    repaired = shapely.make_valid(parts)
    area = shapely.area(parts)
    if (np.abs(shapely.area(repaired) - area) > _TOLERANCE * area.sum()).any():
        yield CROSSING, str(shapely.is_valid_reason(shape))
    elif shapely.union_all(repaired).area < area.sum() * (1 - _TOLERANCE):
        yield OVERLAPPING, ""
