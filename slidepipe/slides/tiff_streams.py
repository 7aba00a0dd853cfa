"""The compressed tiles of a TIFF slide as bytes, read with few calls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from slidepipe.storage.ranged_reading import Range
from slidepipe.storage.remote import RemotePath

_LONGEST_GAP = 4096
"""Bytes between two wanted tiles that are read and thrown away, which is cheaper than a second call."""
_LONGEST_READ = 8 * 2**20


def read_ranges(file: int | RemotePath, ranges: Sequence[Range]) -> list[bytes]:
    """Read pieces of a file, neighbours with one call.

    Parameters
    ----------
    file
        Descriptor of the open file, or address of an object in a store.
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
    ObjectStoreError
        If the object store cannot be reached, or refuses.
    """
    if isinstance(file, RemotePath):
        return file.read_ranges(ranges)
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
