"""Memory of a worker, on a slide as large as slides get."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.slides.handles import close_borrowed
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store_plan import read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings

from .conftest import GLASS

WIDTH, HEIGHT, TILE, SHARD, MPP = 100_000, 200_000, 512, 8192, 0.25
LIMIT_MB, LIMIT_OF_BLOCK_MB = 1000, 500
MakeJob = Callable[..., TileJob]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc"),
]


def _stream(colour: tuple[int, int, int], noise: int) -> bytes:
    pixels = np.random.default_rng(0).integers(-noise, noise + 1, (TILE, TILE, 3)) + colour
    return bytes(imagecodecs.jpeg8_encode(pixels.astype(np.uint8), level=80, subsampling="420"))


def _tissue(factor: int) -> NDArray[np.int64]:
    """Which of the tiles of a level hold tissue: those of one whole shard in the middle."""
    rows, columns = (-(-side // factor // TILE) for side in (HEIGHT, WIDTH))
    y, x = np.mgrid[0:rows, 0:columns] * TILE * factor
    return ((y // SHARD == HEIGHT // 2 // SHARD) & (x // SHARD == WIDTH // 2 // SHARD)).astype(np.int64)


def _write_slide(path: Path) -> None:
    """Write a slide of three levels whose tiles all point to one of two JPEG streams (BigTIFF, tags of TIFF 6.0)."""
    streams = [_stream(GLASS, 2), _stream((190, 110, 170), 25)]
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        places = []
        for stream in streams:
            places.append((file.tell(), len(stream)))
            file.write(stream)
        link = 8
        for factor in (1, 8, 32):
            tiles = np.array(places, dtype="<u8")[_tissue(factor).ravel()]
            lists = []
            for numbers in tiles.T:
                lists.append(file.tell())
                file.write(numbers.tobytes())
            resolution = struct.pack("<II", round(1e4 / MPP / factor), 1)
            short = ((254, int(factor > 1)), (256, WIDTH // factor), (257, HEIGHT // factor), (259, 7), (262, 6),
                     (277, 3), (284, 1), (296, 3), (322, TILE), (323, TILE))  # fmt: skip
            tags = {tag: (4, 1, struct.pack("<Q", value)) for tag, value in short}
            tags |= {258: (3, 3, struct.pack("<4H", 8, 8, 8, 0)), 530: (3, 2, struct.pack("<4H", 2, 2, 0, 0))}
            tags |= {282: (5, 1, resolution), 283: (5, 1, resolution)}
            tags |= {
                tag: (16, len(tiles), struct.pack("<Q", at))
                for tag, at in zip((324, 325), lists, strict=True)
            }
            page = file.tell()
            file.write(struct.pack("<Q", len(tags)))
            for tag, (kind, count, value) in sorted(tags.items()):
                file.write(struct.pack("<HHQ", tag, kind, count) + value)
            following = file.tell()
            file.write(struct.pack("<Q", 0))
            file.seek(link)
            file.write(struct.pack("<Q", page))
            file.seek(0, 2)
            link = following


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _begin(job: TileJob) -> float:
    assert begin_tiling(job)
    return _peak_mb()


def _cut(job: TileJob) -> float:
    for block in begin_tiling(job):
        tile_block(job, block)
    return _peak_mb()


def _finish(job: TileJob) -> float:
    assert finish_tiling(job)["n_damaged"] == 0
    return _peak_mb()


def _in_a_fresh_process(function: Callable[[TileJob], float], job: TileJob) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, job).result()


def test_no_step_needs_more_than_a_gigabyte(make_job: MakeJob, tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    _write_slide(path)
    job = make_job(path, reader="auto", settings=TileSettings(mode="copy"), tissue=TissueSettings())
    assert _in_a_fresh_process(_begin, job) < LIMIT_MB
    plan = read_store_plan(Path(job.store))
    assert plan.grid.shape == (391, 196)
    assert max(len(plan.grid.tiles_of(block)) for block in plan.grid.blocks) == 256
    assert _in_a_fresh_process(_cut, job) < LIMIT_OF_BLOCK_MB
    assert _in_a_fresh_process(_finish, job) < LIMIT_OF_BLOCK_MB
    # Other ways to fill the store need the same to begin, which a coarse mask shortens here.
    coarse = TissueSettings(mpp=64.0)
    for settings in (TileSettings(mode="encode"), TileSettings(mpp=0.4, codec="zstd")):
        other = replace(job, store=str(tmp_path / f"{settings.codec}.zarr"), settings=settings, tissue=coarse)
        begin_tiling(other)
        close_borrowed()
        assert read_store_plan(Path(other.store)).attributes["filling"]["mode"] == "encode"
        assert _in_a_fresh_process(_cut, other) < LIMIT_OF_BLOCK_MB
