"""How one tile becomes bytes and pixels again: the inner codecs of a tile array.

The same facts stand in ``zarr.json`` as codecs (`chunk_codecs`), so that any Zarr reader with these codecs
opens the array, and here as functions that skip Zarr: decoding a JPEG tile of 512 × 512 pixels takes 1.8 ms
this way and 6.5 ms through Zarr 3.1, which lays the colours out as planes and needs several copies for it.

Every tile ends in its own CRC-32C (codec ``crc32c``), because a JPEG stream with a flipped bit decodes
without complaint to other pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.storage.byte_ranges import BYTE_RANGE_CODEC, ByteRange, OutsideFile, follow
from slidepipe.storage.jpeg_codec import CODEC_NAME

_CRC_BYTES = 4
_ROWS_COLUMNS_COLOURS = {"name": "transpose", "configuration": {"order": [1, 2, 0]}}
_CRC32C = {"name": "crc32c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegCodec:
    """Tiles are JPEG streams."""

    level: int | None = None
    """Quality for encoding, 1 to 100; None where tiles come encoded."""
    subsampling: Literal["444", "422", "420"] | None = None
    """Chroma subsampling for encoding."""
    colorspace_jpeg: Literal["YCBCR", "RGB"] = "YCBCR"
    """What the streams hold."""
    tables: bytes | None = None
    """JPEG tables shared by all tiles, where streams come without their own."""
    outside: OutsideFile | None = None
    """The file that the streams lie in; None where the store itself holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZstdCodec:
    """Tiles are pixels compressed without loss."""

    level: int = 3
    """Effort, 1 to 22; H&E that was JPEG once shrinks by a seventh to a quarter whatever the effort."""
    outside: None = None
    """No slide file holds such tiles."""


TileCodec = JpegCodec | ZstdCodec


def chunk_codecs(codec: TileCodec) -> list[dict[str, Any]]:
    """Say in the words of ``zarr.json`` how a chunk of shape (3, tile, tile) is stored.

    Parameters
    ----------
    codec
        The codec.

    Returns
    -------
    list of dict
        Zarr v3 codecs, first applied first.
    """
    if isinstance(codec, ZstdCodec):
        zstd = {"name": "zstd", "configuration": {"level": codec.level, "checksum": False}}
        return [_ROWS_COLUMNS_COLOURS, {"name": "bytes"}, zstd, _CRC32C]
    configuration: dict[str, Any] = {"colorspace_data": "RGB", "colorspace_jpeg": codec.colorspace_jpeg}
    if codec.level is not None:
        configuration["level"] = codec.level
    if codec.subsampling is not None:
        configuration["subsampling"] = codec.subsampling
    if codec.tables is not None:
        configuration["tables"] = base64.b64encode(codec.tables).decode()
    pointers = [] if codec.outside is None else [dict(ByteRange(codec.outside).to_dict())]
    return [_ROWS_COLUMNS_COLOURS, {"name": CODEC_NAME, "configuration": configuration}, *pointers, _CRC32C]


def codec_from(chunk_codecs: Sequence[dict[str, Any]]) -> TileCodec:
    """Read the codec back from ``zarr.json``.

    Parameters
    ----------
    chunk_codecs
        As the function `chunk_codecs` returns them.

    Returns
    -------
    JpegCodec or ZstdCodec
        The codec.

    Raises
    ------
    StoreError
        If these are not codecs that slidepipe writes.
    """
    names = [codec["name"] for codec in chunk_codecs]
    if names == ["transpose", "bytes", "zstd", "crc32c"]:
        return ZstdCodec(level=chunk_codecs[2]["configuration"]["level"])
    if names in (["transpose", CODEC_NAME, "crc32c"], ["transpose", CODEC_NAME, BYTE_RANGE_CODEC, "crc32c"]):
        options = chunk_codecs[1].get("configuration", {})
        tables = options.get("tables")
        pointers = chunk_codecs[2:-1]
        return JpegCodec(
            level=options.get("level"),
            subsampling=options.get("subsampling"),
            colorspace_jpeg=options["colorspace_jpeg"],
            tables=None if tables is None else base64.b64decode(tables),
            outside=ByteRange.from_dict(pointers[0]).outside if pointers else None,
        )
    raise StoreError(f"tiles are stored with codecs {', '.join(names)}, which slidepipe does not write")


