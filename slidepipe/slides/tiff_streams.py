"""The compressed tiles of a TIFF slide as bytes: read with few calls, and proven to be whole without decoding.

A tile that is stored as it is, is looked at here only as far as its headers: does it begin and end as a JPEG stream
does, and are its pixels as many as the page says? That finds tiles that are cut short, overwritten or mixed up; a
flipped bit among the coefficients is found by nobody, since it decodes to other pixels without complaint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

END_OF_IMAGE = b"\xff\xd9"
LONGEST_PADDING = 16
"""Bytes that writers put after a tile to align the next one."""

_START_OF_IMAGE = b"\xff\xd8"
_FRAMES = range(0xC0, 0xC3)
"""Frame headers of the kinds that libjpeg decodes in 8 bits: baseline, extended and progressive."""
_SCAN = 0xDA
_BITS = 8
_LONGEST_GAP = 4096
"""Bytes between two wanted tiles that are read and thrown away, which is cheaper than a second call."""
_LONGEST_READ = 8 * 2**20

Range = tuple[int, int]
"""Offset and length in bytes."""


def read_ranges(file: int, ranges: Sequence[Range]) -> list[bytes]:
    """Read pieces of a file, neighbours with one call.

    Parameters
    ----------
    file
        Descriptor of the open file.
    ranges
        Offset and length of each piece. Pieces that follow each other in the file should follow each other here.

    Returns
    -------
    list of bytes
        The pieces, in the order of `ranges`; shorter than asked for where the file ends.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    pieces = []
    for run in _runs(ranges):
        start, end = run[0][0], run[-1][0] + run[-1][1]
        data = memoryview(_read_at(file, start, end - start))
        pieces += [bytes(data[offset - start : offset - start + length]) for offset, length in run]
    return pieces


def _runs(ranges: Sequence[Range]) -> Iterator[list[Range]]:
    """Group ranges that one call reads."""
    run: list[Range] = []
    for offset, length in ranges:
        if run:
            end = run[-1][0] + run[-1][1]
            if not (0 <= offset - end <= _LONGEST_GAP and offset + length - run[0][0] <= _LONGEST_READ):
                yield run
                run = []
        run.append((offset, length))
    if run:
        yield run


def _read_at(file: int, offset: int, length: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, length, offset)
    os.lseek(file, offset, os.SEEK_SET)  # Windows has no pread; a reader belongs to one thread
    return os.read(file, length)


def check_stream(data: bytes, tile_px: tuple[int, int], components: int) -> None:
    """Prove that a tile is a whole JPEG stream of the right size, without decoding it.

    Parameters
    ----------
    data
        The tile as it lies in the file; padding behind its end is allowed.
    tile_px
        Width and height that it should have.
    components
        Colour components that it should have.

    Raises
    ------
    ValueError
        If it does not begin or end like one, has no frame header of 8 bits, or another size.
    """
    if not data.startswith(_START_OF_IMAGE):
        raise ValueError("not a JPEG stream: it does not begin like one")
    check_end(data)
    found = _frame(data)
    if found is None:
        raise ValueError("a JPEG stream without the header of a frame that can be decoded")
    expected = (_BITS, tile_px[1], tile_px[0], components)
    if found != expected:
        raise ValueError(
            f"a JPEG stream of {found[2]} × {found[1]} px with {found[3]} × {found[0]} bits, but the tiles are "
            f"{expected[2]} × {expected[1]} px with {expected[3]} × {expected[0]} bits"
        )


def check_end(data: bytes) -> None:
    """Prove that a JPEG stream has its end.

    Parameters
    ----------
    data
        The tile as it lies in the file; padding behind its end is allowed.

    Raises
    ------
    ValueError
        If it was cut short.
    """
    if END_OF_IMAGE not in data[-LONGEST_PADDING:]:
        raise ValueError("premature end of the JPEG stream")


def _frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Find bits, height, width and components in the header of the frame (ITU T.81, B.2.2)."""
    at = len(_START_OF_IMAGE)
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        marker = data[at + 1]
        if marker == 0xFF:  # markers may be preceded by any number of these
            at += 1
            continue
        if marker in _FRAMES:
            height, width = (int.from_bytes(data[at + side : at + side + 2], "big") for side in (5, 7))
            return data[at + 4], height, width, data[at + 9]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
