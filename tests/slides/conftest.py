"""Tiny slides that the tests write themselves: generic, Aperio and Philips TIFF, with tiles left out or damaged."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from slidepipe.slides.handles import close_borrowed

_PHILIPS = """<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">
<Attribute Name="DICOM_MANUFACTURER" Group="0x0008" Element="0x0070" PMSVR="IString">Test</Attribute>
<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray"><Array>
<DataObject ObjectType="DPScannedImage">
<Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" PMSVR="IString">WSI</Attribute>
<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">{spacing}</Attribute>
<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" Element="0x8B01" PMSVR="IDataObjectArray">
<Array>{levels}</Array></Attribute></DataObject></Array></Attribute></DataObject>"""

_PHILIPS_LEVEL = """<DataObject ObjectType="PixelDataRepresentation">
<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">{spacing}</Attribute>
<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" Group="0x1001" Element="0x8B02" PMSVR="IUInt16">{n}</Attribute>
</DataObject>"""

WriteTiff = Callable[..., Path]


def _spacing(row_um: float, column_um: float) -> str:
    return f"&quot;{row_um / 1000:.9f}&quot; &quot;{column_um / 1000:.9f}&quot;"


def _tiles(pixels: NDArray[np.uint8], tile: int, encode: Callable[[NDArray[np.uint8]], bytes]) -> list[bytes]:
    height, width = pixels.shape[:2]
    padding = ((0, -height % tile), (0, -width % tile), (0, 0))
    padded = np.pad(pixels, padding, constant_values=255)
    return [
        encode(np.ascontiguousarray(padded[y : y + tile, x : x + tile]))
        for y in range(0, padded.shape[0], tile)
        for x in range(0, padded.shape[1], tile)
    ]


def _encode_ycbcr(tile: NDArray[np.uint8]) -> bytes:
    data: bytes = imagecodecs.jpeg8_encode(
        tile, level=85, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
    )
    return data


def _encode_rgb(tile: NDArray[np.uint8]) -> bytes:
    """RGB components without the marker that says so, as Aperio writes them."""
    data: bytes = imagecodecs.jpeg8_encode(tile, level=85, colorspace="RGB", outcolorspace="RGB")
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def write_tiff(
    path: Path,
    pixels: NDArray[np.uint8],
    *,
    vendor: str = "generic-tiff",
    tile: int = 128,
    levels: int = 3,
    left_out: Collection[int] = (),
    change_tile: Callable[[int, bytes], bytes] = lambda _, data: data,
    is_rgb: bool = False,
    resolution: tuple[float, float] | None = (20_000, 20_000),
    unit: str = "CENTIMETER",
    description: str | None = None,
) -> Path:
    """Write a pyramid; `left_out` and `change_tile` go by the number of a level-0 tile."""
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(levels):
            data = _tiles(pixels, tile, _encode_rgb if is_rgb else _encode_ycbcr)
            if level == 0:
                data = [b"" if n in left_out else change_tile(n, one) for n, one in enumerate(data)]
            height, width = pixels.shape[:2]
            shape = (
                (height + -height % tile, width + -width % tile, 3) if vendor == "philips" else pixels.shape
            )
            options: dict[str, Any] = {"resolution": resolution, "resolutionunit": unit} if resolution else {}
            if vendor == "philips":
                options = {"resolutionunit": "INCH", "software": "Philips DP v1.0"}
                steps = "".join(
                    _PHILIPS_LEVEL.format(spacing=_spacing(0.3 * 2**n, 0.3 * 2**n), n=n)
                    for n in range(levels)
                )
                description = (
                    _PHILIPS.format(spacing=_spacing(0.25, 0.24), levels=steps)
                    if level == 0
                    else f"level={level}"
                )
            tiff.write(
                iter(data), shape=shape, dtype="uint8", tile=(tile, tile), photometric="ycbcr",
                subsampling=(1, 1) if is_rgb else (2, 2), compression="jpeg", subfiletype=1 if level else 0,
                metadata=None, description=description, **options,
            )  # fmt: skip
            pixels = pixels[: height // 2 * 2 : 2, : width // 2 * 2 : 2]
    if is_rgb:
        with tifffile.TiffFile(path, mode="r+") as tiff_file:
            for page in tiff_file.pages:
                page.aspage().tags["PhotometricInterpretation"].overwrite(2)
    return path


def draw_pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random squares, so that every pixel tells where it is."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(squares, np.ones((8, 8, 1), dtype=np.int64))[:height, :width].astype(np.uint8)


@pytest.fixture(name="write_tiff")
def _write_tiff() -> WriteTiff:
    return write_tiff


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """A picture of 300 rows and 500 columns."""
    return draw_pixels(300, 500)


@pytest.fixture(autouse=True)
def _close_slides() -> Any:
    yield
    close_borrowed()
