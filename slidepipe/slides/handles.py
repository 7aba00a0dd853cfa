"""Open slides that are kept for the next task: opening costs more than reading a tile.

Each thread of each process keeps its own few, because a reader belongs to one thread and no handle survives a fork.
The oldest is closed when there are too many: libraries keep caches of tens of megabytes per slide.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import SlideReader, SlideSource
from slidepipe.storage.locations import is_url

OPEN_SLIDES = 8
"""Slides that a thread keeps open. A worker works on one slide at a time, seldom on two; a cache of open slides only
has to outlive the tasks that alternate between them."""

_Key = tuple[int, SlideSource, tuple[int, int, int] | None]


@dataclass(slots=True)
class _Loan:
    """A reader and how many blocks use it right now: borrowing may be nested."""

    reader: SlideReader
    borrowers: int = 0


_Loans = OrderedDict[_Key, _Loan]
"""Readers of one thread, the one used longest ago first."""


class _Shelf(threading.local):
    """Readers of this thread."""

    def __init__(self) -> None:
        self.loans = _Loans()
        with _guard:
            _all_loans[id(self.loans)] = self.loans


_guard = threading.RLock()
"""Held while readers are put on a shelf or taken from it, since `close_slides_in` looks at those of all threads."""
_all_loans: weakref.WeakValueDictionary[int, _Loans] = weakref.WeakValueDictionary()
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
    loan = _take(loans, key) or _put(loans, key, _Loan(open_slide(source)))
    try:
        yield loan.reader
    except BaseException:
        with _guard:
            if loans.get(key) is loan:
                del loans[key]
        raise
    finally:
        with _guard:
            loan.borrowers -= 1
            if loan.borrowers == 0 and loans.get(key) is not loan:
                loan.reader.close()


def _take(loans: _Loans, key: _Key) -> _Loan | None:
    with _guard:
        loan = loans.get(key)
        return None if loan is None else _put(loans, key, loan)


def _put(loans: _Loans, key: _Key, loan: _Loan) -> _Loan:
    with _guard:
        loans[key] = loan
        loans.move_to_end(key)
        loan.borrowers += 1
        _close_idle(loans, keep=OPEN_SLIDES)
    return loan


def close_borrowed() -> None:
    """Close the slides that this thread keeps open and nobody uses, for example before their files are replaced."""
    with _guard:
        _close_idle(_shelf.loans, keep=0)


def close_slides_in(folder: Path) -> None:
    """Close the slides below a folder that any thread of this process keeps open and nobody uses.

    Parameters
    ----------
    folder
        The folder, which is about to be deleted: the space of a deleted file is free when nobody has it open.
    """
    with _guard:
        for loans in list(_all_loans.values()):
            for key, loan in list(loans.items()):
                is_inside = not is_url(key[1].path) and Path(key[1].path).is_relative_to(folder)
                if is_inside and loan.borrowers == 0 and key[0] == os.getpid():
                    loan.reader.close()
                    del loans[key]


def _key(source: SlideSource) -> _Key:
    if is_url(source.path):
        return (os.getpid(), source, None)
    status = Path(source.path).stat()
    return (os.getpid(), source, (status.st_ino, status.st_size, status.st_mtime_ns))


def _close_idle(loans: _Loans, keep: int) -> None:
    for key, loan in list(loans.items()):
        if len(loans) <= keep:
            return
        if loan.borrowers == 0:
            if key[0] == os.getpid():
                loan.reader.close()
            del loans[key]
