"""Tiles are seen to be whole JPEG streams, or seen to be none, without being decoded."""

from __future__ import annotations

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from slidepipe.slides.jpeg_checks import StreamCheck

_PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
_COMMENT = b"\xff\xfe\x00\x0aJane Doe"


def _stream(width: int = 48, height: int = 32, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return bytes(imagecodecs.jpeg8_encode(pixels, level=80, **options))


def _pillow(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_PIXELS).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _whole(data: bytes, components: int = 3) -> bytes:
    return StreamCheck((48, 32), components).whole(data)


def _in_scan(stream: bytes, at: int, value: bytes) -> bytes:
    """Overwrite compressed data."""
    start = stream.index(b"\xff\xda") + 14 + at
    return stream[:start] + value + stream[start + len(value) :]


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 14])
def test_a_whole_stream_passes_without_its_padding(subsampling: str, padding: bytes) -> None:
    stream = _stream(subsampling=subsampling)
    assert _whole(stream + padding) == stream


def test_a_stream_with_nothing_to_take_off_is_not_copied() -> None:
    stream = _stream()
    assert _whole(stream) is stream


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_texts_are_taken_out_of_streams_of_all_kinds(options: dict[str, object], subsampling: int) -> None:
    stream = _pillow(subsampling=subsampling, **options)
    assert _whole(stream) is stream
    assert _whole(stream[:2] + _COMMENT + stream[2:]) == stream


def test_every_tile_is_looked_at_whatever_the_ones_before_it_were() -> None:
    check = StreamCheck((48, 32), 3)
    one, other = _stream(), _stream(subsampling="420")
    for stream in (one, one, other, one):
        assert check.whole(stream) == stream
        assert check.whole(stream[:2] + _COMMENT + stream[2:]) == stream
        with pytest.raises(ValueError, match="32 × 48 px"):
            check.whole(_stream(32, 48))


def test_markers_may_be_preceded_by_filling() -> None:
    stream = _stream()
    filled = stream[:2] + b"\xff\xff" + stream[2:-2] + b"\xff\xff" + stream[-2:]
    assert _whole(filled) == filled


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "begins with FF D8"),
        (lambda data: bytes(len(data)), "begins with FF D8"),
        (lambda data: data[:-2], "premature end"),
        (lambda data: data[: len(data) // 2], "premature end"),
        (lambda data: data[: data.index(b"\xff\xda") + 14], "premature end"),
        (lambda data: data + bytes(100), "premature end"),
        (lambda data: _in_scan(data, 100, b"\xff\xd9"), "premature end"),
        (lambda data: data[:2] + data[-2:], "without the header of a frame"),
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xc3"), "without the header of a frame"),
        (lambda data: data.replace(b"\xff\xc0", b"\x00\xc0"), "a segment was expected"),
        (lambda data: data.replace(b"\xff\xc0\x00\x11", b"\xff\xc0\x00\x07"), "broken header|segment"),
        (lambda data: _stream(32, 48), "32 × 48 px with 3 × 8 bits, but the tiles are 48 × 32 px"),
    ],
)
def test_what_is_no_whole_tile_is_found(spoil: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _whole(spoil(_stream()))


@pytest.mark.parametrize("marker", [0x01, 0x4F, 0xC4, 0xD0, 0xD7, 0xDA, 0xE1, 0xFE])
def test_a_marker_among_the_compressed_data_is_found(marker: int) -> None:
    with pytest.raises(ValueError, match=f"marker FF {marker:02X} among the compressed data, at byte"):
        _whole(_in_scan(_stream(), 100, bytes((0xFF, marker))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"\xff\xd1", b"\xfe\xd1"),
        lambda data: data.replace(b"\xff\xd1", b"\xff\xd3"),
        lambda data: data.replace(b"\xff\xd0", b"\xff\x00"),
        lambda data: _in_scan(data, 30, b"\xff\xd0"),
        lambda data: data[:-2] + b"\xff\xd7\xff\xd9",
    ],
    ids=["lost", "wrong number", "first lost", "one too many", "one too many at the end"],
)
def test_restart_markers_are_counted(spoil: Callable[[bytes], bytes]) -> None:
    stream = _pillow(restart_marker_rows=1, subsampling=0)
    assert stream.count(b"\xff\xd2") == 1
    assert _whole(stream) is stream
    with pytest.raises(ValueError, match="the 3 restart markers are not all there and in order"):
        _whole(spoil(stream))


def test_grey_is_not_taken_for_colour() -> None:
    grey = bytes(imagecodecs.jpeg8_encode(_PIXELS[..., 0].copy(), level=80))
    with pytest.raises(ValueError, match="1 × 8 bits"):
        _whole(grey)
    assert _whole(grey, components=1) is grey


def test_flipped_bits_are_found_where_they_break_the_structure_and_only_there() -> None:
    """Bits of one stream are flipped one by one; what passes must still be a picture of this size to libjpeg."""
    stream = _stream()
    scan = stream.index(b"\xff\xda") + 14
    found = 0
    for bit in range(0, 8 * (len(stream) - scan), 5):
        data = bytearray(stream)
        data[scan + bit // 8] ^= 1 << bit % 8
        try:
            _whole(bytes(data))
        except ValueError:
            found += 1
        else:
            assert imagecodecs.jpeg8_decode(bytes(data)).shape == (32, 48, 3)
    assert found > 0
