"""Whole Zarr v3 shards, written and read as bytes.

A shard is one file: the encoded chunks one after the other, then an index with the offset and length of every
chunk in C order (two little-endian uint64, both 2^64 - 1 where there is no chunk), then the CRC-32C of the
index. This is codec ``sharding_indexed`` of the Zarr v3 specification with its index at the end.

Shards are written here and not through Zarr's arrays for three reasons. Two tasks that write through Zarr
into one shard lose chunks, silently (zarr-python issue 3682): here a shard is written by one call or not at
all. Zarr gathers a whole shard in memory before it writes: here chunks stream, so memory is bounded by a few
megabytes. And chunks that exist already, such as the JPEG tiles of a slide file, can be stored without
decoding them.

Reading serves what Zarr does not offer: proof that a shard is whole, and the compressed bytes of one chunk.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.storage.locations import as_remote
from slidepipe.storage.publish import atomic_path, start_flush

ChunkIndex = tuple[int, ...]
"""Position of a chunk within its shard, one number per axis of the array."""

_MISSING = np.uint64(2**64 - 1)
_CRC_BYTES = 4
_WRITE_BYTES = 4 * 2**20
"""Chunks are gathered until there are so many bytes to write: file systems take half as long over few large pieces as
over many small ones."""


def shard_path(array_path: Path, shard_index: tuple[int, ...]) -> Path:
    """Return where a shard lies.

    Parameters
    ----------
    array_path
        Folder of the array, the one with ``zarr.json``.
    shard_index
        Position of the shard in the array, one number per axis.

    Returns
    -------
    Path
        The file that holds it, if it exists.
    """
    return array_path.joinpath("c", *map(str, shard_index))


def write_shard(
    array_path: Path,
    shard_index: tuple[int, ...],
    chunks: Iterable[tuple[ChunkIndex, bytes]],
    shape_in_chunks: tuple[int, ...],
) -> int:
    """Write one shard, whole or not at all.

    It is on its way to the disk when this returns, but not waited for, so that the disk works while the next shard is
    made. Once all shards are written, `slidepipe.storage.publish.flush_tree` waits for them together; after a power cut
    before that, `check_shard` tells which of them are whole.

    Parameters
    ----------
    array_path
        Folder of the array.
    shard_index
        Position of the shard in the array.
    chunks
        Encoded chunks and where they lie within the shard. They are consumed one by one and stored in this
        order, so equal sequences give equal files. Without any chunk there is no file, and an older one is
        removed.
    shape_in_chunks
        Chunks per shard along each axis.

    Returns
    -------
    int
        Size of the file in bytes; 0 where there is none.

    Raises
    ------
    ValueError
        If a chunk lies outside the shard, comes twice or is empty.
    OSError
        If the file cannot be written, for example because the disk is full.
    """
    target = shard_path(array_path, shard_index)
    remaining = iter(chunks)
    first = next(remaining, None)
    if first is None:
        target.unlink(missing_ok=True)
        return 0
    index = np.full((*shape_in_chunks, 2), _MISSING, dtype="<u8")
    with atomic_path(target, durable=False) as temporary, temporary.open("wb", _WRITE_BYTES) as file:
        end = 0
        for position, data in itertools.chain([first], remaining):
            _check_chunk(position, data, index)
            file.write(data)
            index[position] = end, len(data)
            end += len(data)
        content = index.tobytes()
        file.write(content)
        file.write(_crc32c(content))
        file.flush()
        start_flush(file.fileno())
    return end + len(content) + _CRC_BYTES


def _check_chunk(position: ChunkIndex, data: bytes, index: NDArray[np.uint64]) -> None:
    shape = index.shape[:-1]
    if len(position) != len(shape) or not all(0 <= p < n for p, n in zip(position, shape, strict=True)):
        raise ValueError(f"chunk {position} lies outside a shard of {shape} chunks")
    if index[position][0] != _MISSING:
        raise ValueError(f"chunk {position} was given twice")
    if not data:
        raise ValueError(f"chunk {position} is empty; leave it out to store nothing")


def read_shard_index(path: Path, shape_in_chunks: tuple[int, ...]) -> NDArray[np.uint64]:
    """Read where the chunks of a shard lie, and prove that the file is whole.

    Parameters
    ----------
    path
        The file, see `shard_path`.
    shape_in_chunks
        Chunks per shard along each axis.

    Returns
    -------
    ndarray
        uint64, shape (*shape_in_chunks, 2): offset and length in bytes, both 2^64 - 1 where there is no
        chunk.

    Raises
    ------
    StoreError
        If the file is missing, cut short, or its index does not belong to it.
    """
    length = math.prod(shape_in_chunks) * 16
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = size - length - _CRC_BYTES
            if start < 0:
                raise StoreError(f"{path} has {size} bytes, fewer than its index needs: it was cut short")
            file.seek(start)
            content, checksum = file.read(length), file.read(_CRC_BYTES)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing") from None
    if checksum != _crc32c(content):
        raise StoreError(f"{path} has an index that does not match its checksum: it was cut short or changed")
    index = np.frombuffer(content, dtype="<u8").reshape(*shape_in_chunks, 2).astype(np.uint64)
    stored = index[index[..., 0] != _MISSING]
    if stored.size and int((stored[:, 0] + stored[:, 1]).max()) > start:
        raise StoreError(
            f"{path} has an index that points beyond its {start} bytes of chunks: it was cut short"
        )
    return index


def check_shard(path: Path, shape_in_chunks: tuple[int, ...]) -> None:
    """Prove that a shard holds what was written to it, every byte.

    Parameters
    ----------
    path
        The file; its chunks must each end in their own CRC-32C, as `slidepipe.storage.tile_codec.seal` has it.
    shape_in_chunks
        Chunks per shard along each axis.

    Raises
    ------
    StoreError
        If the file is missing or cut short, or a checksum does not match.
    """
    index = read_shard_index(path, shape_in_chunks)
    with path.open("rb") as file:
        for offset, length in index[is_stored(index)].tolist():
            file.seek(offset)
            chunk = file.read(length)
            if len(chunk) != length or chunk[-_CRC_BYTES:] != _crc32c(chunk[:-_CRC_BYTES]):
                raise StoreError(f"{path} has a chunk at byte {offset} that does not match its checksum")


def is_stored(index: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which chunks a shard holds.

    Parameters
    ----------
    index
        As `read_shard_index` returns it.

    Returns
    -------
    ndarray
        bool, shape of the shard in chunks.
    """
    present: NDArray[np.bool_] = index[..., 0] != _MISSING
    return present


