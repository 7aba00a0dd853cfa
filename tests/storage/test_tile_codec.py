"""Tiles become bytes and pixels again, here and in Zarr alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from slidepipe.errors import StoreError
from slidepipe.storage import jpeg_codec
from slidepipe.storage.arrays import ShardedArray, open_array, read_chunk_codecs, write_sharded_array
from slidepipe.storage.shards import write_shard
from slidepipe.storage.tile_codec import (
    JpegCodec,
    TileCodec,
    ZstdCodec,
    chunk_codecs,
    codec_from,
    decode_tile,
    encode_tile,
    seal,
    unseal,
)

_CODECS = [
    JpegCodec(level=90, subsampling="444"),
    JpegCodec(level=75, subsampling="420"),
    JpegCodec(level=90, subsampling="444", colorspace_jpeg="RGB"),
    JpegCodec(tables=b"\xff\xd8 tables \xff\xd9"),
    ZstdCodec(),
    ZstdCodec(level=1),
]


def _tile(seed: int = 0) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:64, 0:64]
    return np.stack([150 + x + seed, 120 + y, 255 - x], axis=2).astype(np.uint8)


def _write(
    path: Path, codec: TileCodec, chunks: dict[tuple[int, int, int], bytes], tile_px: int = 64
) -> None:
    array = ShardedArray(
        shape=(3, tile_px + 36, tile_px + 56),
        chunk=(3, tile_px, tile_px),
        chunks_per_shard=(1, 2, 2),
        dtype="uint8",
        fill_value=255,
        chunk_codecs=tuple(chunk_codecs(codec)),
        dimension_names=("c", "y", "x"),
    )
    write_sharded_array(path, array)
    write_shard(path, (0, 0, 0), chunks.items(), (1, 2, 2))


def test_zstd_loses_nothing() -> None:
    np.testing.assert_array_equal(decode_tile(ZstdCodec(), encode_tile(ZstdCodec(), _tile()), 64), _tile())


@pytest.mark.parametrize("codec", _CODECS[:3])
def test_jpeg_loses_little_and_keeps_the_order_of_colours(codec: TileCodec) -> None:
    decoded = decode_tile(codec, encode_tile(codec, _tile()), 64)
    assert np.abs(decoded.astype(int) - _tile()).mean() < 3


@pytest.mark.parametrize("codec", _CODECS)
def test_the_codec_is_read_back_from_the_metadata(tmp_path: Path, codec: TileCodec) -> None:
    _write(tmp_path, codec, {})
    assert codec_from(read_chunk_codecs(tmp_path)) == codec


@pytest.mark.parametrize("codec", [*_CODECS[:3], *_CODECS[4:]])
def test_zarr_decodes_the_same_pixels(tmp_path: Path, codec: TileCodec) -> None:
    chunk = encode_tile(codec, _tile())
    _write(tmp_path, codec, {(0, 0, 0): chunk, (0, 1, 1): chunk})
    picture = np.moveaxis(open_array(tmp_path)[...], 0, 2)
    decoded = decode_tile(codec, chunk, 64)
    np.testing.assert_array_equal(picture[:64, :64], decoded)
    np.testing.assert_array_equal(picture[64:, 64:], decoded[:36, :56])
    assert (picture[:64, 64:] == 255).all()


@pytest.mark.parametrize("codec", [_CODECS[0], ZstdCodec()])
def test_zarr_encodes_the_same_bytes(tmp_path: Path, codec: TileCodec) -> None:
    _write(tmp_path / "ours", codec, {(0, 0, 0): encode_tile(codec, _tile())})
    _write(tmp_path / "zarrs", codec, {})
    zarr.open_array(tmp_path / "zarrs", mode="r+")[:, :64, :64] = np.moveaxis(_tile(), 2, 0)
    ours, zarrs = (np.asarray(open_array(tmp_path / name)[...]) for name in ("ours", "zarrs"))
    np.testing.assert_array_equal(ours, zarrs)


def test_tiles_of_a_real_slide_are_stored_as_they_are_with_its_jpeg_tables(
    tmp_path: Path, shared_data: Path
) -> None:
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    with tifffile.TiffFile(slide) as tiff, slide.open("rb") as file:
        page = tiff.pages.first
        file.seek(page.dataoffsets[0])
        stream, expected = file.read(page.databytecounts[0]), page.asarray()[:240, :240]
        codec = JpegCodec(colorspace_jpeg="RGB", tables=page.jpegtables)
    assert codec.tables is not None
    _write(tmp_path, codec, {(0, 0, 0): seal(stream)}, tile_px=240)
    np.testing.assert_array_equal(decode_tile(codec, seal(stream), 240), expected)
    np.testing.assert_array_equal(np.moveaxis(open_array(tmp_path)[:, :240, :240], 0, 2), expected)


@pytest.mark.parametrize("codec", [_CODECS[0], ZstdCodec()])
@pytest.mark.parametrize("position", [5, 100, -1])
def test_a_flipped_bit_is_found(codec: TileCodec, position: int) -> None:
    chunk = bytearray(encode_tile(codec, _tile()))
    chunk[position] ^= 1
    with pytest.raises(StoreError, match="does not match its checksum"):
        decode_tile(codec, bytes(chunk), 64)


@pytest.mark.parametrize("codec", [_CODECS[0], ZstdCodec()])
def test_a_tile_of_another_size_is_found(codec: TileCodec) -> None:
    with pytest.raises(StoreError, match="a tile"):
        decode_tile(codec, encode_tile(codec, _tile()[:32, :32]), 64)


@pytest.mark.parametrize("codec", [_CODECS[0], ZstdCodec()])
def test_what_is_no_tile_is_found(codec: TileCodec) -> None:
    with pytest.raises(StoreError, match="cannot be decoded"):
        decode_tile(codec, seal(b"neither JPEG nor zstd"), 64)


def test_the_checksum_is_taken_off_again() -> None:
    assert unseal(seal(b"stream")) == b"stream"
    with pytest.raises(StoreError, match="checksum"):
        unseal(b"")


def test_codecs_of_others_are_refused() -> None:
    with pytest.raises(StoreError, match="bytes, gzip, which slidepipe does not write"):
        codec_from([{"name": "bytes"}, {"name": "gzip"}])


def test_the_codec_registered_with_zarr_is_the_one_of_imagecodecs_where_that_exists() -> None:
    try:
        from imagecodecs.zarr import Jpeg
    except ImportError:
        assert jpeg_codec.Jpeg is jpeg_codec.TileJpeg
    else:
        assert jpeg_codec.Jpeg is Jpeg


def test_our_codec_reads_and_writes_its_own_metadata() -> None:
    entry = {
        "name": "imagecodecs_jpeg",
        "configuration": {"level": 90, "subsampling": "444", "colorspace_data": "RGB", "tables": "/9g="},
    }
    codec = jpeg_codec.TileJpeg.from_dict(entry)  # type: ignore[arg-type]
    assert codec.tables == b"\xff\xd8"
    assert codec.to_dict() == entry


def test_our_codec_refuses_what_only_the_real_one_does() -> None:
    entry = {"name": "imagecodecs_jpeg", "configuration": {"lossless": True}}
    with pytest.raises(StoreError, match=r"lossless.*imagecodecs 2026\.10"):
        jpeg_codec.TileJpeg.from_dict(entry)  # type: ignore[arg-type]
