"""Zarr v3 metadata of the arrays in a store, and small arrays that fit into one chunk.

Metadata is written as JSON here, so that what stands in ``zarr.json`` is the same whichever version of Zarr is
installed, and is published by rename like every other file. Small arrays are read here as well: every block of a store
begins with one, and Zarr takes longer to open it than a block takes to copy its tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import FsspecStore

from slidepipe.errors import StoreError
from slidepipe.geometry import ceil_div
from slidepipe.storage.byte_ranges import register_byte_range_codec
from slidepipe.storage.jpeg_codec import register_jpeg_codec
from slidepipe.storage.locations import as_remote
from slidepipe.storage.publish import read_json, write_bytes, write_json
from slidepipe.storage.tile_codec import seal, unseal

METADATA = "zarr.json"
_ZSTD_LEVEL = 3
_SMALL_CODECS: list[dict[str, Any]] = [
    {"name": "bytes"},
    {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}},
    {"name": "crc32c"},
]


def write_group(path: Path, attributes: dict[str, Any]) -> None:
    """Write or replace the metadata of a group.

    Parameters
    ----------
    path
        Folder of the group.
    attributes
        What JSON can hold.
    """
    write_json(path / METADATA, {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def read_attributes(path: Path) -> dict[str, Any]:
    """Read the attributes of a group or array.

    Parameters
    ----------
    path
        Folder of the group or array.

    Returns
    -------
    dict
        Its attributes.

    Raises
    ------
    StoreError
        If there is no Zarr v3 group or array.
    """
    try:
        attributes = read_json(path / METADATA)["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} holds no Zarr v3 group that slidepipe wrote: {error}") from error
    if not isinstance(attributes, dict):
        raise StoreError(f"{path / METADATA} has attributes that are not an object")
    return attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedArray:
    """An array whose shards `slidepipe.storage.shards.write_shard` writes."""

    shape: tuple[int, ...]
    """Shape of the array; shards at its end reach past it and are whole all the same."""
    chunk: tuple[int, ...]
    """Shape of a chunk."""
    chunks_per_shard: tuple[int, ...]
    """Chunks of a shard along each axis."""
    dtype: str
    """Zarr's name of the data type, such as ``uint8``."""
    fill_value: float | str
    """Value where nothing is stored; ``"NaN"`` for floating-point arrays."""
    chunk_codecs: tuple[dict[str, Any], ...]
    """Zarr v3 codecs of a chunk, first applied first."""
    dimension_names: tuple[str, ...]
    """Name of each axis."""

    @property
    def shape_in_shards(self) -> tuple[int, ...]:
        """Shards along each axis."""
        sides = (side * count for side, count in zip(self.chunk, self.chunks_per_shard, strict=True))
        return tuple(ceil_div(length, side) for length, side in zip(self.shape, sides, strict=True))


def write_sharded_array(path: Path, array: ShardedArray) -> None:
    """Write the metadata of an array; its shards are written one by one afterwards.

    Parameters
    ----------
    path
        Folder of the array.
    array
        What it looks like.
    """
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(array.chunk),
            "codecs": list(array.chunk_codecs),
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": "end",
        },
    }
    metadata = {
        "data_type": array.dtype,
        "fill_value": array.fill_value,
        "codecs": [sharding],
        "dimension_names": list(array.dimension_names),
    }
    shard = [side * count for side, count in zip(array.chunk, array.chunks_per_shard, strict=True)]
    write_json(path / METADATA, _metadata(array.shape, shard, metadata))


def read_chunk_codecs(path: Path) -> list[dict[str, Any]]:
    """Read the codecs of a chunk of a sharded array.

    Parameters
    ----------
    path
        Folder of the array.

    Returns
    -------
    list of dict
        As they were given to `write_sharded_array`.

    Raises
    ------
    StoreError
        If there is no sharded Zarr v3 array.
    """
    try:
        codecs = read_json(path / METADATA)["codecs"][0]["configuration"]["codecs"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreError(f"{path} holds no sharded Zarr v3 array: {error}") from error
    if not isinstance(codecs, list):
        raise StoreError(f"{path / METADATA} has codecs that are not a list")
    return codecs


def write_small_array(path: Path, values: NDArray[Any], dimension_names: Sequence[str]) -> None:
    """Write a uint8 array as one chunk, replacing an older one of the same shape in one step.

    Parameters
    ----------
    path
        Folder of the array.
    values
        uint8, any shape without a side of 0.
    dimension_names
        Name of each axis.

    Raises
    ------
    ValueError
        If `values` has another type or no element.
    """
    if values.dtype != np.uint8 or not values.size:
        raise ValueError(
            f"expected uint8 and at least one element, got {values.dtype} of shape {values.shape}"
        )
    chunk = seal(bytes(imagecodecs.zstd_encode(values.tobytes(), level=_ZSTD_LEVEL)))
    write_bytes(path.joinpath("c", *["0"] * values.ndim), chunk)
    write_json(path / METADATA, _metadata(values.shape, values.shape, _small(dimension_names)))


def _small(dimension_names: Sequence[str]) -> dict[str, Any]:
    """Return what is the same in the metadata of all small arrays."""
    return {
        "data_type": "uint8",
        "fill_value": 0,
        "codecs": _SMALL_CODECS,
        "dimension_names": list(dimension_names),
    }


def _metadata(shape: Sequence[int], chunk: Sequence[int], metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        **metadata,
        "attributes": {},
    }


def open_array(path: Path) -> zarr.Array[Any]:
    """Open an array for reading with Zarr.

    Parameters
    ----------
    path
        Folder of the array.

    Returns
    -------
    zarr.Array
        Read only.

    Raises
    ------
    StoreError
        If there is no Zarr v3 array.
    """
    register_jpeg_codec()
    register_byte_range_codec()
    try:
        return zarr.open_array(_zarr_store(path), mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} holds no Zarr v3 array: {error}") from error


def _zarr_store(path: Path) -> Path | FsspecStore:
    if (remote := as_remote(path)) is None:
        return path
    return FsspecStore.from_url(str(remote), storage_options=remote.storage_options, read_only=True)


def read_small_array(path: Path) -> NDArray[np.uint8]:
    """Read an array that `write_small_array` wrote.

    Parameters
    ----------
    path
        Folder of the array.

    Returns
    -------
    ndarray
        All of it.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        shape = _small_shape(read_json(path / METADATA))
        chunk = path.joinpath("c", *["0"] * len(shape)).read_bytes()
        values = np.frombuffer(imagecodecs.zstd_decode(unseal(chunk)), dtype=np.uint8).reshape(shape)
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, StoreError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    return values.copy()


def _small_shape(metadata: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(int(side) for side in metadata["shape"])
    if metadata != _metadata(shape, shape, _small(metadata.get("dimension_names") or ())):
        raise ValueError(f"{METADATA} describes another kind of array")
    return shape
