"""Write a picture as a whole slide, in the two containers that CAMELYON16 has.

``asap`` is the generic tiled TIFF of the ASAP writer: levels of their own size, every tile present, the pixel size in
the resolution tags. ``philips`` has the traits that trip readers: level sizes padded up to whole tiles although the
factor is exactly 2, tiles left out where nothing was scanned, and the pixel size only in an XML description, in mm
and in the order row, column.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

Container = Literal["asap", "philips"]

TILE_PX = 512
"""Side of the tiles, as in CAMELYON16."""

_QUALITY = 80
_OBJECTIVE_UM = 10.0  # µm per pixel times nominal magnification, the usual rule of thumb


def write_slide(path: Path, pixels: NDArray[np.uint8], container: Container, mpp: float) -> None:
    """Write a pyramidal, tiled, JPEG-compressed slide. Same pixels, same bytes.

    Parameters
    ----------
    path
        File to write; an existing one is overwritten.
    pixels
        uint8 RGB, shape (height, width, 3).
    container
        Which of the two kinds of file. ``philips`` pads level 0 with white to whole tiles.
    mpp
        Side of a pixel in µm.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    is_philips = container == "philips"
    levels = _pyramid(_pad(pixels) if is_philips else pixels)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for index, level in enumerate(levels):
            stored = _pad(level).shape if is_philips else level.shape
            tiff.write(
                _tiles(level, leave_out_white=is_philips),
                shape=stored,
                dtype="uint8",
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                compression="jpeg",
                subsampling=(2, 2),
                subfiletype=1 if index else 0,
                description=_description(levels, index, mpp) if is_philips else None,
                software="Philips DP v1.0" if is_philips else False,
                resolution=(1, 1) if is_philips else (1e4 / (mpp * 2**index),) * 2,
                resolutionunit="INCH" if is_philips else "CENTIMETER",
                metadata=None,
            )


def _pyramid(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Halve until one tile holds it all; odd rows and columns at the far edge are dropped, as both writers do."""
    levels = [pixels]
    while max(levels[-1].shape[:2]) > TILE_PX:
        last = levels[-1]
        height, width = last.shape[0] // 2 * 2, last.shape[1] // 2 * 2
        sums = last[0:height:2, :width].astype(np.uint16) + last[1:height:2, :width]
        levels.append(((sums[:, 0::2] + sums[:, 1::2] + 2) >> 2).astype(np.uint8))
    return levels


def _pad(level: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill up to whole tiles with white."""
    down, right = -level.shape[0] % TILE_PX, -level.shape[1] % TILE_PX
    return np.pad(level, ((0, down), (0, right), (0, 0)), constant_values=255)


def _tiles(level: NDArray[np.uint8], *, leave_out_white: bool) -> Iterator[bytes]:
    """Compressed tiles in reading order; no bytes for one that is left out."""
    level = _pad(level)
    for top in range(0, level.shape[0], TILE_PX):
        for left in range(0, level.shape[1], TILE_PX):
            tile = np.ascontiguousarray(level[top : top + TILE_PX, left : left + TILE_PX])
            if leave_out_white and (tile == 255).all():
                yield b""
            else:
                yield bytes(
                    imagecodecs.jpeg8_encode(
                        tile, level=_QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
                    )
                )


def _description(levels: list[NDArray[np.uint8]], index: int, mpp: float) -> str:
    """ImageDescription of one level of a Philips TIFF: the XML for level 0, a line of text for the others."""
    if index:
        return f"level={index} mag={_OBJECTIVE_UM / mpp / 2**index:.3g} quality={_QUALITY}"
    representations = "".join(
        '<DataObject ObjectType="PixelDataRepresentation">'
        + _attribute("DICOM_PIXEL_SPACING", "0028", "0030", "IDoubleArray", _millimetres(mpp * 2**number))
        + _attribute(
            "PIIM_PIXEL_DATA_REPRESENTATION_COLUMNS", "2001", "115E", "IUInt32", str(_pad(level).shape[1])
        )
        + _attribute("PIIM_PIXEL_DATA_REPRESENTATION_NUMBER", "1001", "8B02", "IUInt16", str(number))
        + _attribute(
            "PIIM_PIXEL_DATA_REPRESENTATION_ROWS", "2001", "115D", "IUInt32", str(_pad(level).shape[0])
        )
        + "</DataObject>"
        for number, level in enumerate(levels)
    )
    image = (
        '<DataObject ObjectType="DPScannedImage">'
        + _attribute("PIM_DP_IMAGE_TYPE", "301D", "1004", "IString", "WSI")
        + _attribute("DICOM_PIXEL_SPACING", "0028", "0030", "IDoubleArray", _millimetres(mpp))
        + _attribute(
            "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE",
            "1001",
            "8B01",
            "IDataObjectArray",
            f"<Array>{representations}</Array>",
        )
        + _attribute("PIM_DP_IMAGE_COLUMNS", "301D", "1007", "IUInt32", str(levels[0].shape[1]))
        + _attribute("PIM_DP_IMAGE_ROWS", "301D", "1006", "IUInt32", str(levels[0].shape[0]))
        + "</DataObject>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        + _attribute("DICOM_MANUFACTURER", "0008", "0070", "IString", "slidepipe drawing")
        + _attribute("PIM_DP_SCANNED_IMAGES", "301D", "1003", "IDataObjectArray", f"<Array>{image}</Array>")
        + _attribute("PIM_DP_UFS_INTERFACE_VERSION", "301D", "1001", "IString", "3.0")
        + "</DataObject>"
    )


def _attribute(name: str, group: str, element: str, kind: str, value: str) -> str:
    return (
        f'<Attribute Name="{name}" Group="0x{group}" Element="0x{element}" PMSVR="{kind}">{value}</Attribute>'
    )


def _millimetres(mpp: float) -> str:
    """Pixel spacing as row, column."""
    return f"&quot;{mpp / 1000:.9f}&quot; &quot;{mpp / 1000:.9f}&quot;"
