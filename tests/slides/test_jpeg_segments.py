"""What is not picture is taken out of JPEG streams, and nothing else."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from slidepipe.slides.jpeg_segments import without_texts

_PIXELS = np.random.default_rng(2).integers(0, 256, (64, 48, 3)).astype(np.uint8)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def _encode(colours: str = "YCBCR") -> bytes:
    return bytes(imagecodecs.jpeg8_encode(_PIXELS, level=90, colorspace="RGB", outcolorspace=colours))


@pytest.mark.parametrize("colours", ["YCBCR", "RGB"])
@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xE2, 0xED, 0xEF])
def test_texts_are_taken_out_and_the_picture_stays(marker: int, colours: str) -> None:
    stream = _encode(colours)
    planted = stream[:2] + _segment(marker, b"Jane Doe \xff\xd9") + stream[2:]
    assert without_texts(planted) == stream
    assert (imagecodecs.jpeg8_decode(stream) == imagecodecs.jpeg8_decode(planted)).all()


@pytest.mark.parametrize("colours", ["YCBCR", "RGB"])
def test_a_stream_without_texts_is_given_back_as_it_is(colours: str) -> None:
    stream = _encode(colours)
    assert without_texts(stream) is stream
    assert b"JFIF" in stream or b"Adobe" in stream


def test_what_follows_the_end_is_taken_off() -> None:
    assert without_texts(_encode() + b"Jane Doe") == _encode()


def test_texts_between_the_scans_of_a_progressive_picture_are_found() -> None:
    buffer = io.BytesIO()
    Image.fromarray(_PIXELS).save(buffer, "JPEG", progressive=True)
    stream = buffer.getvalue()
    second = stream.index(b"\xff\xda", stream.index(b"\xff\xda") + 2)
    planted = stream[:second] + _segment(0xFE, b"Jane Doe") + stream[second:]
    assert without_texts(planted) == stream


def test_tables_alone_are_a_stream() -> None:
    tables = b"\xff\xd8" + _segment(0xDB, bytes(65)) + b"\xff\xd9"
    assert without_texts(tables) is tables
    assert without_texts(tables[:2] + _segment(0xFE, b"Jane") + tables[2:]) == tables
    assert without_texts(b"") == b""


@pytest.mark.parametrize("stream", [b"no JPEG", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xdb\x00\x09ab",
                                    b"\xff\xd8\xff\xda\x00\x02abc", b"\xff\xd8\xff\xdb\x00\x00"])  # fmt: skip
def test_a_broken_stream_is_not_guessed_at(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"JPEG|segment|stream"):
        without_texts(stream)
