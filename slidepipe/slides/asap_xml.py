"""Annotations in the XML of ASAP, the format of CAMELYON16.

Groups ``_0``, ``_1`` and ``Tumor`` are tumour; ``_2``, ``None`` and ``Exclusion`` are cut out of it. The README of the
data names only ``_0``, ``_1`` and ``_2``; the others occur in the files. All tumour is painted before all cut-outs,
group by group in that order, as the organisers did to make their masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from numpy.typing import NDArray

from slidepipe.errors import AnnotationError
from slidepipe.slides.outlines import Outline, is_tumour_class

ASAP_CLASSES: Mapping[str, bool] = {
    "_0": True,
    "_1": True,
    "Tumor": True,
    "_2": False,
    "None": False,
    "Exclusion": False,
}
"""Whether a group is tumour; in painting order."""

_AREAS = frozenset({"Polygon", "Spline", "Rectangle"})


def read_asap_outlines(content: bytes, slide_id: str, classes: Mapping[str, bool]) -> list[Outline]:
    """Read the outlines of an ASAP file.

    Parameters
    ----------
    content
        The XML.
    slide_id
        Named in messages.
    classes
        Meaning of groups, besides and instead of ``ASAP_CLASSES``.

    Returns
    -------
    list of Outline
        In painting order. Splines are their listed points, as ASAP paints them. Coordinates stand in the order of
        their attribute ``Order``; those with equal order as they stand in the file.

    Raises
    ------
    AnnotationError
        If it is not ASAP's XML, defines entities, has an unknown group, a shape without area, or a coordinate that
        is not a number.
    """
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AnnotationError(
            f"slide {slide_id}: the annotation is not XML that can be read: {error!r}"
        ) from error
    if root.tag != "ASAP_Annotations":
        raise AnnotationError(
            f"slide {slide_id}: the annotation is XML of another program (it begins with <{root.tag}>, not with "
            "<ASAP_Annotations>): save it from ASAP, or as GeoJSON from QuPath"
        )
    meanings = {**ASAP_CLASSES, **classes}
    outlines = list(_outlines(root, slide_id, meanings))
    order = {group: number for number, group in enumerate(meanings)}
    return sorted(outlines, key=lambda outline: (not outline.is_tumour, order[outline.group]))


def _outlines(root: Element, slide_id: str, meanings: dict[str, bool]) -> Iterator[Outline]:
    for annotation in root.iter("Annotation"):
        name, kind = annotation.get("Name", "without name"), annotation.get("Type", "Polygon")
        if kind not in _AREAS:
            raise AnnotationError(
                f"slide {slide_id}: the annotation {name!r} is a {kind}, which has no area: delete it, or draw a "
                "polygon"
            )
        group = annotation.get("PartOfGroup", "None")
        is_tumour = is_tumour_class(slide_id, group, meanings, "group")
        try:
            points = _points(annotation)
        except (TypeError, ValueError) as error:
            raise AnnotationError(
                f"slide {slide_id}: the annotation {name!r} has a coordinate that is not a number: {error}"
            ) from error
        yield Outline(points, is_tumour, group)


def _points(annotation: Element) -> NDArray[np.float64]:
    coordinates = sorted(annotation.iter("Coordinate"), key=lambda item: float(item.attrib.get("Order", "0")))
    points = [
        (float(item.attrib.get("X", "missing")), float(item.attrib.get("Y", "missing")))
        for item in coordinates
    ]
    return np.array(points, dtype=np.float64).reshape(-1, 2)
