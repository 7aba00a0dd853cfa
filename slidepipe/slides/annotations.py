"""Annotation files of any format that is read here, as outlines in level-0 pixels."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path

from slidepipe.errors import AnnotationError
from slidepipe.slides.asap_xml import read_asap_outlines
from slidepipe.slides.outline_json import read_json_outlines
from slidepipe.slides.outlines import Outline, SlideAnnotation, make_annotation

__all__ = ["ANNOTATION_SUFFIXES", "Outline", "SlideAnnotation", "read_annotation"]

ANNOTATION_SUFFIXES = (".xml", ".geojson", ".json", ".geojson.gz", ".json.gz")
"""Ends of the names of annotation files, in lower case."""
MOST_BYTES = 2**29
"""Longest annotation file, unpacked: a gzip file can claim a thousand times its size."""


def read_annotation(
    path: Path,
    slide_id: str,
    *,
    classes: Mapping[str, bool] | None = None,
    origin_px0: tuple[int, int] = (0, 0),
) -> SlideAnnotation:
    """Read the outlines drawn on a slide.

    Parameters
    ----------
    path
        ``.xml`` from ASAP, ``.geojson`` or ``.json`` from QuPath or NCRF; JSON may be gzipped (``.gz``).
    slide_id
        The slide they belong to.
    classes
        Which groups (ASAP) or classes (QuPath) are tumour (True) and which are cut out of it (False), besides and
        instead of those known by name: ``slidepipe.slides.asap_xml.ASAP_CLASSES`` and
        ``slidepipe.slides.outline_json.QUPATH_CLASSES``.

    origin_px0
        Left and top of the slide's scanned area (``SlideInfo.bounds_px0``), from which QuPath counts and its exports do
        not tell; added to every point of GeoJSON. ASAP and NCRF count from the corner of the stored image anyway.

    Returns
    -------
    SlideAnnotation
        Outlines in painting order, tumour before what is cut out of it, in level-0 pixels from the corner of the
        stored image. Without outlines if the file has none.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    AnnotationError
        If the file is damaged or of another kind, holds a group or class of unknown meaning, or something without
        area.
    """
    name = path.name.lower()
    if not name.endswith(ANNOTATION_SUFFIXES):
        remedy = "unzip it" if name.endswith(".zip") else f"known are {', '.join(ANNOTATION_SUFFIXES)}"
        raise AnnotationError(f"slide {slide_id}: {path.name} is not an annotation file: {remedy}")
    content = path.read_bytes()
    if name.endswith(".gz"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise AnnotationError(
                f"slide {slide_id}: {path.name} is not a whole gzip file: {error}"
            ) from error
    if len(content) > MOST_BYTES:
        raise AnnotationError(f"slide {slide_id}: {path.name} holds more than {MOST_BYTES} bytes of text")
    meanings = classes or {}
    try:
        if name.endswith(".xml"):
            return make_annotation(slide_id, read_asap_outlines(content, slide_id, meanings))
        return make_annotation(slide_id, read_json_outlines(content, slide_id, meanings, origin_px0))
    except AnnotationError as error:
        raise AnnotationError(f"{error} (file {path.name})") from error
