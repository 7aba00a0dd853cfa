"""Open slides that are kept for the next task: opening costs more than reading a tile.

Each thread of each process keeps its own few, because a reader belongs to one thread and no handle survives a fork.
The oldest is closed when there are too many: libraries keep caches of tens of megabytes per slide.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slidepipe.slides.names import is_url
from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import SlideReader, SlideSource

OPEN_SLIDES = 8
"""Slides that a thread keeps open. A worker works on one slide at a time, seldom on two; a cache of open slides only
has to outlive the tasks that alternate between them."""

_Key = tuple[int, SlideSource, tuple[int, int, int] | None]


@dataclass(slots=True)
class _Loan:
    """A reader and how many blocks use it right now: borrowing may be nested."""

    reader: SlideReader
    borrowers: int = 0


class _Shelf(threading.local):
    """Readers of this thread, the one used longest ago first."""

    def __init__(self) -> None:
        self.loans: OrderedDict[_Key, _Loan] = OrderedDict()


_shelf = _Shelf()


@contextmanager
def borrow_slide(source: SlideSource) -> Iterator[SlideReader]:
    """Lend an open slide.

    Parameters
    ----------
    source
        The slide. A file that was replaced since counts as another slide.

    Yields
    ------
    SlideReader
        Open, not to be closed, of no use after the block. If the block raises anything, the reader is closed and the
        next borrower gets a fresh one: a library that failed once is not trusted again.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    SlideError
        For the reasons of `slidepipe.slides.opening.open_slide`.
    """
    loans = _shelf.loans
    key = _key(source)
    if key not in loans:
        loans[key] = _Loan(open_slide(source))
    loans.move_to_end(key)
    loan = loans[key]
    loan.borrowers += 1
    _close_idle(loans, keep=OPEN_SLIDES)
    try:
        yield loan.reader
    except BaseException:
        if loans.get(key) is loan:
            del loans[key]
        raise
    finally:
        loan.borrowers -= 1
        if loan.borrowers == 0 and loans.get(key) is not loan:
            loan.reader.close()


def close_borrowed() -> None:
    """Close the slides that this thread keeps open and nobody uses, for example before their files are replaced."""
    _close_idle(_shelf.loans, keep=0)


def _key(source: SlideSource) -> _Key:
    if is_url(source.path):
        return (os.getpid(), source, None)
    status = Path(source.path).stat()
    return (os.getpid(), source, (status.st_ino, status.st_size, status.st_mtime_ns))


def _close_idle(loans: OrderedDict[_Key, _Loan], keep: int) -> None:
    for key, loan in list(loans.items()):
        if len(loans) <= keep:
            return
        if loan.borrowers == 0:
            if key[0] == os.getpid():
                loan.reader.close()
            del loans[key]
