"""Lesions and tiles as DICOM Microscopy Bulk Simple Annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from highdicom.ann import (
    AnnotationCoordinateTypeValues,
    AnnotationGroup,
    AnnotationGroupGenerationTypeValues,
    GraphicTypeValues,
    Measurements,
    MicroscopyBulkSimpleAnnotations,
)
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from slidepipe.export.dicom_source import DicomSource, algorithm, equipment
from slidepipe.export.tiles import Tiles
from slidepipe.lesions.outlines import LesionRegion
from slidepipe.provenance import fingerprint, fingerprint_bytes

SERIES_NUMBER = 9101
"""Number of the annotations' series in the study, above what scanners use."""


def annotations_object(source: DicomSource, regions: Sequence[LesionRegion], tiles: Tiles) -> Any | None:
    """Make the annotations of one slide.

    Lesions are polygons with the probability of the most probable lesion on them and their own area; one that
    consists of several parts is as many polygons. Polygons in DICOM have no holes, so holes are filled; the area is
    that of the region without them. Tiles are polygons with their probability.

    Parameters
    ----------
    source
        The slide.
    regions
        Lesions.
    tiles
        Tiles, in pixels from the slide's corner.

    Returns
    -------
    Dataset or None
        None if there is neither a lesion nor a tile: DICOM knows no empty annotations.
    """
    groups = [group for group in (_lesions(source, regions), _tissue(tiles)) if group.polygons]
    if not groups:
        return None
    content = fingerprint([group.fingerprint() for group in groups])
    return MicroscopyBulkSimpleAnnotations(
        source_images=[source.image],
        annotation_coordinate_type=AnnotationCoordinateTypeValues.SCOORD,
        annotation_groups=[
            _annotation_group(source, number, group) for number, group in enumerate(groups, start=1)
        ],
        series_instance_uid=source.identify("annotations series", ""),
        series_number=SERIES_NUMBER,
        sop_instance_uid=source.identify("annotations", content),
        instance_number=1,
        content_description="Lesions and tissue tiles with tumour probability",
        content_label="TUMOR",
        **equipment(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One measurement of every polygon of a group."""

    name: Any
    unit: Any
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Polygons of one kind, each of shape (n, 2) and not closed: polygons in DICOM close themselves."""

    label: str
    category: Any
    kind: Any
    polygons: list[NDArray[np.float64]]
    measured: tuple[_Measured, ...]

    def fingerprint(self) -> str:
        """Fingerprint everything that is written of it."""
        values = [item.values.tobytes() for item in self.measured]
        return fingerprint_bytes(b"".join([*(polygon.tobytes() for polygon in self.polygons), *values]))


def _lesions(source: DicomSource, regions: Sequence[LesionRegion]) -> _Group:
    polygons, probabilities, areas_mm2 = [], [], []
    pixel_mm2 = source.pixel_size.x_um * source.pixel_size.y_um / 1e6
    for region in regions:
        for part in shapely.get_parts(region.outline):
            polygons.append(shapely.get_coordinates(part.exterior)[:-1])
            probabilities.append(region.lesions[0].probability)
            areas_mm2.append(part.area * pixel_mm2)
    areas = _Measured(codes.SCT.Area, codes.UCUM.SquareMillimeter, np.array(areas_mm2, dtype=np.float32))
    measured = (_probabilities(np.array(probabilities, dtype=np.float32)), areas)
    category = codes.SCT.MorphologicallyAbnormalStructure
    return _Group("Lesions", category, codes.SCT.Neoplasm, polygons, measured)


def _tissue(tiles: Tiles) -> _Group:
    rows, columns = np.nonzero(np.isfinite(tiles.probability))
    xs, ys = np.array(tiles.xs, dtype=np.float64), np.array(tiles.ys, dtype=np.float64)
    left, right, top, bottom = xs[columns], xs[columns + 1], ys[rows], ys[rows + 1]
    corners = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1).reshape(-1, 4, 2)
    measured = (_probabilities(tiles.probability[rows, columns]),)
    return _Group("Tissue tiles", codes.SCT.Tissue, codes.SCT.Tissue, list(corners), measured)


def _probabilities(values: NDArray[np.float32]) -> _Measured:
    return _Measured(codes.DCM.ProbabilityOfCancer, codes.UCUM.NoUnits, values)


def _annotation_group(source: DicomSource, number: int, group: _Group) -> AnnotationGroup:
    return AnnotationGroup(
        number=number,
        uid=source.identify("annotation group", group.label),
        label=group.label,
        annotated_property_category=group.category,
        annotated_property_type=group.kind,
        graphic_type=GraphicTypeValues.POLYGON,
        graphic_data=group.polygons,
        algorithm_type=AnnotationGroupGenerationTypeValues.AUTOMATIC,
        algorithm_identification=algorithm(),
        measurements=[Measurements(item.name, item.values, item.unit) for item in group.measured],
    )
