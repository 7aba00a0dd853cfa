"""Metadata and small arrays are what Zarr expects, and what is missing or damaged is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from slidepipe.errors import StoreError
from slidepipe.storage.arrays import (
    ShardedArray,
    open_array,
    read_attributes,
    read_chunk_codecs,
    read_small_array,
    write_group,
    write_sharded_array,
    write_small_array,
)
from slidepipe.storage.tile_codec import JpegCodec, chunk_codecs


def _array(**changes: object) -> ShardedArray:
    values: dict[str, object] = {
        "shape": (3, 1000, 700),
        "chunk": (3, 64, 64),
        "chunks_per_shard": (1, 4, 4),
        "dtype": "uint8",
        "fill_value": 255,
        "chunk_codecs": tuple(chunk_codecs(JpegCodec(level=90, subsampling="444"))),
        "dimension_names": ("c", "y", "x"),
    }
    return ShardedArray(**(values | changes))  # type: ignore[arg-type]


def test_zarr_sees_shape_chunks_shards_and_axes(tmp_path: Path) -> None:
    write_sharded_array(tmp_path, _array())
    array = open_array(tmp_path)
    assert (array.shape, array.chunks, array.shards) == ((3, 1000, 700), (3, 64, 64), (3, 256, 256))
    assert array.metadata.dimension_names == ("c", "y", "x")
    assert array.read_only
    assert (array[:, :2, :2] == 255).all()


def test_shards_at_the_end_are_counted() -> None:
    assert _array().shape_in_shards == (1, 4, 3)
    assert _array(shape=(3, 256, 257)).shape_in_shards == (1, 1, 2)


def test_small_arrays_come_back(tmp_path: Path) -> None:
    values = np.arange(35, dtype=np.uint8).reshape(5, 7)
    write_small_array(tmp_path / "a", values, ("y", "x"))
    np.testing.assert_array_equal(read_small_array(tmp_path / "a"), values)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], values)
    write_small_array(tmp_path / "a", values + 1, ("y", "x"))
    np.testing.assert_array_equal(read_small_array(tmp_path / "a"), values + 1)


def test_small_arrays_of_another_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float64"):
        write_small_array(tmp_path, np.zeros((2, 2)), ("y", "x"))
    with pytest.raises(ValueError, match="at least one element"):
        write_small_array(tmp_path, np.zeros((0, 2), np.uint8), ("y", "x"))


def test_a_small_array_without_its_chunk_is_not_taken_for_zeros(tmp_path: Path) -> None:
    write_small_array(tmp_path, np.ones((2, 2), np.uint8), ("y", "x"))
    (tmp_path / "c" / "0" / "0").unlink()
    with pytest.raises(StoreError, match="is missing"):
        read_small_array(tmp_path)


def test_a_changed_small_array_is_found(tmp_path: Path) -> None:
    write_small_array(tmp_path, np.arange(200, dtype=np.uint8)[None], ("y", "x"))
    chunk = tmp_path / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[20] ^= 4
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read"):
        read_small_array(tmp_path)


def test_an_array_that_is_not_small_is_not_read_as_one(tmp_path: Path) -> None:
    zarr.create_array(tmp_path, data=np.ones((4, 4), np.uint8), chunks=(2, 2))
    with pytest.raises(StoreError, match="describes another kind of array"):
        read_small_array(tmp_path)


def test_attributes_come_back_and_zarr_sees_a_group(tmp_path: Path) -> None:
    write_group(tmp_path, {"answer": 42})
    assert read_attributes(tmp_path) == {"answer": 42}
    assert dict(zarr.open_group(tmp_path, mode="r").attrs) == {"answer": 42}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"attributes": 3}'])
def test_what_is_no_zarr_is_said(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "zarr.json").write_text(content)
    with pytest.raises(StoreError):
        read_attributes(tmp_path)
    with pytest.raises(StoreError):
        read_chunk_codecs(tmp_path)
    with pytest.raises(StoreError, match="no Zarr v3 array"):
        open_array(tmp_path)
