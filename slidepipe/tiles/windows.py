"""Windows out of stored tiles, many at a time: each tile is decoded once, by threads, into memory that is used again.

Windows are put together tile by tile: of all that are asked for together, the parts that lie on one tile are cut as
soon as that tile is decoded. The tiles used last are kept for the next call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.slides.levels import WHITE

DecodeTile = Callable[[int, int, NDArray[np.uint8]], None]
"""Decodes the tile of a row and column into an array (tile, tile, 3); several threads may call it."""
FetchTiles = Callable[[Sequence[tuple[int, int]]], None]
"""Is told the rows and columns of tiles before they are decoded, at least one."""
MakeMemory = Callable[[tuple[int, ...]], Any]
"""Makes memory for pixels of a shape: an array of uint8, or what is indexed, sliced and assigned to like one."""


def _plain_memory(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.empty(shape, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class TiledPicture:
    """A picture in square tiles, some of which are stored."""

    size_px: tuple[int, int]
    """Width and height; the last tiles may reach beyond them."""
    tile_px: int
    """Side of a tile."""
    is_stored: NDArray[np.bool_]
    """Shape (tile rows, tile columns)."""
    decode: DecodeTile
    """Decodes a stored tile."""
    fetch: FetchTiles
    """Gets what is to be decoded, where that is better done for many tiles at a time."""
    empty: MakeMemory = _plain_memory
    """Where decoded tiles and new windows are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class _TileTask:
    """A tile, where it is kept, and what is cut out of it."""

    row: int
    column: int
    pixels: NDArray[np.uint8]
    is_decoded: bool
    members: NDArray[np.int64]
    """Numbers of the windows that touch the tile."""


class WindowCutter:
    """Cuts windows out of a tiled picture. To be used by one thread, which it helps with others.

    Parameters
    ----------
    picture
        The picture.
    cache_tiles
        How many decoded tiles are kept at the most; their memory is taken when it is first needed.
    threads
        Threads that decode; with 1 the calling thread does. Their number changes no pixel.
    """

    def __init__(self, picture: TiledPicture, cache_tiles: int, threads: int = 1) -> None:
        self._picture = picture
        self._cache_tiles = cache_tiles
        self._kept: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._threads = ThreadPoolExecutor(threads, "tile-decoder") if threads > 1 else None

    def cut(
        self, corners: NDArray[np.int64], size_px: tuple[int, int], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Cut windows of one size.

        Parameters
        ----------
        corners
            Top-left corners (x, y) in pixels, shape (n, 2), anywhere; windows may overlap and come twice.
        size_px
            Width and height of the windows.
        out
            Memory to cut into, shape (n, height, width, 3); None takes new memory.

        Returns
        -------
        ndarray
            uint8 RGB, shape (n, height, width, 3), in the order of `corners`; `out` if that was given. White where
            no tile is stored and beyond the picture.
        """
        width, height = size_px
        shape = (len(corners), height, width, 3)
        windows: NDArray[np.uint8] = self._picture.empty(shape) if out is None else out
        if 0 in shape:
            return windows
        members, tiles, is_whole = self._find_tiles(corners, width, height)
        for member in np.flatnonzero(~is_whole).tolist():
            windows[member] = WHITE
        order = np.lexsort((tiles[:, 1], tiles[:, 0]))
        members, tiles = members[order], tiles[order]
        starts = np.flatnonzero(np.any(np.diff(tiles, axis=0, prepend=-1), axis=1))
        groups = dict(zip(map(tuple, tiles[starts].tolist()), np.split(members, starts)[1:], strict=True))
        # Tiles at hand first, so that none is given up just before its turn.
        keys = sorted(groups, key=lambda key: key not in self._kept)
        for start in range(0, len(keys), self._cache_tiles):
            tasks = [self._place(key, groups[key]) for key in keys[start : start + self._cache_tiles]]
            self._carry_out(tasks, corners, windows)
        return windows

    def _find_tiles(
        self, corners: NDArray[np.int64], width: int, height: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """List the pairs of a window and a stored tile under it, and tell which windows lie on stored tiles only."""
        side = self._picture.tile_px
        first = corners[:, ::-1] // side
        last = (corners[:, ::-1] + (height - 1, width - 1)) // side
        rows, columns = (last - first).max(axis=0) + 1
        offsets = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(
            -1, 2
        )
        tiles = first[:, None] + offsets
        is_under = (tiles <= last[:, None]).all(axis=-1)
        is_there = is_under & (tiles >= 0).all(axis=-1) & (tiles < self._picture.is_stored.shape).all(axis=-1)
        is_there[is_there] = self._picture.is_stored[tuple(tiles[is_there].T)]
        is_inside = (corners + np.array((width, height)) <= self._picture.size_px).all(axis=1)
        members, _ = np.nonzero(is_there)
        return members, tiles[is_there], is_inside & (is_there == is_under).all(axis=1)

    def _place(self, key: tuple[int, int], members: NDArray[np.int64]) -> _TileTask:
        """Find the memory of a tile: its own if it is kept, else new, else that of the tile used longest ago."""
        pixels = self._kept.pop(key, None)
        is_decoded = pixels is not None
        if pixels is None and len(self._kept) >= self._cache_tiles:
            _, pixels = self._kept.popitem(last=False)
        if pixels is None:
            side = self._picture.tile_px
            pixels = self._picture.empty((side, side, 3))
        self._kept[key] = pixels
        return _TileTask(*key, pixels, is_decoded, members)

    def _carry_out(
        self, tasks: list[_TileTask], corners: NDArray[np.int64], windows: NDArray[np.uint8]
    ) -> None:
        def run(task: _TileTask) -> None:
            if not task.is_decoded:
                self._picture.decode(task.row, task.column, task.pixels)
            self._copy(task, corners, windows)

        is_done = False
        try:
            if wanted := [(task.row, task.column) for task in tasks if not task.is_decoded]:
                self._picture.fetch(wanted)
            for _ in self._threads.map(run, tasks) if self._threads else map(run, tasks):
                pass
            is_done = True
        finally:
            # After an error nobody knows what the memory holds.
            if not is_done:
                self._kept.clear()

    def _copy(self, task: _TileTask, corners: NDArray[np.int64], windows: NDArray[np.uint8]) -> None:
        """Copy a tile into the windows that touch it."""
        side = self._picture.tile_px
        height, width = windows.shape[1:3]
        corner = np.array((task.column * side, task.row * side))
        end = np.minimum(corner + side, self._picture.size_px)
        starts = corners[task.members]
        begins = np.maximum(starts, corner)
        ends = np.minimum(starts + np.array((width, height)), end)
        within = np.concatenate((begins - starts, ends - starts, begins - corner, ends - corner), axis=1)
        for member, (x, y, x1, y1, u, v, u1, v1) in zip(task.members.tolist(), within.tolist(), strict=True):
            # A window wholly beyond the picture's edge, yet on its last tile, has nothing to take.
            if x < x1 and y < y1:
                windows[member, y:y1, x:x1] = task.pixels[v:v1, u:u1]

    def close(self) -> None:
        """Forget all decoded tiles and end the threads. Closing twice is harmless."""
        self._kept.clear()
        if self._threads is not None:
            self._threads.shutdown()
