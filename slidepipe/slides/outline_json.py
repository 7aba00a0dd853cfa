"""Annotations in JSON: GeoJSON as QuPath exports it, and the lists of lesions that NCRF published for CAMELYON16.

GeoJSON has polygons with holes, which no order of painting can render when they overlap: painted after everything else,
a hole erases whatever lies inside it, and a second lesion may. The rule here is that of sets: a point is tumour if some
tumour polygon holds it and no cut-out polygon does, and *a hole belongs to its own polygon alone*. Where a file has a
hole, its polygons are merged by that rule first, and the outlines are those of the result, from the largest polygon to
the smallest, each followed by its holes: what lies in a hole is smaller than the polygon around it, so it is painted
after the hole. Files without holes keep the outlines they have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from slidepipe.errors import AnnotationError
from slidepipe.slides.outlines import Outline, is_tumour_class

QUPATH_CLASSES: Mapping[str, bool] = {"Tumor": True, "Tumour": True, "Exclusion": False, "Normal": False}
"""Whether a QuPath class is tumour."""

UNCLASSIFIED = "Unclassified"
"""Name that an object without class and name goes by in the setting ``classes``."""


@dataclass(frozen=True, slots=True)
class _Area:
    """One polygon of a GeoJSON file."""

    rings: tuple[NDArray[np.float64], ...]
    """The outer ring, then holes; not closed."""
    is_tumour: bool
    group: str


def read_json_outlines(
    content: bytes, slide_id: str, classes: Mapping[str, bool], origin_px0: tuple[int, int] = (0, 0)
) -> list[Outline]:
    """Read the outlines of a JSON file.

    Parameters
    ----------
    content
        GeoJSON (a FeatureCollection, a Feature, or a list of Features) or NCRF's ``{"positive": [...], "negative":
        [...]}``; UTF-8.
    slide_id
        Named in messages.
    classes
        Meaning of QuPath's classes, besides and instead of ``QUPATH_CLASSES``. An object without class goes by its
        name, one without name is ``Unclassified``.
    origin_px0
        The point (x, y) that the coordinates of GeoJSON count from, in level-0 pixels.

    Returns
    -------
    list of Outline
        In painting order.

    Raises
    ------
    AnnotationError
        If it is neither, an object is not an annotation with an area, its class is unknown, or a polygon that crosses
        itself stands in a file with holes.
    """
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"slide {slide_id}: the annotation is not JSON: {error}") from error
    try:
        if isinstance(document, dict) and "positive" in document:
            return _ncrf_outlines(document)
        meanings = {**QUPATH_CLASSES, **classes}
        areas = [
            replace(area, rings=tuple(ring + origin_px0 for ring in area.rings))
            for feature in _features(document)
            for area in _areas(feature, slide_id, meanings)
        ]
    except AnnotationError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnnotationError(
            f"slide {slide_id}: the annotation is neither GeoJSON of polygons nor NCRF's lists of vertices: {error!r}"
        ) from error
    if any(len(area.rings) > 1 for area in areas):
        return _merged(areas, slide_id)
    outlines = [Outline(area.rings[0], area.is_tumour, area.group) for area in areas]
    return sorted(outlines, key=lambda outline: not outline.is_tumour)


def _ncrf_outlines(document: dict[str, Any]) -> list[Outline]:
    return [
        Outline(_positions(item["vertices"]), is_tumour, group)
        for group, is_tumour in (("positive", True), ("negative", False))
        for item in document.get(group, [])
    ]


def _positions(values: list[list[float]]) -> NDArray[np.float64]:
    points = np.array(values, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"positions of shape {points.shape}")
    return points[:, :2]  # GeoJSON allows a third number, the height


def _features(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if document["type"] == "FeatureCollection":
        return list(document["features"])
    if document["type"] == "Feature":
        return [document]
    raise ValueError(f"type {document['type']!r} at the top")


def _areas(feature: dict[str, Any], slide_id: str, meanings: dict[str, bool]) -> Iterator[_Area]:
    properties = feature.get("properties") or {}
    group = _class_name(properties)
    geometry = feature["geometry"]
    kind = geometry["type"]
    if properties.get("objectType", "annotation") != "annotation" or kind not in {"Polygon", "MultiPolygon"}:
        raise AnnotationError(
            f"slide {slide_id}: the annotation has an object of class {group!r} that is a {kind} "
            f"({properties.get('objectType', 'annotation')}): export only annotations that have an area"
        )
    is_tumour = is_tumour_class(slide_id, group, meanings, "class")
    for polygon in [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]:
        rings = tuple(_open_ring(_positions(ring)) for ring in polygon)
        if rings:
            yield _Area(rings, is_tumour, group)


def _class_name(properties: dict[str, Any]) -> str:
    classification = properties.get("classification")
    if isinstance(classification, dict):
        names = classification.get("names", [])
        classification = classification.get("name") or ": ".join(names)
    return str(classification or properties.get("name") or UNCLASSIFIED)


def _open_ring(points: NDArray[np.float64]) -> NDArray[np.float64]:
    is_closed = len(points) > 1 and bool((points[0] == points[-1]).all())
    return points[:-1] if is_closed else points


def _merged(areas: list[_Area], slide_id: str) -> list[Outline]:
    shapes: dict[bool, list[shapely.Polygon]] = {True: [], False: []}
    for number, area in enumerate(areas):
        if len(area.rings[0]) < 3:
            raise AnnotationError(
                f"slide {slide_id}: polygon {number} has fewer than three points: delete it"
            )
        shape = shapely.Polygon(area.rings[0], [ring for ring in area.rings[1:] if len(ring) > 2])
        if not shape.is_valid:
            raise AnnotationError(
                f"slide {slide_id}: polygon {number} (class {area.group}) crosses itself or its holes "
                f"({shapely.is_valid_reason(shape)}), so its holes cannot be told from its inside: redraw it"
            )
        shapes[area.is_tumour].append(shape)
    tumour = shapely.difference(shapely.union_all(shapes[True]), shapely.union_all(shapes[False]))
    polygons = [part for part in shapely.get_parts(tumour) if part.geom_type == "Polygon" and part.area > 0]
    outlines = []
    for polygon in sorted(polygons, key=lambda part: (-part.area, part.bounds)):
        outlines.append(Outline(_open_ring(shapely.get_coordinates(polygon.exterior)), True, "tumour"))
        outlines += [
            Outline(_open_ring(shapely.get_coordinates(ring)), False, "hole") for ring in polygon.interiors
        ]
    return outlines
