"""Zarr v3 codec ``imagecodecs_jpeg``: one chunk of uint8 RGB pixels is one JPEG stream.

imagecodecs has shipped a codec of this name since its version 2026.10, which needs Python 3.12. Where it is
installed, it is the one used here, so that Zarr sees a single class under the name. Elsewhere `TileJpeg`
takes its place, with the same configuration, so that a store written with either opens with the other:

* ``level``: JPEG quality for encoding;
* ``subsampling``: chroma subsampling for encoding, ``"444"``, ``"422"`` or ``"420"``;
* ``colorspace_data``, ``colorspace_jpeg``: colours of the pixels and of the stream, ``"RGB"`` or ``"YCBCR"``;
* ``tables``: base64 of a TIFF's JPEGTables, for streams that come without their own quantisation tables.

Chunks are (rows, columns, 3). Arrays with the channel first put a ``transpose`` codec before this one.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any, Self

import imagecodecs
import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON
from zarr.registry import register_codec

from slidepipe.errors import StoreError

try:
    from imagecodecs.zarr import Jpeg as _ImagecodecsJpeg
except ImportError:
    _ImagecodecsJpeg = None

CODEC_NAME = "imagecodecs_jpeg"
_OPTIONS = ("level", "subsampling", "colorspace_data", "colorspace_jpeg")


@dataclass(frozen=True)
class TileJpeg(ArrayBytesCodec):
    """JPEG codec for chunks of uint8 RGB pixels, shape (rows, columns, 3)."""

    is_fixed_size = False

    level: int | None = None
    """Quality for encoding, 1 to 100."""
    subsampling: str | None = None
    """Chroma subsampling for encoding."""
    colorspace_data: str | None = None
    """Colour space of the pixels; None leaves it to the JPEG library."""
    colorspace_jpeg: str | None = None
    """Colour space of the stream; None believes the stream's own markers."""
    tables: bytes | None = None
    """JPEG tables shared by all chunks."""

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Make the codec from its entry in ``zarr.json``.

        Parameters
        ----------
        data
            Name and configuration.

        Returns
        -------
        TileJpeg
            The codec.

        Raises
        ------
        StoreError
            If the configuration asks for something that only the codec of imagecodecs does.
        """
        configuration: Any = data.get("configuration") or {}
        unknown = sorted(set(configuration) - {*_OPTIONS, "tables"})
        if unknown:
            raise StoreError(
                f"codec {CODEC_NAME} is configured with {', '.join(unknown)}, which only the codec of "
                "imagecodecs itself can do: install imagecodecs 2026.10 or newer (Python 3.12 or newer)"
            )
        options = dict(configuration)
        if "tables" in options:
            options["tables"] = base64.b64decode(options["tables"])
        return cls(**options)

    def to_dict(self) -> dict[str, JSON]:
        """Return the codec's entry in ``zarr.json``.

        Returns
        -------
        dict
            Name and configuration, without what is not set.
        """
        values = {name: getattr(self, name) for name in _OPTIONS}
        configuration: dict[str, JSON] = {name: value for name, value in values.items() if value is not None}
        if self.tables is not None:
            configuration["tables"] = base64.b64encode(self.tables).decode()
        return {"name": CODEC_NAME, "configuration": configuration}

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode, chunk_bytes, chunk_spec)

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return await asyncio.to_thread(self._encode, chunk_array, chunk_spec)

    def _decode(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pixels = imagecodecs.jpeg8_decode(
            chunk_bytes.to_bytes(),
            tables=self.tables,
            colorspace=self.colorspace_jpeg,
            outcolorspace=self.colorspace_data,
        )
        return chunk_spec.prototype.nd_buffer.from_numpy_array(pixels.reshape(chunk_spec.shape))

    def _encode(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        encoded = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(chunk_array.as_numpy_array()),
            level=self.level,
            colorspace=self.colorspace_data,
            outcolorspace=self.colorspace_jpeg,
            subsampling=self.subsampling,
        )
        return chunk_spec.prototype.buffer.from_bytes(bytes(encoded))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Say that the size of a JPEG stream is not known beforehand.

        Parameters
        ----------
        input_byte_length
            Size of the chunk before encoding.
        chunk_spec
            Shape and type of the chunk.

        Raises
        ------
        NotImplementedError
            Always; Zarr asks only codecs of fixed size.
        """
        raise NotImplementedError


Jpeg: Any = TileJpeg if _ImagecodecsJpeg is None else _ImagecodecsJpeg
"""The class registered with Zarr, named in the entry point ``zarr.codecs``."""


def register_jpeg_codec() -> None:
    """Make Zarr know the codec, also where slidepipe runs from a checkout and has no entry points."""
    register_codec(CODEC_NAME, Jpeg)
