"""The heatmap as DICOM Parametric Map: one float32 pixel for each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom import (
    CoordinateSystemNames,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes

from slidepipe.export.dicom_source import DicomSource, equipment
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.provenance import fingerprint_bytes

SERIES_NUMBER = 9102
"""Number of the heatmap's series in the study, above what scanners use."""
NOT_LOOKED_AT = -1.0
"""Value of a cell that nothing was looked at in; the object names it as padding. Not every viewer can show NaN."""

_TILE_PX = (256, 256)


def heatmap_object(source: DicomSource, heatmap: Heatmap) -> Any:
    """Make the heatmap of one slide.

    Parameters
    ----------
    source
        The slide.
    heatmap
        Tumour probability of its cells.

    Returns
    -------
    Dataset
        A parametric map with its own geometry in the slide's frame of reference. ContentQualification is RESEARCH.
    """
    values = np.where(np.isfinite(heatmap.probability), heatmap.probability, np.float32(NOT_LOOKED_AT))
    rows, columns = values.shape
    tile = (min(_TILE_PX[0], rows), min(_TILE_PX[1], columns))
    cell_um = source.pixel_size.scaled(heatmap.cell_px0)
    centre_px0 = np.array([heatmap.cell_px0]) / 2
    mapping = RealWorldValueMapping(
        lut_label="probability",
        lut_explanation="Tumor probability from 0 to 1; -1 is not looked at",
        unit=codes.UCUM.NoUnits,
        value_range=(NOT_LOOKED_AT, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.DCM.ProbabilityOfCancer,
    )
    made: Any = ParametricMap(
        source_images=[source.image],
        pixel_array=values[np.newaxis],
        series_instance_uid=source.identify("heatmap series", ""),
        series_number=SERIES_NUMBER,
        sop_instance_uid=source.identify("heatmap", fingerprint_bytes(values.tobytes())),
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=(cell_um.y_um / 1000, cell_um.x_um / 1000),
            slice_thickness=float(source.image.get("ImagedVolumeDepth") or 0.001),
        ),
        plane_orientation=PlaneOrientationSequence(
            CoordinateSystemNames.SLIDE, [float(value) for value in source.image.ImageOrientationSlide]
        ),
        plane_positions=[
            PlanePositionSequence(
                CoordinateSystemNames.SLIDE, source.positions_mm(centre_px0)[0].tolist(), (1, 1)
            )
        ],
        content_description="Tumour probability of the cells of a grid",
        content_label="TUMOR_PROB",
        tile_pixel_array=True,
        tile_size=tile,
        **equipment(),
    )
    made.FloatPixelPaddingValue = NOT_LOOKED_AT
    for element in made.iterall():
        # highdicom draws a random one.
        if element.keyword == "DimensionOrganizationUID":
            element.value = source.identify("heatmap dimensions", "")
    return made
