"""Compressed tiles are read in few calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slidepipe.slides import tiff_streams
from slidepipe.slides.tiff_streams import read_ranges


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file of 20,000 bytes that tell where they are."""
    (tmp_path / "a").write_bytes(bytes(n // 100 for n in range(20_000)))
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_pieces_come_in_the_order_asked_for_whatever_their_place(file: int) -> None:
    ranges = [(300, 200), (500, 10), (520, 5), (100, 100), (0, 0), (15_000, 50), (15_040, 20)]
    expected = [bytes(n // 100 for n in range(at, at + length)) for at, length in ranges]
    assert read_ranges(file, ranges) == expected


def test_neighbours_are_read_with_one_call(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def count(descriptor: int, offset: int, length: int) -> bytes:
        calls.append((offset, length))
        return os.pread(descriptor, length, offset)

    monkeypatch.setattr(tiff_streams, "_read_at", count)
    read_ranges(file, [(0, 100), (100, 100), (216, 100), (12_000, 10), (12_010, 5)])
    assert calls == [(0, 316), (12_000, 15)]


def test_pieces_beyond_the_end_of_the_file_are_short(file: int) -> None:
    assert [len(piece) for piece in read_ranges(file, [(19_900, 60), (19_960, 60), (20_020, 60)])] == [
        60,
        40,
        0,
    ]