def read_chunks(path: Path, index: NDArray[np.uint64], positions: Sequence[ChunkIndex]) -> list[bytes]:
    """Read the encoded bytes of chunks; from an object store neighbours with one request, all requests at once.

    Parameters
    ----------
    path
        File of the shard.
    index
        As `read_shard_index` returns it for that file.
    positions
        Positions of the chunks within the shard.

    Returns
    -------
    list of bytes
        The chunks as they were given to `write_shard`, in the order of `positions`; empty where the shard holds none.

    Raises
    ------
    StoreError
        If the file has become shorter than its index says.
    """
    found = [(int(index[at][0]), int(index[at][1])) for at in positions]
    ranges = [(0, 0) if offset == _MISSING else (offset, length) for offset, length in found]
    chunks = _read_ranges(path, ranges)
    for position, chunk, (_, length) in zip(positions, chunks, ranges, strict=True):
        if len(chunk) != length:
            raise StoreError(
                f"{path} ends within chunk {position}: it was cut short after its index was read"
            )
    return chunks


def _read_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    if (remote := as_remote(path)) is not None:
        return remote.read_ranges(ranges)
    chunks = []
    with path.open("rb") as file:
        for offset, length in ranges:
            file.seek(offset)
            chunks.append(file.read(length))
    return chunks


def _crc32c(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(_CRC_BYTES, "little")
