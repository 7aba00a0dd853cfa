"""The segments of JPEG streams, and streams without what is not picture: comments, camera data, what follows the end.

A tile that is copied as it is takes its segments along, and scanners have been seen to write texts there. Which
segments there are: ITU-T T.81, annex B; what APP0 (JFIF) and APP14 (Adobe) say of the colours is needed for decoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SOI, EOI, SOS, DRI = 0xD8, 0xD9, 0xDA, 0xDD
"""Start and end of the image, start of a scan, restart interval."""
COMPRESSED = 0
"""Stands for the marker of compressed data, which have none."""
TEXTS = frozenset({0xFE, *range(0xE1, 0xF0)} - {0xEE})
"""Comments and application data, but for those that say what the colours mean."""

_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The first marker after compressed data: not a stuffed 0xFF, not a restart, not a fill byte."""

Segment = tuple[int, int, int]
"""Marker, start and end. Fill bytes before a marker belong to its segment."""


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
    kept = [stream[start:end] for marker, start, end in segments(stream) if marker not in TEXTS]
    return stream if sum(map(len, kept)) == len(stream) else b"".join(kept)


def segments(stream: bytes) -> Iterator[Segment]:
    """Find the segments of a JPEG stream, compressed data among them.

    Parameters
    ----------
    stream
        The stream; what follows its end-of-image marker is not looked at.

    Yields
    ------
    tuple
        Marker, start and end of each segment, in order; each is looked for when it is asked for.

    Raises
    ------
    ValueError
        If the segments do not follow each other.
    """
    if stream[:2] != bytes((0xFF, SOI)):
        raise ValueError("a JPEG stream begins with FF D8")
    yield SOI, 0, 2
    at = 2
    while True:
        start = at
        while stream[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 2 > len(stream) or stream[at] != 0xFF:
            raise ValueError(f"a segment was expected at byte {at} of {len(stream)}")
        marker = stream[at + 1]
        if marker == EOI:
            yield marker, start, at + 2
            return
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(stream):
            raise ValueError(f"the segment at byte {at} reaches beyond the {len(stream)} bytes")
        yield marker, start, end
        at = end
        if marker == SOS:
            following = _AFTER_SCAN.search(stream, at)
            if following is None:
                raise ValueError("premature end of the JPEG stream")
            yield COMPRESSED, at, following.start()
            at = following.start()
