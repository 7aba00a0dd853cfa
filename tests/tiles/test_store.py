"""The tile store: what is read is what was stored, for us and for programs that know OME-NGFF."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from slidepipe.errors import StoreError, StoreIncompleteError, StoreVersionError
from slidepipe.geometry import PixelSize
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.storage.arrays import open_array
from slidepipe.storage.shards import shard_path, write_shard
from slidepipe.storage.tile_codec import ZstdCodec, encode_tile
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.tiles.store_making import StoreFacts, complete_store, create_tile_store
from slidepipe.tiles.store_plan import BACKGROUND, DAMAGED, PIXELS, STORED, read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueMask

_SIZE = (300, 210)
_TILE = 32
_PLANNED = np.random.default_rng(3).random((7, 10)) < 0.6
_DAMAGED = np.argwhere(_PLANNED)[[4, 17]]


def _picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 250, (224, 320, 3)).astype(np.uint8)


def _make_store(path: Path, *, complete: bool = True) -> None:
    info = SlideInfo(
        "s1", (600, 420), PixelSize(0.25, 0.26), (SlideLevel((600, 420), 1.0),), None, "aperio", "openslide"
    )
    facts = StoreFacts(info=info, fingerprint="f", token="t", settings={"a": 1}, software={"slidepipe": "0"})
    grid = TileGrid(_SIZE, _TILE, (2.0, 2.0), 3, _PLANNED)
    tissue = TissueMask(np.eye(5, 6, dtype=bool), (100.0, 84.0), {"saturation": 0.1})
    create_tile_store(path, facts, grid, tissue, ZstdCodec())
    plan = read_store_plan(path)
    for block in grid.blocks:
        chunks = [
            ((0, row % 3, column % 3), encode_tile(ZstdCodec(), _tile(row, column)))
            for row, column in grid.tiles_of(block).tolist()
            if [row, column] not in _DAMAGED.tolist()
        ]
        write_shard(path / PIXELS, plan.shard_index(block), chunks, plan.shard_shape)
    if complete:
        complete_store(plan, _DAMAGED, {"n_tiles": int(_PLANNED.sum())})


def _tile(row: int, column: int) -> NDArray[np.uint8]:
    return _picture()[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]


def _expected() -> NDArray[np.uint8]:
    stored = _PLANNED.copy()
    stored[tuple(_DAMAGED.T)] = False
    picture = _picture()
    picture[~stored.repeat(_TILE, 0).repeat(_TILE, 1)] = 255
    return picture[: _SIZE[1], : _SIZE[0]]


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "s1.zarr"
    _make_store(path)
    return path


@pytest.fixture(scope="module")
def store(store_path: Path) -> TileStore:
    return open_tile_store(store_path, cache_tiles=3)


def test_the_store_says_what_it_holds(store: TileStore) -> None:
    assert (store.slide_id, store.token) == ("s1", "t")
    assert (store.size_px0, store.size_px) == ((600, 420), _SIZE)
    assert (store.tile_px, store.shard_tiles, store.scale_px0) == (_TILE, 3, (2.0, 2.0))
    assert store.pixel_size0 == PixelSize(0.25, 0.26)
    assert store.pixel_size == PixelSize(0.5, 0.52)
    assert store.provenance["settings"] == {"a": 1}
    assert store.provenance["counts"] == {"n_tiles": int(_PLANNED.sum())}


def test_the_status_tells_background_stored_and_damaged_tiles(store: TileStore) -> None:
    expected = np.where(_PLANNED, STORED, BACKGROUND)
    expected[tuple(_DAMAGED.T)] = DAMAGED
    np.testing.assert_array_equal(store.status, expected)


def test_the_tissue_mask_comes_back(store: TileStore) -> None:
    np.testing.assert_array_equal(store.tissue.mask, np.eye(5, 6, dtype=bool))
    assert store.tissue.scale_px0 == (100.0, 84.0)
    assert store.tissue.thresholds == {"saturation": 0.1}


@settings(deadline=None)
@given(st.integers(-50, 350), st.integers(-50, 260), st.integers(1, 130), st.integers(1, 130))
def test_any_window_is_part_of_the_picture(store: TileStore, x: int, y: int, width: int, height: int) -> None:
    padded = np.pad(_expected(), ((200, 400), (200, 400), (0, 0)), constant_values=255)
    window = store.read_window(x, y, width, height)
    np.testing.assert_array_equal(window, padded[200 + y :, 200 + x :][:height, :width])


def test_zarr_reads_the_same_picture(store_path: Path) -> None:
    picture = np.moveaxis(open_array(store_path / PIXELS)[...], 0, 2)
    np.testing.assert_array_equal(picture, _expected())


def test_a_tile_is_decoded_once_while_windows_overlap(store_path: Path) -> None:
    with open_tile_store(store_path) as store:
        expected = store.read_window(0, 0, 200, 200)
        for shard in (store_path / PIXELS / "c" / "0").rglob("*"):
            if shard.is_file():
                shard.rename(shard.with_suffix(".away"))
        try:
            np.testing.assert_array_equal(store.read_window(0, 0, 200, 200), expected)
        finally:
            for shard in (store_path / PIXELS / "c" / "0").rglob("*.away"):
                shard.rename(shard.with_suffix(""))


def test_the_bytes_of_a_tile_are_lent_without_decoding_and_only_of_stored_tiles(store: TileStore) -> None:
    row, column = np.argwhere(store.status == STORED)[0].tolist()
    assert encode_tile(ZstdCodec(), _tile(row, column)).startswith(store.read_encoded(row, column))
    for status in (BACKGROUND, DAMAGED):
        row, column = np.argwhere(store.status == status)[0].tolist()
        with pytest.raises(StoreError, match=f"row {row}, column {column} is not stored"):
            store.read_encoded(row, column)


def test_ome_zarr_opens_a_store_as_an_image(make_job: Callable[..., TileJob]) -> None:
    job = make_job()
    for block in begin_tiling(job):
        tile_block(job, block)
    finish_tiling(job)
    location = parse_url(job.store)
    assert location is not None
    (node,) = Reader(location)()
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
    assert node.metadata["axes"][1]["unit"] == "micrometer"
    assert node.metadata["coordinateTransformations"] == [[{"type": "scale", "scale": [1.0, 2.0, 2.0]}]]
    with open_tile_store(Path(job.store)) as store:
        window = store.read_window(300, 300, 200, 150)
    assert window.std() > 10
    np.testing.assert_array_equal(np.moveaxis(node.data[0][:, 300:450, 300:500].compute(), 0, 2), window)


def test_a_store_of_another_format_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    _make_store(tmp_path / "s.zarr")
    metadata = json.loads((tmp_path / "s.zarr" / "zarr.json").read_text())
    metadata["attributes"]["slidepipe"]["format_version"] = 99
    (tmp_path / "s.zarr" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreVersionError, match=r"version 99, .* reads version 2"):
        open_tile_store(tmp_path / "s.zarr")


def test_an_incomplete_store_is_refused(tmp_path: Path) -> None:
    _make_store(tmp_path / "s.zarr", complete=False)
    with pytest.raises(StoreIncompleteError, match="of slide s1 is incomplete"):
        open_tile_store(tmp_path / "s.zarr")


def test_what_is_no_tile_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no Zarr v3 group"):
        open_tile_store(tmp_path / "missing.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="no tile store of slidepipe"):
        open_tile_store(tmp_path / "other.zarr")


@pytest.mark.parametrize("key", ["grid", "slide", "token"])
def test_a_store_whose_attributes_were_edited_is_refused(tmp_path: Path, key: str) -> None:
    _make_store(tmp_path / "s.zarr")
    metadata = json.loads((tmp_path / "s.zarr" / "zarr.json").read_text())
    del metadata["attributes"]["slidepipe"][key]
    (tmp_path / "s.zarr" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="attributes"):
        open_tile_store(tmp_path / "s.zarr")


def test_a_torn_shard_is_an_error_and_never_white(tmp_path: Path) -> None:
    _make_store(tmp_path / "s.zarr")
    row, column = np.argwhere(_PLANNED)[0].tolist()
    file = shard_path(tmp_path / "s.zarr" / PIXELS, (0, row // 3, column // 3))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with (
        open_tile_store(tmp_path / "s.zarr") as store,
        pytest.raises(StoreError, match=f"slide s1: tile at row {row}, column {column} .* cut short"),
    ):
        store.read_window(column * _TILE, row * _TILE, 5, 5)


def test_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    _make_store(tmp_path / "s.zarr")
    row, column = np.argwhere(_PLANNED)[0].tolist()
    file = shard_path(tmp_path / "s.zarr" / PIXELS, (0, row // 3, column // 3))
    content = bytearray(file.read_bytes())
    content[100] ^= 16
    file.write_bytes(content)
    with open_tile_store(tmp_path / "s.zarr") as store, pytest.raises(StoreError, match="checksum"):
        store.read_encoded(row, column)


def test_nothing_in_a_store_names_a_path(make_job: Callable[..., TileJob], tmp_path: Path) -> None:
    job = make_job()
    begin_tiling(job)
    for file in Path(job.store).rglob("zarr.json"):
        assert str(tmp_path) not in file.read_text()
        assert "drawn.tif" not in file.read_text()
