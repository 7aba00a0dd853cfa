"""JPEG streams without what is not picture: comments, camera data and whatever follows the end.

A tile that is copied as it is takes its segments along, and scanners have been seen to write texts there. Which
segments there are: ITU-T T.81, annex B; what APP0 (JFIF) and APP14 (Adobe) say of the colours is needed for decoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SOI, _EOI, _SOS, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_TEXTS = frozenset({_COMMENT, *range(0xE1, 0xF0)} - {0xEE})
"""Comments and application data, but for those that say what the colours mean."""

_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The first marker after compressed data: not a stuffed 0xFF, not a restart, not a fill byte."""


def without_texts(stream: bytes) -> bytes:
    """Take out of a JPEG stream all segments that are not needed to decode it.

    Parameters
    ----------
    stream
        A whole JPEG stream, or the tables of a TIFF file (``JPEGTables``); nothing at all stays nothing.

    Returns
    -------
    bytes
        The same picture, up to its end-of-image marker; `stream` itself where there is nothing to take out.

    Raises
    ------
    ValueError
        If the segments do not follow each other as they do in a JPEG stream.
    """
    if not stream:
        return stream
    kept = [stream[start:end] for marker, start, end in _segments(stream) if marker not in _TEXTS]
    return stream if sum(map(len, kept)) == len(stream) else b"".join(kept)


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Give marker, start and end of each segment; compressed data belong to the start-of-scan before them.

    Raises
    ------
    ValueError
        If the segments do not follow each other.
    """
    if stream[:2] != bytes((0xFF, _SOI)):
        raise ValueError("a JPEG stream begins with FF D8")
    yield _SOI, 0, 2
    at = 2
    while True:
        start = at
        while stream[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 2 > len(stream) or stream[at] != 0xFF:
            raise ValueError(f"a segment was expected at byte {at} of {len(stream)}")
        marker = stream[at + 1]
        if marker == _EOI:
            yield marker, start, at + 2
            return
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(stream):
            raise ValueError(f"the segment at byte {at} reaches beyond the {len(stream)} bytes")
        if marker == _SOS:
            following = _AFTER_SCAN.search(stream, end)
            if following is None:
                raise ValueError("the stream has no end-of-image marker")
            end = following.start()
        yield marker, start, end
        at = end