def encode_tile(codec: TileCodec, pixels: NDArray[np.uint8]) -> bytes:
    """Encode one tile.

    Parameters
    ----------
    codec
        How.
    pixels
        uint8 RGB, shape (tile, tile, 3).

    Returns
    -------
    bytes
        The chunk, equal for equal pixels.
    """
    pixels = np.ascontiguousarray(pixels)
    if isinstance(codec, ZstdCodec):
        data = imagecodecs.zstd_encode(pixels.tobytes(), level=codec.level)
    else:
        data = imagecodecs.jpeg8_encode(
            pixels,
            level=codec.level,
            colorspace="RGB",
            outcolorspace=codec.colorspace_jpeg,
            subsampling=codec.subsampling,
        )
    return seal(bytes(data))


def seal(data: bytes) -> bytes:
    """Append the checksum that every stored tile ends in.

    Parameters
    ----------
    data
        An encoded tile, for example a JPEG stream copied from a slide.

    Returns
    -------
    bytes
        The chunk.
    """
    return data + int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little")


def unseal(chunk: bytes) -> bytes:
    """Check the checksum of a stored tile and take it off.

    Parameters
    ----------
    chunk
        As `seal` returns it.

    Returns
    -------
    bytes
        The encoded tile: a JPEG stream or zstd frame.

    Raises
    ------
    StoreError
        If the checksum does not match: the file was changed or damaged.
    """
    data = chunk[:-_CRC_BYTES]
    if int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little") != chunk[-_CRC_BYTES:]:
        raise StoreError(f"a chunk of {len(chunk)} bytes does not match its checksum")
    return data


def encoded_tile(codec: TileCodec, chunk: bytes) -> bytes:
    """Return the encoded bytes of a tile, from wherever they lie.

    Parameters
    ----------
    codec
        As the tile was encoded.
    chunk
        What the store holds of it.

    Returns
    -------
    bytes
        A JPEG stream or zstd frame, whose checksum has been checked.

    Raises
    ------
    StoreError
        If a checksum does not match, or the file that the tile lies in cannot be read or was changed.
    """
    data = unseal(chunk)
    return data if codec.outside is None else follow(data, codec.outside)


def decode_tile(
    codec: TileCodec, chunk: bytes, tile_px: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Decode one tile. Threads may decode at the same time: most of the work is done without the GIL.

    Parameters
    ----------
    codec
        As the tile was encoded.
    chunk
        What the store holds of it: as `encode_tile` or `seal` returned it.
    tile_px
        Side of the tile.
    out
        Memory to decode into, of the tile's shape. Memory that is used again costs no page faults, which take a third
        of the decoding rate where every tile gets its own.

    Returns
    -------
    ndarray
        uint8 RGB, shape (tile_px, tile_px, 3); `out` if that was given.

    Raises
    ------
    StoreError
        If the checksum does not match, or the content is not such a tile.
    """
    data = encoded_tile(codec, chunk)
    shape = (tile_px, tile_px, 3)
    try:
        if isinstance(codec, ZstdCodec):
            return _decode_zstd(data, np.empty(shape, dtype=np.uint8) if out is None else out)
        decoded: NDArray[np.uint8] = imagecodecs.jpeg8_decode(
            data, tables=codec.tables, colorspace=codec.colorspace_jpeg, outcolorspace="RGB", out=out
        )
    except (RuntimeError, ValueError) as error:
        raise StoreError(f"a tile of {len(data)} bytes cannot be decoded: {error}") from error
    if decoded.shape != shape:
        raise StoreError(f"a tile has shape {decoded.shape}, expected {shape}")
    return decoded


def _decode_zstd(data: bytes, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Another size than the tile's is found out by the content's size in the frame, or by the memory that is too small.
    n_bytes = len(imagecodecs.zstd_decode(data, out=out.data.cast("B")))
    if n_bytes != out.size:
        raise ValueError(f"it holds {n_bytes} bytes, expected {out.size}")
    return out
