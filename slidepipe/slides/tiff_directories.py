"""Whether the directories of a TIFF file can be read at all: looked at before any library does.

A TIFF file is a chain of directories, each a list of tags, each of which says how many values it has and where they
lie. Nothing stops a damaged file from making the chain a circle, or a tag as long as memory: libraries follow both.
Here only the numbers are read, a few kilobytes of any file, and what no slide has is refused. Everything else that may
be wrong is left to the libraries, which notice it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from slidepipe.errors import SlideFormatError
from slidepipe.geometry import ceil_div

MOST_DIRECTORIES = 4096
"""Directories that a slide may have; Philips files have a dozen, files of many focal planes some hundred."""

_MOST_TAGS = 4096
_NDPI = 65420
"""Mark of Hamamatsu's files, whose links have 8 bytes although all else is as in classic TIFF."""
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_CLASSIC, _BIG = 42, 43
_BYTES_OF_TYPE = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""TIFF 6.0, section 2, and BigTIFF. What has another type is ignored by those who read it."""


_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 256, 257, 322, 323, 324
_WHOLE_NUMBERS = {1, 3, 4, 16}

_TagEntry = tuple[int, int, int, int]
"""Code, type, count, and the value or where it lies."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are packed: the two kinds of TIFF differ in the size of offsets and counts."""

    order: str
    offset: str
    number: str
    """Of tags in a directory."""
    first_link: int
    """Where the offset of the first directory stands."""

    @property
    def tag(self) -> struct.Struct:
        """Code, type, count, and value or offset."""
        return struct.Struct(f"{self.order}HH{self.offset}{self.offset}")


def check_directories(file: BinaryIO, slide_id: str) -> None:
    """Refuse a TIFF file whose directories no library should be sent into.

    Parameters
    ----------
    file
        The file, open for reading; its position is changed. A file that is not TIFF is left to others.
    slide_id
        Named in messages.

    Raises
    ------
    SlideFormatError
        If a directory leads back to one before it, there are more than `MOST_DIRECTORIES`, the values of a
        directory's tags would be longer than the file, or the first has fewer tiles than its size asks for.
    """
    size = file.seek(0, 2)
    layout = _layout(file)
    if layout is None:
        return
    seen: set[int] = set()
    at = _offset_at(file, layout.first_link, layout.order + layout.offset)
    link_form = layout.order + layout.offset
    while 0 < at < size:
        if at in seen:
            raise SlideFormatError(
                f"slide {slide_id}: the TIFF directory at byte {at} comes again after {len(seen)} others, so the file "
                "has no end: it is damaged, fetch it again"
            )
        seen.add(at)
        if len(seen) > MOST_DIRECTORIES:
            raise SlideFormatError(
                f"slide {slide_id}: the TIFF file has more than {MOST_DIRECTORIES} directories, which no slide has"
            )
        tags = _read_tags(file, at, layout)
        if tags is None:
            return
        _check_lengths(tags, at, size, slide_id)
        if len(seen) == 1:
            _check_tiles(tags, layout, slide_id)
        if any(code == _NDPI for code, _, _, _ in tags):
            link_form = f"{layout.order}Q"
        at = _offset_at(file, file.tell(), link_form)


def _layout(file: BinaryIO) -> _Layout | None:
    file.seek(0)
    head = file.read(4)
    order = _BYTE_ORDERS.get(head[:2])
    if order is None or len(head) < len(b"II**"):
        return None
    version = struct.unpack(f"{order}H", head[2:])[0]
    return {_CLASSIC: _Layout(order, "I", "H", 4), _BIG: _Layout(order, "Q", "Q", 8)}.get(version)


def _offset_at(file: BinaryIO, place: int, form: str) -> int:
    """Read an offset; 0, the end of the chain, where the file ends before."""
    file.seek(place)
    data = file.read(struct.calcsize(form))
    return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else 0


def _read_tags(file: BinaryIO, at: int, layout: _Layout) -> list[_TagEntry] | None:
    """Read code, type, count and value of each tag, and stop behind them; None if there is no directory here."""
    number, tag = struct.Struct(layout.order + layout.number), layout.tag
    file.seek(at)
    data = file.read(number.size)
    n_tags = int(number.unpack(data)[0]) if len(data) == number.size else _MOST_TAGS + 1
    if n_tags > _MOST_TAGS:
        return None
    data = file.read(n_tags * tag.size)
    return list(tag.iter_unpack(data)) if len(data) == n_tags * tag.size else None


def _check_lengths(tags: list[_TagEntry], at: int, size: int, slide_id: str) -> None:
    # A value that does not fit into the file is read by nobody, so only those that do are counted.
    lengths = (_BYTES_OF_TYPE.get(kind, 0) * count for _, kind, count, _ in tags)
    total = sum(length for length in lengths if length <= size)
    if total > size:
        raise SlideFormatError(
            f"slide {slide_id}: the tags of the TIFF directory at byte {at} hold {total} bytes, more than the {size} "
            "of the file: it is damaged, fetch it again"
        )


def _check_tiles(tags: list[_TagEntry], layout: _Layout, slide_id: str) -> None:
    """Refuse a size that the table of tiles does not bear out: a day's work for what is a flipped bit.

    Raises
    ------
    SlideFormatError
        If there are fewer tiles than the size asks for, or they have no size.
    """
    numbers = {code: _inline_number(kind, value, layout) for code, kind, count, value in tags if count == 1}
    sides = [numbers.get(code) for code in (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT)]
    listed = next((count for code, _, count, _ in tags if code == _TILE_OFFSETS), None)
    if listed is None or any(side is None for side in sides):
        return
    width, height, tile_width, tile_height = (side or 0 for side in sides)
    if not tile_width or not tile_height:
        raise SlideFormatError(f"slide {slide_id}: the file has tiles of {tile_width} × {tile_height} px")
    needed = ceil_div(width, tile_width) * ceil_div(height, tile_height)
    if listed < needed:
        raise SlideFormatError(
            f"slide {slide_id}: {width} × {height} px in tiles of {tile_width} × {tile_height} px are {needed} tiles, "
            f"and the file lists {listed}: it is damaged, fetch it again"
        )


def _inline_number(kind: int, value: int, layout: _Layout) -> int | None:
    """Undo that a value shorter than the field stands at the field's beginning."""
    length = _BYTES_OF_TYPE.get(kind, 0)
    field = struct.calcsize(layout.order + layout.offset)
    if kind not in _WHOLE_NUMBERS or length > field:
        return None
    return value & (2 ** (8 * length) - 1) if layout.order == "<" else value >> 8 * (field - length)
