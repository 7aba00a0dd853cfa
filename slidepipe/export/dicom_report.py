"""The result of a slide as DICOM structured report, TID 1500 (measurement report)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom.sr as sr
import numpy as np
import shapely
from pydicom.sr.codedict import codes

import slidepipe
from slidepipe.export.dicom_source import MAKER, DicomSource
from slidepipe.lesions.outlines import LesionRegion
from slidepipe.provenance import fingerprint

SERIES_NUMBER = 9103
"""Number of the report's series in the study, above what scanners use."""
MOST_LESIONS = 100
"""Most lesions that the report lists, the most probable first. All of them are among the annotations."""


def report_object(
    source: DicomSource, regions: Sequence[LesionRegion], probability: float | None
) -> Any | None:
    """Make the report of one slide.

    Parameters
    ----------
    source
        The slide.
    regions
        Lesions, most probable first. Of one with several parts, the largest is outlined; area and diameter are those
        of the whole.
    probability
        Probability that the slide holds tumour; None if no slide model was applied.

    Returns
    -------
    Dataset or None
        A report that is neither complete nor verified, made by a device for research. None if there is neither a
        probability nor a lesion: a measurement report without measurements is not allowed.
    """
    groups: list[Any] = [] if probability is None else [_slide_group(source, probability)]
    groups += [_lesion_group(source, region) for region in regions[:MOST_LESIONS]]
    if not groups:
        return None
    observer = sr.DeviceObserverIdentifyingAttributes(
        uid=source.identify("device", slidepipe.__version__),
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=f"{MAKER} {slidepipe.__version__}, for research only",
    )
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=observer
        )
    )
    report = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.SCT.LightMicroscopy,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    facts = [[lesion.number, lesion.probability] for region in regions for lesion in region.lesions]
    return sr.Comprehensive3DSR(
        evidence=[source.image],
        content=report[0],
        series_instance_uid=source.identify("report series", ""),
        series_number=SERIES_NUMBER,
        sop_instance_uid=source.identify("report", fingerprint([probability, facts])),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=False,
        is_final=False,
        is_verified=False,
    )


def _slide_group(source: DicomSource, probability: float) -> Any:
    image = sr.SourceImageForMeasurementGroup(source.image.SOPClassUID, source.image.SOPInstanceUID)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, "slide"),
        finding_type=codes.SCT.Neoplasm,
        algorithm_id=_algorithm(),
        measurements=[_measurement(codes.DCM.ProbabilityOfCancer, probability, codes.UCUM.NoUnits)],
        source_images=[image],
    )


def _lesion_group(source: DicomSource, region: LesionRegion) -> Any:
    lesion = region.lesions[0]
    largest = max(shapely.get_parts(region.outline), key=lambda part: float(part.area))
    outline_px0 = np.asarray(shapely.get_coordinates(largest.exterior), dtype=np.float64)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, f"lesion {lesion.number}"),
        referenced_region=sr.ImageRegion3D(
            graphic_type=sr.GraphicTypeValues3D.POLYGON,
            graphic_data=source.positions_mm(outline_px0),
            frame_of_reference_uid=source.image.FrameOfReferenceUID,
        ),
        finding_type=codes.SCT.Neoplasm,
        algorithm_id=_algorithm(),
        measurements=[
            _measurement(codes.DCM.ProbabilityOfCancer, lesion.probability, codes.UCUM.NoUnits),
            _measurement(codes.SCT.Area, lesion.area_um2 / 1e6, codes.UCUM.SquareMillimeter),
            _measurement(codes.SCT.Diameter, lesion.diameter_um / 1000, codes.UCUM.Millimeter),
        ],
    )


def _tracking(source: DicomSource, name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=source.identify("tracking", name), identifier=f"{MAKER} {name}")


def _algorithm() -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=MAKER, version=slidepipe.__version__, family=codes.DCM.ArtificialIntelligence
    )


def _measurement(name: Any, value: float, unit: Any) -> sr.Measurement:
    # A decimal string holds 16 characters, and more digits than these were never measured.
    return sr.Measurement(name=name, value=float(f"{value:.6g}"), unit=unit)
