"""The slide's own DICOM series, which results in DICOM refer to: its study, its frame of reference, its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from highdicom.content import AlgorithmIdentificationSequence
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.uid import VLWholeSlideMicroscopyImageStorage, generate_uid

import slidepipe
from slidepipe.errors import ExportError
from slidepipe.geometry import PixelSize

MAKER = "slidepipe"
"""Manufacturer and model of every object written here."""


@dataclass(frozen=True, slots=True, eq=False)
class DicomSource:
    """The sharpest image of a slide in DICOM, without its pixels."""

    image: Any
    """The `pydicom.Dataset`."""

    @property
    def size_px0(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.image.TotalPixelMatrixColumns), int(self.image.TotalPixelMatrixRows)

    @property
    def pixel_size(self) -> PixelSize:
        """Size of a pixel."""
        measures = self.image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        down_mm, across_mm = (float(value) for value in measures.PixelSpacing)
        return PixelSize(across_mm * 1000, down_mm * 1000)

    def positions_mm(self, points_px0: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place points of the image in the slide's frame of reference.

        Parameters
        ----------
        points_px0
            Shape (n, 2), points (x, y) from the upper left corner of the first pixel.

        Returns
        -------
        ndarray
            Shape (n, 3), in mm. The image lies in one plane, so that the third is the same for all.
        """
        offsets = self.image.TotalPixelMatrixOriginSequence[0]
        origin = np.array(
            [float(offsets.get(f"{axis}OffsetInSlideCoordinateSystem") or 0) for axis in ("X", "Y", "Z")]
        )
        directions = np.array([float(value) for value in self.image.ImageOrientationSlide]).reshape(2, 3)
        steps_mm = np.array([self.pixel_size.x_um, self.pixel_size.y_um]) / 1000
        # The origin is the centre of the first pixel (PS3.3 C.8.12.4.1.2).
        placed: NDArray[np.float64] = ((points_px0 - 0.5) * steps_mm) @ directions + origin
        return placed

    def identify(self, kind: str, content: str) -> str:
        """Compute the UID of something made from this slide: equal content has an equal UID.

        Parameters
        ----------
        kind
            What it is.
        content
            Fingerprint of what it holds.

        Returns
        -------
        str
            Unique identifier.
        """
        return str(generate_uid(entropy_srcs=[MAKER, str(self.image.SOPInstanceUID), kind, content]))


def read_dicom_source(folder: Path, slide_id: str, size_px0: tuple[int, int]) -> DicomSource:
    """Find the sharpest image among the files of a series.

    Parameters
    ----------
    folder
        Folder with the files of one slide; files that are not DICOM are passed over, pixels are not read.
    slide_id
        The slide, for messages.
    size_px0
        Width and height that the slide had when it was read.

    Returns
    -------
    DicomSource
        Its sharpest image.

    Raises
    ------
    ExportError
        If there is no whole-slide image, there are images of several slides, or the sharpest has another size.
    """
    images = [image for path in sorted(folder.glob("*")) if (image := _volume_image(path)) is not None]
    if not images:
        raise ExportError(f"slide {slide_id}: {folder} holds no whole-slide image in DICOM")
    frames = {str(image.FrameOfReferenceUID) for image in images}
    if len(frames) > 1:
        raise ExportError(
            f"slide {slide_id}: {folder} holds images of {len(frames)} slides: put each slide into its own folder"
        )
    source = DicomSource(max(images, key=lambda image: int(image.TotalPixelMatrixColumns)))
    if source.size_px0 != size_px0:
        raise ExportError(
            f"slide {slide_id} has {size_px0[0]} x {size_px0[1]} px, but the sharpest image in {folder} has "
            f"{source.size_px0[0]} x {source.size_px0[1]} px: name the folder that this slide was read from"
        )
    return source


def _volume_image(path: Path) -> Any | None:
    if not path.is_file():
        return None
    try:
        image = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError:
        return None
    is_volume = image.get("SOPClassUID") == VLWholeSlideMicroscopyImageStorage and "VOLUME" in image.ImageType
    return image if is_volume else None


def equipment() -> dict[str, Any]:
    """Return what is said of the maker in every object.

    Returns
    -------
    dict
        Arguments of highdicom's constructors.
    """
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": slidepipe.__version__,
        # Software has no serial number, but equipment in DICOM must have one.
        "device_serial_number": slidepipe.__version__,
    }


def algorithm() -> AlgorithmIdentificationSequence:
    """Return what is said of the algorithm.

    Returns
    -------
    AlgorithmIdentificationSequence
        Name, family and version.
    """
    return AlgorithmIdentificationSequence(MAKER, codes.DCM.ArtificialIntelligence, slidepipe.__version__)


def finish(dataset: Any, when: datetime) -> None:
    """Mark an object as research and date it, so that equal inputs give equal bytes.

    Annotations and reports may carry the mark although DICOM asks it of images only (standard extended SOP classes,
    PS3.2 section 3.11).

    Parameters
    ----------
    dataset
        A `pydicom.Dataset`, which is changed: the dates of its making are replaced.
    when
        Time of the result, not of its export.
    """
    dataset.ContentQualification = "RESEARCH"
    for name in ("InstanceCreation", "Content"):
        if f"{name}Date" in dataset:
            setattr(dataset, f"{name}Date", when.strftime("%Y%m%d"))
            setattr(dataset, f"{name}Time", when.strftime("%H%M%S"))
    # The last one is highdicom itself, which dates its contribution with the time of the export.
    dataset.ContributingEquipmentSequence[-1].ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
