"""Compressed tiles are read in few calls and seen to be whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from slidepipe.slides import tiff_streams
from slidepipe.slides.tiff_streams import check_stream, read_ranges


def _stream(width: int = 48, height: int = 32, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return bytes(imagecodecs.jpeg8_encode(pixels, level=80, **options))


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


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 14])
def test_a_whole_stream_passes(subsampling: str, padding: bytes) -> None:
    check_stream(_stream(subsampling=subsampling) + padding, (48, 32), 3)


def test_markers_may_be_preceded_by_filling() -> None:
    stream = _stream()
    check_stream(stream[:2] + b"\xff\xff" + stream[2:], (48, 32), 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "does not begin"),
        (lambda data: bytes(len(data)), "does not begin"),
        (lambda data: data[:-2], "premature end"),
        (lambda data: data[: len(data) // 2], "premature end"),
        (lambda data: data + bytes(100), "premature end"),
        (lambda data: data[:2] + data[-2:], "without the header of a frame"),
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xc3"), "without the header of a frame"),
        (lambda data: data.replace(b"\xff\xc0", b"\x00\xc0"), "without the header of a frame"),
        (lambda data: _stream(32, 48), "32 × 48 px with 3 × 8 bits, but the tiles are 48 × 32 px"),
    ],
)
def test_what_is_no_whole_tile_is_found(spoil: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_stream(spoil(_stream()), (48, 32), 3)


def test_grey_is_not_taken_for_colour() -> None:
    grey = bytes(imagecodecs.jpeg8_encode(np.zeros((32, 48), np.uint8), level=80))
    with pytest.raises(ValueError, match="1 × 8 bits"):
        check_stream(grey, (48, 32), 3)
    check_stream(grey, (48, 32), 1)
