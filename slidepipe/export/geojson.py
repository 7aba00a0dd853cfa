"""Lesions and heatmap cells as GeoJSON for QuPath, in one strict dialect that 0.4 to 0.7 read alike.

QuPath's import is all or nothing: one ring that crosses itself, one missing colour, one measurement that is not a
number, and the whole file is refused. So every outline is rounded to whole pixels first and made valid after, and only
finite numbers become measurements. Cells are ``tile`` objects, never annotations: QuPath opens a hundred thousand tiles
in seconds, while as many annotations did not finish in minutes. What was written is read back and held against the
rules of `slidepipe.export.geojson_check` before the file appears.

A slide whose file records a scanned area (``openslide.bounds-*``) is cropped to it by QuPath, so the corner of that
area is subtracted from every point. Identifiers are computed from slide and object, so that importing a second time can
replace what the first import brought.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import shapely
from annotated_types import Ge

from slidepipe.errors import ExportError
from slidepipe.export.geojson_check import check_document
from slidepipe.export.tiles import Tiles, plan_tiles
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion
from slidepipe.lesions.outlines import LesionRegion, lesion_regions
from slidepipe.storage.publish import atomic_path

TUMOUR_CLASS = {"name": "Tumor", "color": [200, 0, 0]}
"""QuPath's own name and colour, so that files and projects agree with what a user has already."""
OTHER_CLASS = {"name": "Other", "color": [255, 200, 0]}
"""QuPath's own name and colour of a cell that is not above the threshold."""
PROBABILITY_NAME = "Tumor probability"
"""Measurement that QuPath's measurement maps colour cells by, and name of the heatmap's channel."""

_NAMESPACE = uuid.UUID("0a4f2b52-6f6c-5d0e-9c55-3a7f0e9d4b11")
_SIZE_NAMES = {"itc": "ITC", "micro": "micro", "macro": "macro"}
_SIZE_MEASUREMENT = "Size class (0 ITC, 1 micro, 2 macro)"
_SIZE_NUMBERS = {"itc": 0, "micro": 1, "macro": 2}
_DIGITS = 6
_COMPRESSION = 5
_BATCH = 2048
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoJsonSettings:
    """What is written for QuPath besides the lesions."""

    tiles: bool = True
    """Whether heatmap cells are written, for QuPath's measurement maps. The heatmap itself is also an image."""
    max_tiles: Annotated[int, Ge(1)] = 100_000
    """Most tiles to write. QuPath reads 100,000 in about ten seconds and 400,000 in up to two minutes. A heatmap with
    more cells is written in larger tiles of 2 × 2, 4 × 4, ... cells, each with the largest probability among them, so
    that no lesion is lost from sight."""


@dataclass(frozen=True, slots=True)
class GeoJsonSummary:
    """What a file holds."""

    annotations: int
    """Regions with at least one lesion."""
    tiles: int
    """Tiles on tissue."""
    tile_cells: int
    """Side of a tile in heatmap cells; 1 unless there were too many."""


def write_geojson(
    path: Path,
    heatmap: Heatmap,
    lesions: Sequence[Lesion],
    *,
    threshold: float,
    offset_px0: tuple[int, int] = (0, 0),
    settings: GeoJsonSettings,
) -> GeoJsonSummary:
    """Write the lesions and the heatmap of one slide.

    A connected region is one locked annotation, named after its most probable lesion, however many lesions lie on it;
    the measurement ``Detections`` tells how many. Objects are written one by one, so memory does not grow with them.

    Parameters
    ----------
    path
        File to write or replace, ``.geojson`` or ``.geojson.gz``. Equal inputs give equal bytes.
    heatmap
        Tumour probability of the slide. NaN cells become no tile.
    lesions
        Lesions found on it, most probable first.
    threshold
        Threshold they were found with. Regions are outlined, and tiles called tumour, strictly above it.
    offset_px0
        Left and top of the slide's scanned area (``SlideInfo.bounds_px0[:2]``), subtracted from every point.
    settings
        Whether and how many tiles are written.

    Returns
    -------
    GeoJsonSummary
        Numbers of objects.

    Raises
    ------
    ExportError
        If the name ends otherwise, or an outline vanishes when rounded to pixels.
    ConfigError
        If a lesion does not lie above the threshold.
    """
    if not path.name.endswith((".geojson", ".geojson.gz")):
        raise ExportError(f"{path.name}: QuPath only imports names that end in .geojson or .geojson.gz")
    regions = lesion_regions(heatmap, lesions, threshold)
    objects: Iterator[str] = (_ENCODER.encode(_lesion_feature(region, offset_px0)) for region in regions)
    tiles = plan_tiles(heatmap, settings.max_tiles, offset_px0) if settings.tiles else None
    if tiles is not None:
        objects = chain(objects, _tile_texts(heatmap.slide_id, tiles, threshold))
    with atomic_path(path) as temporary:
        with _packing(temporary, path) as file:
            file.write(b'{"type":"FeatureCollection","features":[')
            _write_objects(file, objects)
            file.write(b"\n]}\n")
        _read_back(temporary, path, heatmap.slide_id)
    if tiles is None or not tiles.count:
        return GeoJsonSummary(len(regions), 0, 1)
    return GeoJsonSummary(len(regions), tiles.count, tiles.cells)


