"""What a TIFF file says of the slide in it, besides its pixels: who wrote it, and how large its pixels are.

Philips files, CAMELYON16 among them, keep the measured pixel spacing in the XML of the image description, in mm and in
the order row, column; the sequence of representations below it repeats a nominal spacing, which is another number.
Their resolution tags say "1 per inch". Aperio files say ``MPP = 0.499`` in the description. Everything else has
resolution tags, or nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import tifffile
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from slidepipe.slides.pixel_sizes import resolution_um


@dataclass(frozen=True, slots=True)
class TiffFacts:
    """What the tags and the description of a TIFF file say."""

    vendor: str
    """``philips``, ``aperio`` or ``generic-tiff``, as OpenSlide names them."""
    recorded_um: tuple[float, float] | None
    """Size of a level-0 pixel along x and y; None if the file does not say."""
    objective_power: float | None
    """Nominal magnification; None if the file does not say."""


def read_tiff_facts(page: tifffile.TiffPage) -> TiffFacts:
    """Read what the first page of a TIFF file says.

    Parameters
    ----------
    page
        The page of level 0.

    Returns
    -------
    TiffFacts
        Unchecked; see `slidepipe.slides.pixel_sizes.choose_pixel_size`.
    """
    description = page.description
    if page.software.startswith("Philips") and "DPUfsImport" in description:
        return TiffFacts("philips", _philips_spacing_um(description), None)
    if description.startswith("Aperio"):
        mpp = _aperio_number(description, "MPP")
        return TiffFacts("aperio", None if mpp is None else (mpp, mpp), _aperio_number(description, "AppMag"))
    return TiffFacts("generic-tiff", _tag_resolution_um(page), None)


def _philips_spacing_um(description: str) -> tuple[float, float] | None:
    try:
        root = fromstring(description.rstrip("\0").strip())
    except (ParseError, DefusedXmlException):
        return None
    for image in root.iter("DataObject"):
        if (
            image.get("ObjectType") != "DPScannedImage"
            or _philips_attribute(image, "PIM_DP_IMAGE_TYPE") != "WSI"
        ):
            continue
        numbers = re.findall(r'"([^"]+)"', _philips_attribute(image, "DICOM_PIXEL_SPACING"))
        try:
            row_mm, column_mm = (float(number) for number in numbers)
        except ValueError:
            return None
        return (column_mm * 1000, row_mm * 1000)
    return None


def _philips_attribute(image: Element, name: str) -> str:
    """Text of an attribute of the image itself, not of one of the objects inside it."""
    for attribute in image.iterfind("Attribute"):
        if attribute.get("Name") == name:
            return attribute.text or ""
    return ""


def _aperio_number(description: str, name: str) -> float | None:
    found = re.search(rf"\|\s*{name}\s*=\s*([0-9.eE+-]+)", description)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


def _tag_resolution_um(page: tifffile.TiffPage) -> tuple[float, float] | None:
    x, y, unit = (page.tags.valueof(name) for name in ("XResolution", "YResolution", "ResolutionUnit"))
    if x is None or y is None or 0 in (x[1], y[1]):
        return None
    # TIFF 6.0: without the tag, the unit is the inch.
    name = {None: "inch", 2: "inch", 3: "centimeter"}.get(unit, "none")
    return resolution_um(x[0] / x[1], y[0] / y[1], name)
