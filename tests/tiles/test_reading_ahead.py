"""Reading ahead: the same pixels in the same order, no further than there is memory for, and errors in their place."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.tiles.reading_ahead import read_ahead
from slidepipe.timing import Stopwatch


class _Store:
    """Every pixel of a window is the x of its corner."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.threads: set[int] = set()

    def read_windows(
        self, corners: NDArray[np.int64], width: int, height: int, out: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        assert out.shape == (len(corners), height, width, 3)
        self.read.append(int(corners[0, 0]))
        self.threads.add(threading.get_ident())
        if corners[0, 0] == 99:
            raise StoreError("broken tile")
        out[...] = corners[:, 0, None, None, None]
        return out


def _memory(count: int) -> list[NDArray[np.uint8]]:
    return [np.zeros((1, 4, 5, 3), dtype=np.uint8) for _ in range(count)]


def _batches(*numbers: int) -> list[NDArray[np.int64]]:
    return [np.array([(number, 0)]) for number in numbers]


@pytest.mark.parametrize("pieces", [2, 3, 20])
def test_batches_come_in_order_and_stay_while_they_are_used(pieces: int) -> None:
    store, watch = _Store(), Stopwatch()
    for number, windows in enumerate(read_ahead(store, _batches(*range(12)), _memory(pieces), watch)):
        time.sleep(0.002)
        assert (windows == number).all()
    assert store.read == list(range(12))
    assert threading.get_ident() not in store.threads
    assert set(watch.seconds) == {"read", "wait"}


def test_no_more_is_read_ahead_than_there_is_memory_for() -> None:
    store = _Store()
    coming = read_ahead(store, _batches(*range(12)), _memory(3), Stopwatch())
    next(coming)
    time.sleep(0.05)
    assert store.read == [0, 1, 2]
    coming.close()
    assert len(store.read) == 3


def test_an_error_comes_with_the_batch_that_it_belongs_to() -> None:
    coming = read_ahead(_Store(), _batches(1, 2, 99, 3, 4, 5), _memory(2), Stopwatch())
    assert [int(next(coming)[0, 0, 0, 0]) for _ in range(2)] == [1, 2]
    with pytest.raises(StoreError, match="broken tile"):
        next(coming)


def test_no_batches_are_no_work() -> None:
    assert list(read_ahead(_Store(), [], _memory(2), Stopwatch())) == []
