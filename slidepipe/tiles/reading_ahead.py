"""Batches of windows, read by a thread of their own while the caller computes with the batch before."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from slidepipe.tiles.store import TileStore
from slidepipe.timing import Stopwatch


def read_ahead(
    store: TileStore,
    batches: Sequence[NDArray[np.int64]],
    memory: Sequence[NDArray[np.uint8]],
    watch: Stopwatch,
) -> Generator[NDArray[np.uint8], None, None]:
    """Read batches of windows in order, as many ahead as there is memory for.

    Parameters
    ----------
    store
        Where to read; meanwhile nobody else may.
    batches
        Top-left corners (x, y) of the windows of each batch, shape (n, 2) with the same n for all.
    memory
        Two or more pieces of memory to read into by turns, uint8 of shape (n, height, width, 3). All but one are
        filled while the caller works with that one.
    watch
        Gets ``read``, how long the thread read, and ``wait``, how long the caller waited for it.

    Yields
    ------
    ndarray
        The windows of the next batch, one of `memory`; they are overwritten once the next batch is asked for.

    Raises
    ------
    StoreError
        If a stored tile is missing or damaged on the disk.
    """

    def read(number: int) -> NDArray[np.uint8]:
        windows = memory[number % len(memory)]
        with watch.measure("read"):
            return store.read_windows(batches[number], windows.shape[2], windows.shape[1], windows)

    coming: deque[Future[NDArray[np.uint8]]] = deque()
    with ThreadPoolExecutor(1, "reader") as reader:
        try:
            for number in range(len(batches)):
                coming.append(reader.submit(read, number))
                if len(coming) == len(memory):
                    yield _next(coming, watch)
            while coming:
                yield _next(coming, watch)
        finally:
            # The caller may have stopped early: what is not begun is not read.
            for future in coming:
                future.cancel()


def _next(coming: deque[Future[NDArray[np.uint8]]], watch: Stopwatch) -> NDArray[np.uint8]:
    with watch.measure("wait"):
        return coming.popleft().result()
