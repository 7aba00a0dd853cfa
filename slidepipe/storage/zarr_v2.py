"""Arrays in Zarr v2, for viewers that read nothing newer; the stores of this package are Zarr v3.

Written as files here, so that the bytes are the same whichever version of Zarr is installed. Every chunk is written
and padded to its full size, as Zarr v2 demands, and packed by Blosc with LZ4: of the codecs of Zarr v2, the Java
reader in QuPath knows only Blosc and zlib.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from slidepipe.geometry import ceil_div
from slidepipe.storage.publish import write_bytes, write_json

_LEVEL = 5
_SHUFFLE = 1


def write_v2_group(path: Path, attributes: dict[str, Any]) -> None:
    """Write the metadata of a group.

    Parameters
    ----------
    path
        Folder of the group.
    attributes
        What JSON can hold.
    """
    write_json(path / ".zgroup", {"zarr_format": 2})
    write_json(path / ".zattrs", attributes)


def write_v2_array(path: Path, values: NDArray[Any], chunk: Sequence[int]) -> None:
    """Write an array of bytes or of floating-point numbers.

    Parameters
    ----------
    path
        Folder of the array, which must not hold chunks of another one.
    values
        float32 or uint8, with no side of 0.
    chunk
        Shape of a chunk, one number for each axis. Chunks at the end are padded, with NaN where there is one.

    Raises
    ------
    ValueError
        If `values` has another type or no element, or the chunk another number of axes.
    """
    if values.dtype not in (np.float32, np.uint8) or not values.size or len(chunk) != values.ndim:
        raise ValueError(
            f"expected float32 or uint8, elements, and a chunk of as many axes; got {values.dtype} of shape "
            f"{values.shape} and chunks of shape {tuple(chunk)}"
        )
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    compressor = {"id": "blosc", "cname": "lz4", "clevel": _LEVEL, "shuffle": _SHUFFLE, "blocksize": 0}
    metadata = {
        "zarr_format": 2,
        "shape": list(values.shape),
        "chunks": list(chunk),
        "dtype": little.dtype.str,
        "compressor": compressor,
        # No chunk is ever left out, and a number is understood by every reader, which NaN is not.
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    write_json(path / ".zarray", metadata)
    counts = [ceil_div(length, side) for length, side in zip(values.shape, chunk, strict=True)]
    for index in itertools.product(*map(range, counts)):
        write_bytes(path.joinpath(*map(str, index)), _packed_chunk(little, index, chunk))


def _packed_chunk(values: NDArray[Any], index: Sequence[int], chunk: Sequence[int]) -> bytes:
    window = tuple(slice(at * side, (at + 1) * side) for at, side in zip(index, chunk, strict=True))
    part = values[window]
    padding = [(0, side - length) for side, length in zip(chunk, part.shape, strict=True)]
    blank = np.nan if values.dtype.kind == "f" else 0
    whole = np.pad(part, padding, constant_values=blank)
    return bytes(
        imagecodecs.blosc_encode(
            whole.tobytes(),
            level=_LEVEL,
            compressor="lz4",
            shuffle=_SHUFFLE,
            typesize=whole.itemsize,
            numthreads=1,
        )
    )
