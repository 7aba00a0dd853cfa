"""Tiles decoded by Torch on a device: here the CPU is that device, and CUDA where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from slidepipe.classifier.checkpoint import Classifier, load_model, save_model
from slidepipe.classifier.device_tiles import DeviceTiles, tile_decoder
from slidepipe.classifier.inference import classify_cells
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.errors import StoreError
from slidepipe.slides.jpeg_segments import segments
from slidepipe.storage.tile_codec import (
    JpegCodec,
    TileCodec,
    ZstdCodec,
    decode_tile,
    encode_tile,
    seal,
    unseal,
)
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import PIXELS

from .conftest import TILE_PX, draw_slide, plain_card

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
JPEG = JpegCodec(level=90, subsampling="420")
CORNERS = np.array([(-30, -30), (0, 0), (100, 37), (128, 256), (600, 600), (900, 0)])
_QUANTISATION, _HUFFMAN = 0xDB, 0xC4

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def _tile(seed: int = 0) -> np.ndarray:
    return draw_slide(seed, has_tumour=True)[192 : 192 + TILE_PX, 192 : 192 + TILE_PX]


def _without(stream: bytes, markers: set[int]) -> bytes:
    return b"".join(stream[start:end] for marker, start, end in segments(stream) if marker not in markers)


@pytest.mark.parametrize("codec", [JPEG, JpegCodec(level=90, subsampling="444"), ZstdCodec()])
def test_windows_are_those_that_the_cpu_gives(make_store: Callable[..., Path], codec: TileCodec) -> None:
    path = make_store(has_tumour=True, codec=codec)
    with open_tile_store(path) as store, open_tile_store(path, decoder=DeviceTiles(CPU)) as decoded:
        for _ in range(2):
            windows = decoded.read_windows(CORNERS, 96, 64)
            assert isinstance(windows, torch.Tensor)
            np.testing.assert_array_equal(windows.numpy(), store.read_windows(CORNERS, 96, 64))


def test_few_tiles_are_kept_at_a_time(make_store: Callable[..., Path]) -> None:
    path = make_store(has_tumour=True, codec=JPEG)
    with (
        open_tile_store(path) as store,
        open_tile_store(path, cache_tiles=2, decoder=DeviceTiles(CPU)) as few,
    ):
        windows = few.read_windows(CORNERS, 300, 300)
        np.testing.assert_array_equal(windows, store.read_windows(CORNERS, 300, 300))


def test_heatmaps_are_the_same(make_store: Callable[..., Path], classifier: Classifier) -> None:
    path, cells = make_store(has_tumour=True, codec=JPEG), np.argwhere(np.ones((9, 9), dtype=np.bool_)) + 4
    with open_tile_store(path) as store, open_tile_store(path, decoder=DeviceTiles(CPU)) as decoded:
        expected = classify_cells(classifier, store, cells, 32)
        np.testing.assert_array_equal(classify_cells(classifier, decoded, cells, 32), expected)
    assert np.ptp(expected) > 0


def test_tables_that_tiles_share_are_put_in(caplog: pytest.LogCaptureFixture) -> None:
    whole = unseal(encode_tile(JPEG, _tile()))
    table_markers = {_QUANTISATION, _HUFFMAN}
    others = {marker for marker, _, _ in segments(whole)} - table_markers
    tables = whole[:2] + _without(whole, others) + whole[-2:]
    codec = JpegCodec(tables=tables)
    chunks = [seal(_without(whole, table_markers))]
    (expected,) = DeviceTiles(CPU).decode(JPEG, [seal(whole)], TILE_PX)
    (found,) = DeviceTiles(CPU).decode(codec, chunks, TILE_PX)
    assert torch.equal(found, expected)
    assert not caplog.records


def test_colours_that_the_device_takes_for_others_are_left_to_the_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The stream itself claims to hold YCbCr. The store knows better.
    codec, chunk = JpegCodec(colorspace_jpeg="RGB"), encode_tile(JPEG, _tile())
    (found,) = DeviceTiles(CPU).decode(codec, [chunk], TILE_PX)
    np.testing.assert_array_equal(found, decode_tile(codec, chunk, TILE_PX))
    assert "levels apart" in caplog.text


def test_without_a_decoder_for_the_device_the_cpu_decodes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(torchvision.io, "decode_jpeg")
    decoder = DeviceTiles(CPU)
    for seed in (0, 1):
        chunk = encode_tile(ZstdCodec(), _tile(seed))
        (found,) = decoder.decode(ZstdCodec(), [chunk], TILE_PX)
        np.testing.assert_array_equal(found, _tile(seed))
    (found,) = DeviceTiles(CPU).decode(JPEG, [encode_tile(JPEG, _tile())], TILE_PX)
    assert np.abs(found.numpy().astype(int) - _tile()).mean() < 10
    assert ["they are no JPEG streams" in record.message for record in caplog.records] == [True, False]


def test_an_error_says_which_tile_is_damaged(make_store: Callable[..., Path]) -> None:
    path = make_store(has_tumour=True, codec=JPEG)
    with open_tile_store(path) as store:
        stored = store.read_encoded(1, 1)
    (shard,) = (file for file in (path / PIXELS).rglob("*") if file.is_file() and stored in file.read_bytes())
    content = bytearray(shard.read_bytes())
    content[content.index(stored) + len(stored) // 2] ^= 1
    shard.write_bytes(content)
    with (
        open_tile_store(path, decoder=DeviceTiles(CPU)) as decoded,
        pytest.raises(StoreError, match=r"drawn: tile at row 1, column 1 of .* does not match its checksum"),
    ):
        decoded.read_windows(np.array([(0, 0)]), 300, 300)


def test_the_device_decodes_only_where_it_is_asked_to(caplog: pytest.LogCaptureFixture) -> None:
    asked = InferenceSettings(jpeg_decoder="cuda")
    assert isinstance(tile_decoder(asked, CUDA), DeviceTiles)
    assert tile_decoder(InferenceSettings(), CUDA) is None
    assert not caplog.records
    assert tile_decoder(asked, CPU) is None
    assert "the device is cpu" in caplog.text


@needs_cuda
def test_a_cuda_device_decodes_nearly_the_same_pixels(
    make_store: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = make_store(has_tumour=True, codec=JPEG)
    with open_tile_store(path) as store, open_tile_store(path, decoder=DeviceTiles(CUDA)) as decoded:
        windows = decoded.read_windows(CORNERS, 96, 64)
        assert isinstance(windows, torch.Tensor)
        assert windows.is_cuda
        expected = store.read_windows(CORNERS, 96, 64).astype(int)
        assert np.abs(windows.cpu().numpy().astype(int) - expected).mean() < 2
    assert not caplog.records


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build_network("compact")
    save_model(tmp_path / "model", network, plain_card("compact", 65))
    return load_model(tmp_path / "model", "cpu")
