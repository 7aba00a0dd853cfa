"""Windows out of tiles: the pixels of the picture, whatever the order, the company, the memory and the threads."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.tiles.windows import TiledPicture, WindowCutter

_TILE = 16
_SIZE = (150, 103)
_STORED = np.random.default_rng(1).random((7, 10)) < 0.7
_PICTURE = np.random.default_rng(0).integers(0, 250, (112, 160, 3)).astype(np.uint8)


class _Tiles:
    """Tiles of a picture, and how often each was decoded."""

    def __init__(self) -> None:
        self.decoded: Counter[tuple[int, int]] = Counter()
        self.fetched: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self.broken: tuple[int, int] | None = None

    def decode(self, row: int, column: int, out: NDArray[np.uint8]) -> None:
        assert (row, column) in self.fetched
        self.decoded[row, column] += 1
        self.threads.add(threading.get_ident())
        if (row, column) == self.broken:
            raise StoreError("broken")
        out[...] = _PICTURE[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]

    def cutter(self, cache_tiles: int = 8, threads: int = 1) -> WindowCutter:
        return WindowCutter(
            TiledPicture(_SIZE, _TILE, _STORED, self.decode, self.fetched.extend), cache_tiles, threads
        )


@pytest.fixture
def tiles() -> _Tiles:
    return _Tiles()


def _expected(corners: NDArray[np.int64], width: int, height: int) -> NDArray[np.uint8]:
    picture = np.where(_STORED.repeat(_TILE, 0).repeat(_TILE, 1)[..., None], _PICTURE, 255).astype(np.uint8)
    whole = np.full((600, 600, 3), 255, dtype=np.uint8)
    whole[200 : 200 + _SIZE[1], 200 : 200 + _SIZE[0]] = picture[: _SIZE[1], : _SIZE[0]]
    return np.stack([whole[200 + y :, 200 + x :][:height, :width] for x, y in corners.tolist()])


_CORNERS = st.lists(st.tuples(st.integers(-90, 190), st.integers(-90, 150)), min_size=1, max_size=12)


@settings(deadline=None)
@given(_CORNERS, st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.sampled_from([1, 3]))
def test_any_windows_are_parts_of_the_picture_on_white(
    corners: list[tuple[int, int]], width: int, height: int, cache_tiles: int, threads: int
) -> None:
    wanted = np.array(corners)
    cutter = _Tiles().cutter(cache_tiles, threads)
    for part in (wanted, wanted[::-1]):
        windows = cutter.cut(part, (width, height))
        np.testing.assert_array_equal(windows, _expected(part, width, height))
    cutter.close()


def test_a_tile_is_decoded_once_for_all_windows_of_a_call(tiles: _Tiles) -> None:
    corners = np.random.default_rng(2).integers(-20, 120, (200, 2))
    tiles.cutter(cache_tiles=1).cut(corners, (30, 30))
    assert set(tiles.decoded.values()) == {1}
    assert len(tiles.decoded) > 20


def test_the_tiles_used_last_are_kept_for_the_next_call(tiles: _Tiles) -> None:
    cutter = tiles.cutter(cache_tiles=int(_STORED[:2].sum()))
    for y in range(0, 17):
        cutter.cut(np.array([(0, y)]), (160, 16))
    assert set(tiles.decoded.values()) == {1}


def test_memory_is_used_again(tiles: _Tiles) -> None:
    cutter = tiles.cutter(cache_tiles=4)
    out = np.empty((1, 112, 160, 3), dtype=np.uint8)
    cutter.cut(np.array([(0, 0)]), (160, 112), out)
    tracemalloc.start()
    try:
        for _ in range(3):
            assert cutter.cut(np.array([(0, 0)]), (160, 112), out) is out
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < _PICTURE.nbytes


def test_several_threads_decode(tiles: _Tiles) -> None:
    cutter = tiles.cutter(threads=3)
    cutter.cut(np.array([(0, 0)]), (160, 112))
    cutter.close()
    assert threading.get_ident() not in tiles.threads


@pytest.mark.parametrize("threads", [1, 2])
def test_after_an_error_no_tile_is_believed(tiles: _Tiles, threads: int) -> None:
    row, column = np.argwhere(_STORED)[5].tolist()
    tiles.broken = (row, column)
    cutter = tiles.cutter(cache_tiles=64, threads=threads)
    corners = np.array([(0, 0)])
    with pytest.raises(StoreError, match="broken"):
        cutter.cut(corners, (160, 112))
    tiles.broken = None
    np.testing.assert_array_equal(cutter.cut(corners, (160, 112)), _expected(corners, 160, 112))
    cutter.close()


def test_no_windows_take_no_tile(tiles: _Tiles) -> None:
    assert tiles.cutter().cut(np.empty((0, 2), dtype=np.int64), (5, 6)).shape == (0, 6, 5, 3)
    assert tiles.cutter().cut(np.array([(0, 0)]), (0, 6)).shape == (1, 6, 0, 3)
    assert not tiles.decoded
