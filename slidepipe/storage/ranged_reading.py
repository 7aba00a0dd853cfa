"""Byte ranges of an object: which of them one request fetches, and a file that is made of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

Range = tuple[int, int]
"""Offset and length in bytes."""

_LONGEST_GAP = 2**18
"""Bytes between two wanted ranges that are fetched and thrown away: a request costs as much time as this many bytes."""
_LONGEST_READ = 8 * 2**20


def merged(ranges: Sequence[Range]) -> list[tuple[int, int]]:
    """Say what single requests fetch so that every range lies in one of them.

    Parameters
    ----------
    ranges
        Offset and length of each, in any order; empty ones need no request.

    Returns
    -------
    list of tuple
        Start and end of each request, by start. The last one that starts at or before a range holds all of it.
    """
    runs: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        end = offset + length
        if not length:
            continue
        if (
            runs
            and offset <= runs[-1][1] + _LONGEST_GAP
            and max(end, runs[-1][1]) - runs[-1][0] <= _LONGEST_READ
        ):
            runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
        else:
            runs.append((offset, end))
    return runs


class RangedFile(io.RawIOBase):
    """An object as a file that is read here and there; `io.BufferedReader` makes large requests of small ones.

    The size is asked for only if it is needed: a small object, read from its beginning, costs one request.

    Parameters
    ----------
    read
        Reads so many bytes from an offset, fewer where the object ends.
    ask_size
        Tells how many bytes there are.
    """

    def __init__(self, read: Callable[[int, int], bytes], ask_size: Callable[[], int]) -> None:
        self._read = read
        self._ask_size = ask_size
        self._size: int | None = None
        self._at = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return where the next byte comes from."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; see `io.IOBase.seek`."""
        if whence == io.SEEK_END and self._size is None:
            self._size = self._ask_size()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size or 0}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with one request; see `io.RawIOBase.readinto`."""
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Read to the end."""
        pieces = []
        while data := self._next(_LONGEST_READ):
            pieces.append(data)
        return b"".join(pieces)

    def _next(self, length: int) -> bytes:
        if self._size is not None and self._at >= self._size:
            return b""
        data = self._read(self._at, length)
        self._at += len(data)
        if len(data) < length:
            self._size = self._at
        return data
