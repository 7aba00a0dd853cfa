"""Zarr v3 codec ``slidepipe_byte_range``: a chunk is a pointer to bytes of another file, here a slide.

Instead of a compressed tile, a chunk holds 20 bytes: offset and length of a stretch of the file (little-endian uint64)
and the CRC-32C of what lies there (uint32). The codec's configuration names the file and its size. Decoding reads the
stretch and refuses it if the checksum differs, so a file that was changed since gives an error and never other pixels;
nothing comes out of a file whose content the pointer does not know. The codec stands where compressed bytes go to the
disk, after the codec of the JPEG streams that the stretches are.

Why not what there is: kerchunk and VirtualiZarr keep the ranges of an array in one document for fsspec, which opens
under an address of its own, cannot be written by several tasks, and does not notice that the file has changed.
Icechunk notices it by the file's date, in a repository format of its own that needs a large dependency, of which
Python 3.11 and 3.12 have incompatible versions, and advises against several writers on a local disk. Pointers as
chunks need forty lines: sharding, resuming, damaged tiles and checks are those of every other store, and
``zarr.open`` of the store's folder gives pixels wherever slidepipe is installed.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import google_crc32c
from zarr.abc.codec import BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.common import JSON
from zarr.registry import register_codec

from slidepipe.errors import SlideChangedError, StoreError

BYTE_RANGE_CODEC = "slidepipe_byte_range"

_POINTER = struct.Struct("<QQI")


@dataclass(frozen=True, slots=True)
class OutsideFile:
    """A file that chunks point into."""

    path: str
    """Where it lies, absolute."""
    n_bytes: int
    """Its size when the pointers were made."""

    def find_fault(self) -> str | None:
        """Say why the file cannot be the one that was pointed to: a look at its size, which reads nothing of it.

        Returns
        -------
        str or None
            What is wrong; None if nothing can be seen.
        """
        path = Path(self.path)
        if not path.is_file():
            return f"there is no file {path} any more"
        n_bytes = path.stat().st_size
        return None if n_bytes == self.n_bytes else f"{path} has {n_bytes} bytes now, and had {self.n_bytes}"

    def check(self, slide_id: str) -> None:
        """Refuse a slide file that cannot be the one that was pointed to; see `find_fault`.

        Parameters
        ----------
        slide_id
            The slide that it should be.

        Raises
        ------
        SlideChangedError
            If it is gone, or has another size.
        """
        if fault := self.find_fault():
            raise SlideChangedError(
                f"slide {slide_id}: its tile store only refers to the slide file, and {fault}: bring it back, or run "
                "the tile stage again, which follows a slide that has moved"
            )


def point_to(offset: int, data: bytes) -> bytes:
    """Make a pointer.

    Parameters
    ----------
    offset
        Where the stretch begins in the file.
    data
        What lies there.

    Returns
    -------
    bytes
        20 bytes, which `follow` leads back to `data`.
    """
    return _POINTER.pack(offset, len(data), int(google_crc32c.value(data)))


def follow(pointer: bytes, outside: OutsideFile) -> bytes:
    """Read what a pointer points to. The file is open for no longer than that.

    Parameters
    ----------
    pointer
        As `point_to` returned it.
    outside
        The file.

    Returns
    -------
    bytes
        What lay there when the pointer was made.

    Raises
    ------
    StoreError
        If this is no pointer, the file cannot be read, or something else lies there now.
    """
    if len(pointer) != _POINTER.size:
        raise StoreError(f"a pointer has {_POINTER.size} bytes, and this has {len(pointer)}")
    offset, n_bytes, checksum = _POINTER.unpack(pointer)
    try:
        with Path(outside.path).open("rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(n_bytes)
    except OSError as error:
        raise StoreError(f"it lies in a file that cannot be read: {error}") from error
    if len(data) != n_bytes or int(google_crc32c.value(data)) != checksum:
        raise StoreError(
            f"{outside.path} was changed since: other bytes lie at {offset} than when it was referred to"
        )
    return data


@dataclass(frozen=True)
class ByteRange(BytesBytesCodec):
    """Codec of chunks that point into a file; see the module."""

    is_fixed_size = False

    outside: OutsideFile
    """The file."""

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Make the codec from its entry in ``zarr.json``.

        Parameters
        ----------
        data
            Name and configuration.

        Returns
        -------
        ByteRange
            The codec.

        Raises
        ------
        StoreError
            If the configuration is not one that slidepipe writes.
        """
        configuration: Any = data.get("configuration")
        try:
            return cls(OutsideFile(configuration["path"], configuration["size"]))
        except (KeyError, TypeError) as error:
            raise StoreError(f"codec {BYTE_RANGE_CODEC} is configured with {configuration!r}") from error

    def to_dict(self) -> dict[str, JSON]:
        """Return the codec's entry in ``zarr.json``.

        Returns
        -------
        dict
            Name and configuration.
        """
        configuration: dict[str, JSON] = {"path": self.outside.path, "size": self.outside.n_bytes}
        return {"name": BYTE_RANGE_CODEC, "configuration": configuration}

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        data = await asyncio.to_thread(follow, chunk_bytes.to_bytes(), self.outside)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _encode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer | None:
        raise StoreError("pixels cannot be written to a store that points into a slide: it is read only")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Return the size of a pointer.

        Parameters
        ----------
        input_byte_length
            Size of what it points to.
        chunk_spec
            Shape and type of the chunk.

        Returns
        -------
        int
            In bytes.
        """
        return _POINTER.size


def register_byte_range_codec() -> None:
    """Make Zarr know the codec, also where slidepipe runs from a checkout and has no entry points."""
    register_codec(BYTE_RANGE_CODEC, ByteRange)
