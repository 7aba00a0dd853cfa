"""Broken slides, made from whole ones: cut short, bytes flipped, sizes absurd, directories in circles, tiles gone.

Which bytes are changed follows from the slide's bytes and a number alone, so that every run makes the same files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, COMPRESSION, DESCRIPTION, SAMPLES = 256, 257, 259, 270, 277
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_LENGTHS = 322, 323, 324, 325

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 12: 8, 13: 4, 16: 8, 18: 8}
_KINDS = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken slide."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class _Tag:
    """Where a tag of a directory lies in the file."""

    entry: int
    kind: int
    count: int
    place: int
    """Of the value, or of the first one."""


@dataclass(frozen=True, slots=True)
class _Tiff:
    """Where the directories of a little-endian TIFF file lie."""

    is_big: bool
    directories: tuple[int, ...]
    links: tuple[int, ...]
    """Place of the offset that leads to each directory; one more, which is zero, behind the last."""
    tags: tuple[dict[int, _Tag], ...]

    @property
    def offset(self) -> str:
        """How offsets and counts are packed."""
        return "<Q" if self.is_big else "<I"

    @property
    def entry_bytes(self) -> int:
        """Size of a tag in its directory."""
        return 20 if self.is_big else 12


def _parse(content: bytes) -> _Tiff:
    is_big = struct.unpack_from("<H", content, 2)[0] == 43
    offset, number, size = ("<Q", "<Q", 8) if is_big else ("<I", "<H", 2)
    link = 8 if is_big else 4
    links, directories, tags = [link], [], []
    while at := struct.unpack_from(offset, content, link)[0]:
        directories.append(at)
        count = struct.unpack_from(number, content, at)[0]
        entry_bytes, value_at = (20, 12) if is_big else (12, 8)
        found = {}
        for entry in range(at + size, at + size + count * entry_bytes, entry_bytes):
            code, kind = struct.unpack_from("<HH", content, entry)
            length = struct.unpack_from(offset, content, entry + 4)[0]
            is_inside = length * _SIZES[kind] <= struct.calcsize(offset)
            place = (
                entry + value_at if is_inside else struct.unpack_from(offset, content, entry + value_at)[0]
            )
            found[code] = _Tag(entry, kind, length, place)
        tags.append(found)
        link = at + size + count * entry_bytes
        links.append(link)
    return _Tiff(is_big, tuple(directories), tuple(links), tuple(tags))


def tiff_mutants(name: str, content: bytes) -> Iterator[Mutant]:
    """Break a TIFF slide in every way of this module.

    Parameters
    ----------
    name
        Beginning of the names.
    content
        The whole slide.

    Yields
    ------
    Mutant
        About fifty.
    """
    tiff = _parse(content)
    random = np.random.default_rng(len(content))
    for way, changes in {
        "size": _absurd_sizes(tiff),
        "loop": _loops(tiff),
        "tile-table": _tile_tables(tiff),
        "tag": _damaged_tags(tiff, random),
    }.items():
        for number, change in enumerate(changes):
            broken = bytearray(content)
            change(broken)
            yield Mutant(f"{name}-{way}-{number:02}", bytes(broken))
    yield from cut_short(name, content)
    yield from flipped(f"{name}-header", content, range(8 if not tiff.is_big else 16), 6, 1)
    for page, at in enumerate(tiff.directories[:3]):
        stop = tiff.links[page + 1] + struct.calcsize(tiff.offset)
        yield from flipped(f"{name}-directory{page}", content, range(at, min(stop, len(content))), 3, 3)
    offsets, lengths = tiff.tags[0][TILE_OFFSETS], tiff.tags[0][TILE_LENGTHS]
    table = range(offsets.place, offsets.place + offsets.count * _SIZES[offsets.kind])
    yield from flipped(f"{name}-tile-offsets", content, table, 3, 2)
    table = range(lengths.place, lengths.place + lengths.count * _SIZES[lengths.kind])
    yield from flipped(f"{name}-tile-lengths", content, table, 3, 2)
    yield from flipped(f"{name}-everywhere", content, range(len(content)), 6, 40)


def cut_short(name: str, content: bytes) -> Iterator[Mutant]:
    """Cut a file short.

    Parameters
    ----------
    name
        Beginning of the names.
    content
        The whole file.

    Yields
    ------
    Mutant
        From one byte to all but one.
    """
    lengths = (1, 4, 16, 64, len(content) // 8, len(content) // 3, len(content) * 3 // 4, len(content) - 1)
    for length in lengths:
        yield Mutant(f"{name}-cut-{length}", content[:length])


def flipped(name: str, content: bytes, where: range, files: int, bytes_each: int) -> Iterator[Mutant]:
    """Replace bytes by others.

    Parameters
    ----------
    name
        Beginning of the names.
    content
        The whole file.
    where
        Places that may be hit.
    files
        How many mutants.
    bytes_each
        How many bytes of each.

    Yields
    ------
    Mutant
        Of the same length.
    """
    for number in range(files):
        random = np.random.default_rng([number, len(where), len(content)])
        broken = bytearray(content)
        for place in random.integers(where.start, where.stop, bytes_each).tolist():
            broken[place] ^= int(random.integers(1, 256))
        yield Mutant(f"{name}-flip-{number}", bytes(broken))


_Change = Callable[[bytearray], None]


def _set(tag: _Tag, value: int, index: int = 0) -> _Change:
    """Set a value to the nearest that its type can hold."""
    size = _SIZES[tag.kind]
    largest = 2 ** (8 * size) - 1

    def change(broken: bytearray) -> None:
        struct.pack_into("<" + _KINDS[tag.kind], broken, tag.place + index * size, min(value, largest))

    return change


def _both(*changes: _Change) -> _Change:
    def change(broken: bytearray) -> None:
        for each in changes:
            each(broken)

    return change


def _widened(tag: _Tag, value: int) -> _Change:
    """Make a number of 16 bits one of 32, and set it."""

    def change(broken: bytearray) -> None:
        struct.pack_into("<H", broken, tag.entry + 2, 4)
        struct.pack_into("<I", broken, tag.place, value)

    return change


def _absurd_sizes(tiff: _Tiff) -> list[_Change]:
    first, last = tiff.tags[0], tiff.tags[-1]
    sizes = [0, 1, 2**20, 2**31 - 1, 2**31, 2**32 - 1]
    changes = [_both(_widened(first[WIDTH], size), _widened(first[HEIGHT], size)) for size in sizes]
    changes += [_widened(first[WIDTH], 2**31), _widened(first[HEIGHT], 2**20), _widened(last[WIDTH], 2**30)]
    tiles = [0, 1, 16, 2**15, 2**31]
    return changes + [
        _both(_widened(first[TILE_WIDTH], size), _widened(first[TILE_HEIGHT], size)) for size in tiles
    ]


def _loops(tiff: _Tiff) -> list[_Change]:
    def link(place: int, target: int) -> _Change:
        return lambda broken: struct.pack_into(tiff.offset, broken, place, target)

    first, last, end = tiff.directories[0], tiff.directories[-1], tiff.links[-1]
    targets = (first, last, end, 2**31, 3)
    return [*(link(end, target) for target in targets), link(tiff.links[1], first), link(tiff.links[0], 2)]


def _tile_tables(tiff: _Tiff) -> list[_Change]:
    offsets, lengths = tiff.tags[0][TILE_OFFSETS], tiff.tags[0][TILE_LENGTHS]

    def every(tag: _Tag, value: int) -> _Change:
        return _both(*(_set(tag, value, index) for index in range(tag.count)))

    def count(tag: _Tag, number: int) -> _Change:
        return lambda broken: struct.pack_into(tiff.offset, broken, tag.entry + 4, number)

    return [
        every(lengths, 0),
        every(offsets, 0),
        every(offsets, 2**31),
        every(offsets, 8),
        every(lengths, 2**31),
        every(lengths, 1),
        _both(count(offsets, 0), count(lengths, 0)),
        count(offsets, 2**31),
        _both(count(offsets, 2**32 - 1), count(lengths, 2**32 - 1)),
        count(lengths, 1),
    ]


def _damaged_tags(tiff: _Tiff, random: np.random.Generator) -> list[_Change]:
    """Set type, count or value of a tag to something else."""

    def damage(tag: _Tag, field: int, value: int) -> _Change:
        form = "<H" if field < 4 else tiff.offset
        return lambda broken: struct.pack_into(
            form, broken, tag.entry + field, value % 2 ** (8 * struct.calcsize(form))
        )

    changes = []
    for _ in range(12):
        tags = tiff.tags[random.integers(len(tiff.tags))]
        tag = tags[sorted(tags)[random.integers(len(tags))]]
        field = int(random.choice([0, 2, 4, 12 if tiff.is_big else 8]))
        changes.append(damage(tag, field, int(random.choice([0, 1, 7, 255, 2**16 - 1, 2**31, 2**32 - 1]))))
    return changes