@contextmanager
def _packing(temporary: Path, path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with temporary.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        # No name and no date in the header: equal content, equal bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_COMPRESSION, mtime=0) as file:
            yield file


def _write_objects(file: IO[bytes] | gzip.GzipFile, objects: Iterator[str]) -> None:
    separator = "\n"
    while batch := ",\n".join(islice(objects, _BATCH)):
        file.write((separator + batch).encode())
        separator = ",\n"


def _read_back(temporary: Path, path: Path, slide_id: str) -> None:
    with gzip.open(temporary) if path.suffix == ".gz" else temporary.open("rb") as document:
        problems = check_document(document)
    if problems:
        raise ExportError(
            f"slide {slide_id}: {path.name} would break {len(problems)} rules of QuPath's import and was not written; "
            f"the first: {problems[0]}"
        )


def _lesion_feature(region: LesionRegion, offset_px0: tuple[int, int]) -> dict[str, Any]:
    lesion = region.lesions[0]
    size = _SIZE_NAMES[lesion.size_class]
    return _feature(
        name=f"{lesion.slide_id}/lesion/{lesion.number}",
        geometry=_polygon_geometry(region.outline, offset_px0, lesion),
        properties={
            "objectType": "annotation",
            "name": f"Lesion {lesion.number} ({size})",
            "classification": TUMOUR_CLASS,
            "isLocked": True,
            "measurements": {
                PROBABILITY_NAME: round(lesion.probability, _DIGITS),
                "Area mm^2": round(lesion.area_um2 / 1e6, _DIGITS),
                "Largest diameter µm": round(lesion.diameter_um, 3),
                _SIZE_MEASUREMENT: _SIZE_NUMBERS[lesion.size_class],
                "Detections": len(region.lesions),
            },
            "metadata": {"Size class": size},
        },
    )


def _polygon_geometry(
    outline: shapely.Geometry, offset_px0: tuple[int, int], lesion: Lesion
) -> dict[str, Any]:
    rounded = shapely.transform(outline, lambda points: np.round(points) - np.array(offset_px0))
    # Repairing may put points where lines cross, so the result is laid on whole pixels once more.
    repaired = shapely.set_precision(shapely.make_valid(rounded), 1.0)
    pieces = shapely.get_parts(shapely.get_parts(repaired))
    polygons = [piece for piece in pieces if piece.geom_type == "Polygon" and piece.area > 0]
    if not polygons:
        raise ExportError(
            f"slide {lesion.slide_id}: the outline of lesion {lesion.number} is no polygon when rounded to pixels: "
            "its heatmap cells must be larger than a pixel"
        )
    rings = [[_ring(ring) for ring in (polygon.exterior, *polygon.interiors)] for polygon in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _ring(ring: shapely.LinearRing) -> list[list[int]]:
    points: list[list[int]] = shapely.get_coordinates(ring).astype(np.int64).tolist()
    return points


def _tile_texts(slide_id: str, tiles: Tiles, threshold: float) -> Iterator[str]:
    """Write tiles as text: a slide has so many that a dictionary each would take most of the time."""
    tumour, other = (
        f'"properties":{{"objectType":"tile","classification":{_ENCODER.encode(path_class)},'
        f'"measurements":{{{_ENCODER.encode(PROBABILITY_NAME)}:'
        for path_class in (TUMOUR_CLASS, OTHER_CLASS)
    )
    family = f"{slide_id}/tile/{tiles.cells}"
    for row, values in enumerate(tiles.probability):
        top, bottom = tiles.ys[row], tiles.ys[row + 1]
        columns = np.flatnonzero(np.isfinite(values))
        for column, value in zip(columns.tolist(), values[columns].tolist(), strict=True):
            left, right = tiles.xs[column], tiles.xs[column + 1]
            yield (
                f'{{"type":"Feature","id":"{_identifier(f"{family}/{row}/{column}")}",'
                f'"geometry":{{"type":"Polygon","coordinates":[[[{left},{top}],[{right},{top}],[{right},{bottom}],'
                f"[{left},{bottom}],[{left},{top}]]]}},"
                f"{tumour if value > threshold else other}{round(value, _DIGITS)!r}}}}}}}"
            )


def _feature(name: str, geometry: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "id": _identifier(name), "geometry": geometry, "properties": properties}


def _identifier(name: str) -> str:
    """Compute the UUIDv5 of an object, as `uuid.uuid5` does in three times the time."""
    digits = hashlib.sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
