"""Whole shards: what is written here is what Zarr reads, and damage is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from slidepipe.errors import StoreError
from slidepipe.storage.arrays import ShardedArray, open_array, write_sharded_array
from slidepipe.storage.shards import (
    check_shard,
    is_stored,
    read_chunks,
    read_shard_index,
    shard_path,
    write_shard,
)
from slidepipe.storage.tile_codec import seal

_SHAPE = (1, 2, 3)


def _chunks() -> list[tuple[tuple[int, int, int], bytes]]:
    return [((0, 0, 0), b"first"), ((0, 1, 2), b"last one"), ((0, 0, 1), b"x")]


def _float_array(path: Path) -> None:
    array = ShardedArray(
        shape=(5, 7),
        chunk=(2, 2),
        chunks_per_shard=(2, 2),
        dtype="float32",
        fill_value="NaN",
        chunk_codecs=({"name": "bytes", "configuration": {"endian": "little"}},),
        dimension_names=("y", "x"),
    )
    write_sharded_array(path, array)


def test_chunks_come_back_as_they_were(tmp_path: Path) -> None:
    size = write_shard(tmp_path, (0, 4, 5), _chunks(), _SHAPE)
    file = shard_path(tmp_path, (0, 4, 5))
    assert file == tmp_path / "c" / "0" / "4" / "5"
    assert file.stat().st_size == size
    index = read_shard_index(file, _SHAPE)
    positions = [position for position, _ in _chunks()]
    assert read_chunks(file, index, positions) == [data for _, data in _chunks()]
    assert read_chunks(file, index, [(0, 1, 0)]) == [b""]
    assert is_stored(index).sum() == 3


def test_the_bytes_are_those_of_the_zarr_specification(tmp_path: Path) -> None:
    write_shard(tmp_path, (0, 0), [((0, 1), b"abc")], (1, 2))
    missing, entry = b"\xff" * 16, (0).to_bytes(8, "little") + (3).to_bytes(8, "little")
    content = shard_path(tmp_path, (0, 0)).read_bytes()
    assert content[:-4] == b"abc" + missing + entry
    assert content[-4:] == _crc32c(missing + entry).to_bytes(4, "little")


def _crc32c(content: bytes) -> int:
    """Work bit by bit with the reversed Castagnoli polynomial, as in RFC 3720."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_zarr_reads_what_was_written_here(tmp_path: Path) -> None:
    _float_array(tmp_path)
    values = np.arange(4, dtype="<f4").reshape(2, 2)
    write_shard(tmp_path, (0, 1), [((1, 0), values.tobytes())], (2, 2))
    expected = np.full((5, 7), np.nan, dtype=np.float32)
    expected[2:4, 4:6] = values
    np.testing.assert_array_equal(open_array(tmp_path)[...], expected)


def test_what_zarr_writes_is_read_here(tmp_path: Path) -> None:
    _float_array(tmp_path)
    array = zarr.open_array(tmp_path, mode="r+")
    array[0:2, 0:2] = 7
    file = shard_path(tmp_path, (0, 0))
    index = read_shard_index(file, (2, 2))
    np.testing.assert_array_equal(is_stored(index), [[True, False], [False, False]])
    assert read_chunks(file, index, [(0, 0)]) == [np.full(4, 7, dtype="<f4").tobytes()]


def test_a_shard_without_chunks_is_no_file_and_removes_an_older_one(tmp_path: Path) -> None:
    write_shard(tmp_path, (0, 0, 0), _chunks(), _SHAPE)
    assert write_shard(tmp_path, (0, 0, 0), [], _SHAPE) == 0
    assert not shard_path(tmp_path, (0, 0, 0)).exists()


def test_a_failure_half_way_leaves_the_older_shard(tmp_path: Path) -> None:
    write_shard(tmp_path, (0, 0, 0), _chunks(), _SHAPE)
    before = shard_path(tmp_path, (0, 0, 0)).read_bytes()

    def chunks():  # type: ignore[no-untyped-def]
        yield (0, 0, 0), b"new"
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_shard(tmp_path, (0, 0, 0), chunks(), _SHAPE)
    assert shard_path(tmp_path, (0, 0, 0)).read_bytes() == before
    assert len(list((tmp_path / "c" / "0" / "0").iterdir())) == 1


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([((0, 0, 0), b"a"), ((0, 0, 0), b"b")], "given twice"),
        ([((0, 0, 3), b"a")], "lies outside"),
        ([((0, 0, -1), b"a")], "lies outside"),
        ([((0, 0), b"a")], "lies outside"),
        ([((0, 0, 0), b"")], "is empty"),
    ],
)
def test_impossible_chunks_are_refused(
    tmp_path: Path, chunks: list[tuple[tuple[int, ...], bytes]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_shard(tmp_path, (0, 0, 0), chunks, _SHAPE)
    assert not shard_path(tmp_path, (0, 0, 0)).exists()


@pytest.mark.parametrize("keep", [0, 3, 50, 100, -1])
def test_a_torn_shard_is_found_wherever_it_was_cut(tmp_path: Path, keep: int) -> None:
    write_shard(tmp_path, (0, 0, 0), _chunks(), _SHAPE)
    file = shard_path(tmp_path, (0, 0, 0))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(StoreError, match="cut short"):
        read_shard_index(file, _SHAPE)


def test_an_index_of_another_file_is_found(tmp_path: Path) -> None:
    write_shard(tmp_path, (0, 0, 0), _chunks(), _SHAPE)
    file = shard_path(tmp_path, (0, 0, 0))
    file.write_bytes(file.read_bytes()[5:])
    with pytest.raises(StoreError, match="points beyond"):
        read_shard_index(file, _SHAPE)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="9 is missing"):
        read_shard_index(shard_path(tmp_path, (0, 0, 9)), _SHAPE)


def test_a_shard_cut_after_its_index_was_read_is_found(tmp_path: Path) -> None:
    write_shard(tmp_path, (0, 0, 0), _chunks(), _SHAPE)
    file = shard_path(tmp_path, (0, 0, 0))
    index = read_shard_index(file, _SHAPE)
    file.write_bytes(file.read_bytes()[:8])
    with pytest.raises(StoreError, match="ends within chunk"):
        read_chunks(file, index, [(0, 1, 2)])


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 3)), st.binary(min_size=1), max_size=12))
def test_any_choice_of_chunks_comes_back(
    tmp_path_factory: pytest.TempPathFactory, chunks: dict[tuple[int, int], bytes]
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    write_shard(folder, (1, 1), chunks.items(), (3, 4))
    file = shard_path(folder, (1, 1))
    assert file.exists() == bool(chunks)
    if chunks:
        index = read_shard_index(file, (3, 4))
        assert read_chunks(file, index, list(chunks)) == list(chunks.values())
        assert is_stored(index).sum() == len(chunks)


def test_every_byte_of_a_shard_is_proven(tmp_path: Path) -> None:
    sealed = [(position, seal(data)) for position, data in _chunks()]
    write_shard(tmp_path, (0, 0, 0), sealed, _SHAPE)
    path = shard_path(tmp_path, (0, 0, 0))
    check_shard(path, _SHAPE)
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])
        with pytest.raises(StoreError, match=r"checksum|points beyond"):
            check_shard(path, _SHAPE)
    path.write_bytes(bytes(len(content)))
    with pytest.raises(StoreError, match="checksum"):
        check_shard(path, _SHAPE)
