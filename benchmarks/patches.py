"""How fast patches come out of a tile store, beside what libjpeg-turbo can do with the tiles they touch.

    python benchmarks/patches.py SLIDE --out benchmarks/results/patches.md

The slide, JPEG-tiled at the pixel size of one of its levels, is cut first. Every method runs in a process of its own
with one decoding thread, by turns, each after a raw decoding of tiles that it is compared with; the table shows the
medians of the ratios, per tile that the method had to decode. Seconds are those of the processor, so that other work on
the machine does not count. Each is also run with the malloc settings that Dask's nanny gives its workers by default,
under which memory that is not used again costs a third of the rate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
from measuring import Measured, alone, machine, measure
from numpy.typing import NDArray

from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.storage.publish import write_text
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.tiles.store_plan import STORED
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings

PATCH_PX, N_PATCHES, BATCH = 256, 400, 64
DASK = {"MALLOC_TRIM_THRESHOLD_": "65536"}


def main() -> None:
    """Measure, print the table and write it if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slide", type=Path, help="JPEG-tiled slide, such as one of make_cohort.py")
    parser.add_argument("--mpp", type=float, help="pixel size to cut at; the slide's own if left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    rows = {
        "random patches, one call each": (random_patches, 1),
        "random patches, batches of 64": (random_patches, BATCH),
        "raster sweep": (raster_sweep, BATCH),
    }
    ratios: dict[tuple[str, bool], list[float]] = {
        (name, dask): [] for name in rows for dask in (False, True)
    }
    rates: dict[tuple[str, bool], list[float]] = {key: [] for key in ratios}
    with tempfile.TemporaryDirectory() as folder:
        store = cut(arguments.slide, Path(folder), arguments.mpp)
        for _ in range(arguments.rounds):
            for (name, dask), values in ratios.items():
                raw = alone(raw_decode, store)
                os.environ.update(DASK if dask else {})
                measured = alone(rows[name][0], store, rows[name][1])
                for variable in DASK:
                    os.environ.pop(variable, None)
                values.append(measured.rate / raw.rate)
                rates[name, dask].append(float(measured.note))
        head = describe(store)
    lines = [
        "| method | malloc | patches per CPU second | share of raw decoding | target |",
        "|---|---|---|---|---|",
    ]
    for (name, dask), values in ratios.items():
        target = 0.75 if name == "raster sweep" else 0.6
        lines.append(
            f"| {name} | {'as Dask sets it' if dask else 'default'} | {statistics.median(rates[name, dask]):,.0f} | "
            f"{statistics.median(values):.2f} | {target:g} |"
        )
    text = "\n".join(["# Patches out of a tile store", "", head, "", *lines, ""])
    print(text)
    if arguments.out:
        write_text(arguments.out, text)


def cut(slide: Path, folder: Path, mpp: float | None) -> str:
    """Cut a slide into a tile store and return its path."""
    source = SlideSource("slide", str(slide))
    store = str(folder / "slide.zarr")
    job = TileJob(
        source, store, TileSettings(mpp=mpp), TissueSettings(), "t", fingerprint_slide(source), None
    )
    for block in begin_tiling(job):
        tile_block(job, block)
    finish_tiling(job)
    return store


def raw_decode(path: str) -> Measured:
    """Decode every stored tile from memory into one buffer; items are tiles."""
    with open_tile_store(Path(path)) as store:
        places = np.argwhere(store.status == STORED).tolist()
        encoded = [store.read_encoded(row, column) for row, column in places]
        codec, out = store.codec, np.empty((store.tile_px, store.tile_px, 3), dtype=np.uint8)

    def work() -> int:
        for data in encoded:
            imagecodecs.jpeg8_decode(
                data, tables=codec.tables, colorspace=codec.colorspace_jpeg, outcolorspace="RGB", out=out
            )
        return len(encoded)

    work()
    return measure(work, least_s=1.5, clock=time.process_time)


def random_patches(path: str, batch: int) -> Measured:
    """Read patches anywhere on stored tiles; nothing is kept between calls. Items are the tiles that were touched."""
    with open_tile_store(Path(path), cache_tiles=1) as store:
        tiles = np.argwhere(store.status == STORED)
        random = np.random.default_rng(0)
        chosen = tiles[random.integers(len(tiles), size=N_PATCHES)][:, ::-1] * store.tile_px
        corners = chosen + random.integers(0, store.tile_px, chosen.shape)
        return sweep(store, corners, batch, count=None)


def raster_sweep(path: str, batch: int) -> Measured:
    """Read patches side by side, row by row, as a heatmap is made. Items are tiles with tissue, each counted once."""
    with open_tile_store(Path(path)) as store:
        width, height = store.size_px
        grid = np.mgrid[0:height:PATCH_PX, 0:width:PATCH_PX].reshape(2, -1).T
        tile = np.minimum((grid + PATCH_PX // 2) // store.tile_px, np.array(store.status.shape) - 1)
        corners = grid[store.status[tuple(tile.T)] == STORED][:, ::-1]
        return sweep(store, corners, batch, count=int((store.status == STORED).sum()))


def sweep(store: TileStore, corners: NDArray[np.int64], batch: int, count: int | None) -> Measured:
    """Read patches in batches and count the tiles that had to be decoded."""
    touched = 0 if count is None else count
    if count is None:
        for start in range(0, len(corners), batch):
            touched += count_tiles(store, corners[start : start + batch])
    out = np.empty((batch, PATCH_PX, PATCH_PX, 3), dtype=np.uint8)

    def work() -> int:
        for start in range(0, len(corners), batch):
            part = corners[start : start + batch]
            store.read_windows(part, PATCH_PX, PATCH_PX, out[: len(part)])
        return touched

    measured = measure(work, least_s=1.5, clock=time.process_time)
    patches = measured.items / touched * len(corners)
    return replace(measured, note=str(patches / measured.seconds))


def count_tiles(store: TileStore, corners: NDArray[np.int64]) -> int:
    """Count the stored tiles under patches, each once."""
    found = set()
    for x, y in corners.tolist():
        for row in range(y // store.tile_px, (y + PATCH_PX - 1) // store.tile_px + 1):
            for column in range(x // store.tile_px, (x + PATCH_PX - 1) // store.tile_px + 1):
                if row < store.status.shape[0] and column < store.status.shape[1]:
                    found.add((row, column))
    return sum(int(store.status[place]) == STORED for place in found)


def describe(path: str) -> str:
    """Say what was measured on what."""
    with open_tile_store(Path(path)) as store:
        tiles = int((store.status == STORED).sum())
        what = f"{tiles} tiles of {store.tile_px} px with tissue, patches of {PATCH_PX} px."
    return f"{what} {machine('numpy', 'imagecodecs')}"


if __name__ == "__main__":
    main()
