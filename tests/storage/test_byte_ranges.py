"""Pointers lead to the bytes that they were made of, or nowhere."""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.dtype import UInt8

from slidepipe.errors import StoreError
from slidepipe.storage.byte_ranges import BYTE_RANGE_CODEC, ByteRange, OutsideFile, follow, point_to


@pytest.fixture
def outside(tmp_path: Path) -> OutsideFile:
    path = tmp_path / "slide.tif"
    path.write_bytes(bytes(range(256)))
    return OutsideFile(str(path), 256)


def test_a_pointer_leads_back_to_its_bytes(outside: OutsideFile) -> None:
    assert len(point_to(100, bytes(range(100, 150)))) == 20
    assert follow(point_to(100, bytes(range(100, 150))), outside) == bytes(range(100, 150))


def test_a_pointer_to_other_bytes_is_refused(outside: OutsideFile) -> None:
    with pytest.raises(StoreError, match="was changed since: other bytes lie at 101"):
        follow(point_to(101, bytes(range(100, 150))), outside)


def test_a_pointer_beyond_the_end_is_refused(outside: OutsideFile) -> None:
    with pytest.raises(StoreError, match="was changed since"):
        follow(point_to(250, bytes(range(250, 256)) + b"more"), outside)


def test_a_pointer_into_a_missing_file_is_refused(outside: OutsideFile) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        follow(point_to(0, b"a"), replace(outside, path=outside.path + ".gone"))


def test_what_is_no_pointer_is_refused(outside: OutsideFile) -> None:
    with pytest.raises(StoreError, match="a pointer has 20 bytes, and this has 5"):
        follow(b"bytes", outside)


def test_a_look_at_the_file_finds_that_it_moved_or_changed_its_size(outside: OutsideFile) -> None:
    assert outside.find_fault() is None
    assert "there is no file" in (replace(outside, path=outside.path + ".gone").find_fault() or "")
    assert "has 256 bytes now, and had 300" in (replace(outside, n_bytes=300).find_fault() or "")


def test_the_codec_survives_its_way_through_metadata(outside: OutsideFile) -> None:
    assert ByteRange.from_dict(ByteRange(outside).to_dict()) == ByteRange(outside)
    with pytest.raises(StoreError, match="is configured with"):
        ByteRange.from_dict({"name": BYTE_RANGE_CODEC})


def test_nothing_is_encoded_into_a_file_that_is_pointed_to(outside: OutsideFile) -> None:
    spec = ArraySpec((3,), UInt8(), np.uint8(0), ArrayConfig.from_dict({}), default_buffer_prototype())
    stream = default_buffer_prototype().buffer.from_bytes(b"a JPEG stream")
    with pytest.raises(StoreError, match="read only"):
        asyncio.run(ByteRange(outside).encode([(stream, spec)]))  # type: ignore[arg-type]


def test_the_entry_point_for_zarr_names_the_codec() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (value,) = (
        value for name, value in project["entry-points"]["zarr.codecs"].items() if name == BYTE_RANGE_CODEC
    )
    assert EntryPoint(BYTE_RANGE_CODEC, value, "zarr.codecs").load() is ByteRange
