"""Names of the fields in which slide files carry who, when and where, per format.

Gathered from what wsi-anon and DSA WSI DeID clear, from the properties that OpenSlide shows, and from the attributes
that the DICOM standard (PS3.15, annex E) has removed. Names are compared in folded case.
"""

from __future__ import annotations

import re

_TIFF = "DateTime Artist HostComputer Copyright DocumentName PageName"
_DICOM = (
    "AccessionNumber AcquisitionDate AcquisitionDateTime AcquisitionTime BarcodeValue ContainerIdentifier ContentDate "
    "ContentTime ContentCreatorName DateOfSecondaryCapture DeviceSerialNumber InstanceCreationDate "
    "InstanceCreationTime InstitutionAddress InstitutionName InstitutionalDepartmentName IssuerOfPatientID LabelText "
    "NameOfPhysiciansReadingStudy OperatorsName OtherPatientIDs PatientAddress PatientAge PatientBirthDate "
    "PatientBirthTime PatientComments PatientID PatientName PatientSex PatientTelephoneNumbers "
    "PerformingPhysicianName PhysiciansOfRecord ReferringPhysicianName RequestingPhysician SeriesDate SeriesTime "
    "SpecimenIdentifier SpecimenShortDescription SpecimenDetailedDescription StationName StudyDate StudyDescription "
    "StudyID StudyTime"
)


def _folded(words: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in words.split())


RISKY_NAMES: dict[str, frozenset[str]] = {
    "aperio": frozenset(
        name.casefold()
        for name in (
            "Filename",
            "Title",
            "ImageID",
            "User",
            "Date",
            "Time",
            "Time Zone",
            "Slide",
            "Barcode",
            "Rack",
            "ScanScope ID",
            "DSR ID",
        )
    ),
    "dicom": _folded(_DICOM),
    "hamamatsu": _folded("Reference NDP.S/N S/N SerialNumber Created Updated"),
    "leica": _folded("barcode creation-date creationDate"),
    "mirax": _folded(
        "SLIDE_NAME PROJECT_NAME SLIDE_ID SLIDE_CREATIONDATETIME SLIDE_CREATIONDATETIMEUTC SLIDE_UTC_CREATIONDATETIME "
        "ProfileName SCANNER_HARDWARE_ID"
    ),
    "ome": _folded(
        "AcquisitionDate FileName Experimenter UserName FirstName LastName MiddleName Email Institution"
    ),
    "philips": _folded(
        "PIM_DP_UFS_BARCODE PIIM_DP_SCANNER_OPERATOR_ID PIIM_DP_SCANNER_RACK_NUMBER PIIM_DP_SCANNER_SLOT_NUMBER "
        "PIIM_DP_SCANNER_RACK_PRIORITY PIM_DP_SOURCE_FILE PIM_DP_SCANNER_OPERATOR_ID DICOM_ACQUISITION_DATETIME "
        "DICOM_DEVICE_SERIAL_NUMBER DICOM_DATE_OF_LAST_CALIBRATION DICOM_TIME_OF_LAST_CALIBRATION "
        "DICOM_PATIENT_NAME DICOM_PATIENT_ID DICOM_PATIENT_BIRTH_DATE DICOM_ACCESSION_NUMBER DICOM_OPERATORS_NAME"
    ),
    "tiff": _folded(_TIFF),
    "ventana": _folded("UnitNumber UserName Barcode1D Barcode2D BaseName BuildDate ScanDate JP2FileName"),
    "zeiss": _folded("UserName CreationDate AcquisitionDateAndTime AcquisitionDate Barcode"),
}
"""Fields by vendor, as OpenSlide names vendors; ``tiff`` for tags of any TIFF file and ``ome`` for OME-XML."""

RISKY_WORDS = re.compile(
    r"barcode|patient|accession|operator|user.?name|serial.?n|birth|physician|hospital|institution"
    r"|(creation|scan|acquisition|build|study).?(date|time)",
    re.IGNORECASE,
)
"""Parts of names that make a field risky in any format."""

RISKY_TAGS: dict[int, str] = {
    269: "DocumentName",
    285: "PageName",
    306: "DateTime",
    315: "Artist",
    316: "HostComputer",
    33432: "Copyright",
}
"""TIFF tags by number."""

RISKY_NDPI_TAGS: dict[int, str] = {65427: "Reference", 65442: "scanner serial number"}
"""TIFF tags of Hamamatsu NDPI files; tag 65421 says which page is the macro image."""

HARMLESS_IMAGES = frozenset({"thumbnail"})
"""Associated images that show the tissue only. Labels, macros and whatever else a file brings are risky."""


def is_risky(vendor: str, name: str) -> bool:
    """Tell whether a field may say who, when or where.

    Parameters
    ----------
    vendor
        Format, a key of `RISKY_NAMES`; others have no names of their own.
    name
        Name of the field. Of ``a.b`` and ``a[0].b`` the last part counts too.

    Returns
    -------
    bool
        Whether its name is listed or holds one of `RISKY_WORDS`.
    """
    listed = RISKY_NAMES.get(vendor, frozenset())
    folded = name.casefold()
    return folded in listed or folded.rpartition(".")[2] in listed or RISKY_WORDS.search(name) is not None


_NAME_HINTS = (
    (
        re.compile(r"(?<!\d)(?:19|20)\d{2}[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)"),
        "a date",
    ),
    (re.compile(r"(?<![A-Za-z])[A-Za-z]{1,3}[-_]?\d{2}[-_]\d{3,}(?!\d)"), "an accession number"),
    (re.compile(r"(?<![0-9A-Fa-f])\d{6,}(?![0-9A-Fa-f])"), "a long number"),
    (re.compile(r"[^\W\d_]{2,}\s*,\s*[^\W\d_]{2,}"), "a name with a comma"),
)


def file_name_hint(name: str) -> str | None:
    """Say what in a file's name looks as if it told who or when.

    Parameters
    ----------
    name
        Name of the file without folders.

    Returns
    -------
    str or None
        What it looks like; None if nothing is conspicuous, which does not mean that nothing is there.
    """
    return next((what for pattern, what in _NAME_HINTS if pattern.search(name)), None)
