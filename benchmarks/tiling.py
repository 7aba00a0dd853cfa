"""How fast a slide is cut into its tile store, beside what the disk and libjpeg-turbo can do at best.

    python benchmarks/tiling.py CMU-1-Small-Region.svs --peers ENVIRONMENTS --out benchmarks/results/tiling.md

A slide is made first, 40,000 × 40,000 px by default (``--size``, ``--gigapixel``): real H&E texture, laid out in
mirrored copies within round pieces of tissue, on glass; JPEG of quality 80 in tiles of 512 px. Then every method runs
in a process of its own, once per round, the methods by turns; the tables show medians, of ratios those of the rounds.
The slide is in the cache of the system, and nothing of an earlier method waits to be written; what slidepipe writes,
and the plain copy beside it, is flushed to the disk before the clock stops. Rates count pixels of the tiles with
tissue. Planning (finding the tissue, comparing readers) is a row of its own and not part of the rates. With
``--peers``, other tools cut the same slide, each in an environment that is made in that folder (`tiling_peers`);
``--chart`` draws the rates.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import multiprocessing.synchronize
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import dask.array as da
import imagecodecs
import numpy as np
import openslide
import tifffile
import tiffslide
import zarr
from distributed import Client, LocalCluster
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from tiling_peers import PEERS, Peer, PeerOutcome, prepare, run

from slidepipe.provenance import software_versions
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.openslide_reader import OpenSlideReader
from slidepipe.slides.reader import SlideReader, SlideSource
from slidepipe.slides.tiff_reader import TiffReader
from slidepipe.storage.publish import write_text
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store_plan import PIXELS, STORED, read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings

TILE_PX, MPP, QUALITY = 512, 0.25, 80
COARSE = (8, 32)
N_PIECES, PIECE_SHARE = 9, 0.11
PIECE_BYTES = 8 * 2**20
MOST_OPENSLIDE_TILES = 400
DASK_TILES = 16
"""Side of the square that Dask stores, in tiles."""
SLOW_PEER_S = 20
"""A tool that takes longer is measured once."""
Places = list[tuple[int, int]]


@dataclass(frozen=True)
class Task:
    """What every method gets: paths, and the tiles that hold tissue."""

    slide: str
    folder: str
    """Where stores lie; those of earlier rounds are replaced."""
    places: Places
    """Tile row and column of every tile with tissue."""


@dataclass(frozen=True)
class Outcome:
    """What one method did in one round."""

    n_tiles: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Most memory that a process of the method had, Python and its libraries included."""
    n_bytes: int = 0
    n_files: int = 0
    digest: str = ""


@dataclass
class Clock:
    """Time since it was made, on the wall and of this process."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def stop(self, n_tiles: int) -> Outcome:
        """Make an outcome of the time that has passed."""
        return Outcome(n_tiles, time.perf_counter() - self.wall, time.process_time() - self.cpu, peak_mb())


def peak_mb(_: int = 0) -> float:
    """Return the most memory that this process has had; NaN where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def main() -> None:
    """Measure, print the table and write it if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "texture", type=Path, help="slide whose pixels are used, such as CMU-1-Small-Region.svs"
    )
    parser.add_argument("--size", type=int, default=40_000, help="side of the slide that is made, in pixels")
    parser.add_argument("--gigapixel", action="store_true", help="a slide of 100,000 × 100,000 px")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument(
        "--folder", type=Path, help="where slide and stores are written; temporary if left out"
    )
    parser.add_argument("--peers", type=Path, help="folder for the environments of other tools, kept there")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--chart", type=Path, help="picture to draw, such as tiling.svg")
    arguments = parser.parse_args()
    size = 100_000 if arguments.gigapixel else arguments.size
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        slide = folder / "slide.tif"
        # In a process of its own, which keeps this one small.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(make_slide, arguments.texture, slide, size).result()
        places = tissue_places(slide, folder)
        task = Task(str(slide), str(folder), places)
        refused = install(arguments.peers) if arguments.peers else []
        ready = [peer for peer in PEERS if peer.name not in {each.name for each in refused}]
        peers = Peers(arguments.peers, ready) if arguments.peers else None
        rounds, found = measure(task, arguments.rounds, peers)
        head = describe(slide, size, len(places), arguments.rounds)
    outcomes = {name: median(each) for name, each in rounds.items()}
    others = [median_of_peer(each) for each in found]
    compared = [*table(outcomes), "", *peer_table([*others, *refused]), "", *ratios(rounds, others)]
    text = "\n".join(["# Tiling", "", *head, "", *compared, ""])
    print(text)
    if arguments.out:
        write_text(arguments.out, text)
    if arguments.chart:
        draw_chart(arguments.chart, outcomes, others)


# ---- the slide ----


def make_slide(texture: Path, path: Path, size: int) -> None:
    """Write a slide of real texture with levels of factor 1, 8 and 32."""
    with TiffReader(SlideSource("texture", str(texture))) as reader:
        pixels = reader.read_region((0, 0), 0, reader.info.size_px0)
    coarse = np.full((-(-size // TILE_PX) * TILE_PX // COARSE[0],) * 2 + (3,), 255, dtype=np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        write_level(tiff, draw_tiles(pixels, size, coarse), size, 1)
        for factor in COARSE:
            step = factor // COARSE[0]
            side = size // factor
            level = coarse.reshape(coarse.shape[0] // step, step, -1, step, 3).mean((1, 3)).astype(np.uint8)
            write_level(tiff, cut_tiles(level[:side, :side]), side, factor)


def write_level(tiff: tifffile.TiffWriter, tiles: Iterator[bytes], side: int, factor: int) -> None:
    """Write one level from encoded tiles."""
    tiff.write(
        tiles, shape=(side, side, 3), dtype="uint8", tile=(TILE_PX, TILE_PX), photometric="ycbcr",
        compression="jpeg", subsampling=(2, 2), subfiletype=int(factor > 1), metadata=None,
        resolution=(1e4 / (MPP * factor),) * 2, resolutionunit="CENTIMETER",
    )  # fmt: skip


def draw_tiles(texture: NDArray[np.uint8], size: int, coarse: NDArray[np.uint8]) -> Iterator[bytes]:
    """Draw and encode the tiles of level 0 in reading order, and fill in the level of factor 8."""
    random = np.random.default_rng(0)
    centres = random.uniform(0.1, 0.9, (N_PIECES, 2)) * size
    radius = size * PIECE_SHARE
    # Mirrored copies side by side have no seams.
    mirrored = np.concatenate([texture, texture[::-1]])
    mirrored = np.concatenate([mirrored, mirrored[:, ::-1]], axis=1)
    n_tiles, step = -(-size // TILE_PX), TILE_PX // COARSE[0]
    for row in range(n_tiles):
        for column in range(n_tiles):
            y, x = (index * TILE_PX + np.arange(TILE_PX) for index in (row, column))
            tile = (242 + random.integers(-2, 3, (TILE_PX, TILE_PX, 1)) + (0, -1, 1)).astype(np.uint8)
            is_tissue = np.zeros((TILE_PX, TILE_PX), dtype=bool)
            for cy, cx in centres:
                is_tissue |= (y[:, None] - cy) ** 2 + (x - cx) ** 2 < radius**2
            if is_tissue.any():
                drawn = mirrored[np.ix_(y % mirrored.shape[0], x % mirrored.shape[1])]
                tile = np.where(is_tissue[..., None], drawn, tile)
            means = tile.reshape(step, COARSE[0], step, COARSE[0], 3).mean((1, 3))
            coarse[row * step : (row + 1) * step, column * step : (column + 1) * step] = means
            yield encode(tile)


def cut_tiles(level: NDArray[np.uint8]) -> Iterator[bytes]:
    """Encode the tiles of a small level in reading order, padded with white."""
    padding = [(0, -side % TILE_PX) for side in level.shape[:2]]
    level = np.pad(level, [*padding, (0, 0)], constant_values=255)
    for y in range(0, level.shape[0], TILE_PX):
        for x in range(0, level.shape[1], TILE_PX):
            yield encode(level[y : y + TILE_PX, x : x + TILE_PX])


def encode(tile: NDArray[np.uint8], quality: int = QUALITY, subsampling: str = "420") -> bytes:
    """Encode a tile as JPEG."""
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(tile),
            level=quality,
            colorspace="RGB",
            outcolorspace="YCBCR",
            subsampling=subsampling,
        )
    )


# ---- the methods: each returns how many tiles it did and how long that took ----


def make_job(slide: str, folder: str, name: str, settings: TileSettings) -> TileJob:
    """Make a job whose store is named after the method."""
    source = SlideSource("slide", slide)
    store = str(Path(folder, f"{name}.zarr"))
    return TileJob(source, store, settings, TissueSettings(), name, fingerprint_slide(source))


def tissue_places(slide: Path, folder: Path) -> Places:
    """Find the tiles with tissue, and leave a copied store behind for the rows that need its bytes."""
    job = make_job(str(slide), str(folder), "bytes", TileSettings(mode="copy"))
    for block in begin_tiling(job):
        tile_block(job, block)
    finish_tiling(job)
    places: Places = [
        (int(r), int(c)) for r, c in np.argwhere(read_store_plan(Path(job.store)).status == STORED)
    ]
    return places


def fill_store(task: Task, name: str, settings: TileSettings, workers: int = 1) -> Outcome:
    """Cut the slide by slidepipe; planning is not timed."""
    job = make_job(task.slide, task.folder, name, settings)
    shutil.rmtree(job.store, ignore_errors=True)
    blocks = begin_tiling(job)
    if workers == 1:
        clock = Clock()
        for block in blocks:
            tile_block(job, block)
        finish_tiling(job)
        outcome = clock.stop(len(task.places))
    else:
        with start_pool(workers, task.slide) as pool:
            clock = Clock()
            cpu_seconds = sum(pool.map(cpu_of_block, [job] * len(blocks), blocks))
            finish_tiling(job)
            outcome = with_workers(clock.stop(len(task.places)), pool, cpu_seconds)
    files = [file for file in Path(job.store).rglob("*") if file.is_file()]
    return replace(outcome, n_bytes=sum(file.stat().st_size for file in files), n_files=len(files))


def cpu_of_block(job: TileJob, block: int) -> float:
    """Cut one block and return the processor time that it took."""
    start = time.process_time()
    tile_block(job, block)
    return time.process_time() - start


def start_pool(workers: int, slide: str) -> ProcessPoolExecutor:
    """Start processes that have imported everything and opened the slide before the clock runs."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers)
    pool = ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(slide, barrier))
    list(pool.map(int, range(workers)))
    return pool


_worker_slide: openslide.OpenSlide


def start_worker(slide: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    """Open the slide once per worker and wait for the others."""
    global _worker_slide
    _worker_slide = openslide.OpenSlide(slide)
    barrier.wait()


def with_workers(outcome: Outcome, pool: ProcessPoolExecutor, cpu_seconds: float) -> Outcome:
    """Add what the workers used."""
    peak = max(outcome.peak_mb, *pool.map(peak_mb, range(8)))
    return replace(outcome, cpu_seconds=outcome.cpu_seconds + cpu_seconds, peak_mb=peak)


def shards_of_bytes(task: Task) -> list[Path]:
    """Name the shards of the copied store that `tissue_places` leaves behind."""
    return sorted(file for file in Path(task.folder, "bytes.zarr", PIXELS, "c").rglob("*") if file.is_file())


def plain_copy(task: Task) -> Outcome:
    """Read the bytes of the copied store and write them again, flushed."""
    shards = shards_of_bytes(task)
    target = Path(task.folder, "plain.bin")
    clock = Clock()
    with target.open("wb", buffering=0) as output:
        for shard in shards:
            with shard.open("rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    output.write(piece)
        os.fsync(output.fileno())
    return replace(clock.stop(len(task.places)), n_bytes=target.stat().st_size, n_files=1)


def copy(task: Task) -> Outcome:
    """Copy compressed tiles."""
    return fill_store(task, "copy", TileSettings(mode="copy"))


def refer(task: Task) -> Outcome:
    """Point to the tiles, which reads and checks each of them."""
    return fill_store(task, "reference", TileSettings(mode="reference"))


def encode_jpeg(task: Task) -> Outcome:
    """Decode and encode as JPEG."""
    return fill_store(task, "jpeg", TileSettings(mode="encode"))


def encode_jpeg_twice(task: Task) -> Outcome:
    """Decode and encode as JPEG by two workers."""
    return fill_store(task, "jpeg2", TileSettings(mode="encode"), workers=2)


def encode_zstd(task: Task) -> Outcome:
    """Decode and compress without loss."""
    return fill_store(task, "zstd", TileSettings(mode="encode", codec="zstd"))


def plan(task: Task) -> Outcome:
    """Find the tissue, compare readers, make the empty store."""
    job = make_job(task.slide, task.folder, "plan", TileSettings())
    shutil.rmtree(job.store, ignore_errors=True)
    clock = Clock()
    begin_tiling(job)
    return clock.stop(len(task.places))


def run_again(task: Task) -> Outcome:
    """Ask for a slide that is finished, its fingerprint included."""
    clock = Clock()
    job = make_job(task.slide, task.folder, "bytes", TileSettings(mode="copy"))
    for block in begin_tiling(job):  # none
        tile_block(job, block)
    finish_tiling(job)
    return clock.stop(len(task.places))


def raw_streams(task: Task) -> list[bytes]:
    """Read all compressed tiles into memory."""
    with TiffReader(SlideSource("slide", task.slide)) as reader:
        return [reader.read_streams(0, row, [column])[0] for row, column in task.places]


def decode_only(task: Task) -> Outcome:
    """Decode tiles that lie in memory by libjpeg-turbo and forget them."""
    streams = raw_streams(task)
    clock = Clock()
    for stream in streams:
        imagecodecs.jpeg8_decode(stream)
    return clock.stop(len(streams))


def decode_and_encode_only(task: Task) -> Outcome:
    """Decode tiles that lie in memory and encode them as the store does."""
    streams = raw_streams(task)
    settings = TileSettings()
    clock = Clock()
    for stream in streams:
        encode(imagecodecs.jpeg8_decode(stream), settings.quality, settings.subsampling)
    return clock.stop(len(streams))


def some(places: Places) -> Places:
    """Tiles for the slow reader, evenly spread."""
    return places[:: max(1, len(places) // MOST_OPENSLIDE_TILES)]


def read_fast(task: Task) -> Outcome:
    """Read tiles by the TIFF reader."""
    with TiffReader(SlideSource("slide", task.slide)) as reader:
        clock = Clock()
        for row, column in task.places:
            reader.read_region((column * TILE_PX, row * TILE_PX), 0, (TILE_PX, TILE_PX))
        return replace(clock.stop(len(task.places)), digest=digest(reader, task.places))


def read_openslide(task: Task) -> Outcome:
    """Read some of the tiles by OpenSlide."""
    places = some(task.places)
    with openslide.OpenSlide(task.slide) as slide:
        clock = Clock()
        for row, column in places:
            openslide_tile(slide, row, column)
        outcome = clock.stop(len(places))
    with OpenSlideReader(SlideSource("slide", task.slide)) as reader:
        return replace(outcome, digest=digest(reader, task.places))


def read_tiffslide(task: Task) -> Outcome:
    """Read some of the tiles by tiffslide."""
    places = some(task.places)
    with tiffslide.TiffSlide(task.slide) as slide:
        clock = Clock()
        for row, column in places:
            slide.read_region((column * TILE_PX, row * TILE_PX), 0, (TILE_PX, TILE_PX), as_array=True)
        return clock.stop(len(places))


def openslide_tile(slide: openslide.OpenSlide, row: int, column: int) -> Image.Image:
    """Read one tile by OpenSlide."""
    return slide.read_region((column * TILE_PX, row * TILE_PX), 0, (TILE_PX, TILE_PX)).convert("RGB")


def digest(reader: SlideReader, places: Places) -> str:
    """Fingerprint the pixels of some tiles."""
    total = hashlib.sha256()
    for row, column in some(places):
        tile = reader.read_region((column * TILE_PX, row * TILE_PX), 0, (TILE_PX, TILE_PX))
        total.update(tile.tobytes())
    return total.hexdigest()


def openslide_pool(task: Task) -> Outcome:
    """Do what most scripts do: OpenSlide and Pillow in a pool of processes, a JPEG file per tile."""
    folder = Path(task.folder, "files")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    places = some(task.places)
    with start_pool(os.cpu_count() or 1, task.slide) as pool:
        clock = Clock()
        cpu_seconds = sum(pool.map(save_tile, [str(folder)] * len(places), places, chunksize=8))
        outcome = with_workers(clock.stop(len(places)), pool, cpu_seconds)
    sizes = [file.stat().st_size for file in folder.iterdir()]
    return replace(outcome, n_bytes=sum(sizes), n_files=len(sizes))


def save_tile(folder: str, place: tuple[int, int]) -> float:
    """Read one tile, write it as a file, and return the processor time that it took."""
    start = time.process_time()
    settings = TileSettings()
    tile = openslide_tile(_worker_slide, *place)
    tile.save(f"{folder}/{place[0]}_{place[1]}.jpg", quality=settings.quality, subsampling="4:4:4")
    return time.process_time() - start


def openslide_dask(task: Task) -> Outcome:
    """Do what most Dask users do: OpenSlide regions as a Dask array, stored as Zarr shards in zstd by two workers."""
    row, column = np.median(np.array(task.places), axis=0).astype(int).tolist()
    top, left = (max(0, (middle - DASK_TILES // 2) * TILE_PX) for middle in (row, column))
    side, block = DASK_TILES * TILE_PX, DASK_TILES * TILE_PX // 2
    path = Path(task.folder, "dask.zarr")
    shutil.rmtree(path, ignore_errors=True)
    target = zarr.create_array(
        path, shape=(side, side, 3), chunks=(TILE_PX, TILE_PX, 3), shards=(block, block, 3), dtype="uint8",
        compressors=zarr.codecs.ZstdCodec(level=1),
    )  # fmt: skip
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.run(warm_up, task.slide)
        region = da.map_blocks(
            read_for_dask, task.slide, (top, left), dtype="uint8", chunks=((block,) * 2, (block,) * 2, (3,))
        )
        clock = Clock()
        da.store(region, target, lock=False)
        outcome = clock.stop(DASK_TILES**2)
    files = [file for file in path.rglob("*") if file.is_file()]
    return replace(outcome, n_bytes=sum(file.stat().st_size for file in files), n_files=len(files))


def warm_up(slide: str) -> None:
    """Import everything and read the slide's header before the clock runs."""
    openslide.OpenSlide(slide).close()


def read_for_dask(
    slide: str, corner: tuple[int, int], block_info: dict[None, dict[str, list[tuple[int, int]]]]
) -> NDArray[np.uint8]:
    """Read one block of the Dask array."""
    (top, bottom), (left, right), _ = block_info[None]["array-location"]
    with openslide.OpenSlide(slide) as opened:
        image = opened.read_region((corner[1] + left, corner[0] + top), 0, (right - left, bottom - top))
        return np.asarray(image.convert("RGB"))


METHODS: dict[str, Callable[[Task], Outcome]] = {
    "limit: read and write the same bytes, 8 MiB pieces": plain_copy,
    "**slidepipe, copy**": copy,
    "**slidepipe, reference**": refer,
    "limit: libjpeg-turbo decodes": decode_only,
    "slidepipe's TIFF reader, pixels only": read_fast,
    "OpenSlide, pixels only": read_openslide,
    "tiffslide, pixels only": read_tiffslide,
    "limit: libjpeg-turbo decodes and encodes": decode_and_encode_only,
    "**slidepipe, encode jpeg**": encode_jpeg,
    "**slidepipe, encode jpeg, 2 workers**": encode_jpeg_twice,
    "**slidepipe, encode zstd**": encode_zstd,
    "OpenSlide and Pillow, process pool, JPEG files": openslide_pool,
    "OpenSlide and zstd-Zarr through Dask, 2 workers": openslide_dask,
    "slidepipe, planning": plan,
    "slidepipe, second run over a finished slide": run_again,
}
"""What is compared is measured one after the other: a processor's speed changes within minutes."""


# ---- measuring ----


@dataclass(frozen=True)
class Peers:
    """Other tools that are installed."""

    folder: Path
    ready: Sequence[Peer]


def install(folder: Path) -> list[PeerOutcome]:
    """Make the environments of all other tools and return those that cannot be made."""
    reasons = [(peer.name, prepare(peer, folder)) for peer in PEERS]
    return [PeerOutcome(name, failure=reason) for name, reason in reasons if reason]


def measure(
    task: Task, rounds: int, peers: Peers | None
) -> tuple[dict[str, list[Outcome]], list[list[PeerOutcome]]]:
    """Run all methods by turns, each in a fresh process."""
    found: dict[str, list[Outcome]] = {name: [] for name in METHODS}
    by_peers: dict[str, list[PeerOutcome]] = {peer.name: [] for peer in peers.ready} if peers else {}
    for _ in range(rounds):
        for name in METHODS:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found[name].append(pool.submit(run_method, name, task).result())
            print(name, found[name][-1], flush=True)
        for peer in peers.ready if peers else ():
            earlier = by_peers[peer.name]
            if not earlier or not (earlier[0].failure or earlier[0].seconds > SLOW_PEER_S):
                os.sync()
                earlier.append(
                    run(peer, peers.folder, task.slide, Path(task.folder), some(task.places), TILE_PX)
                )
                print(earlier[-1], flush=True)
    return found, list(by_peers.values())


def median(outcomes: Sequence[Outcome]) -> Outcome:
    """Take the medians of all rounds."""
    middle = {
        what: statistics.median(getattr(outcome, what) for outcome in outcomes)
        for what in ("seconds", "cpu_seconds", "peak_mb")
    }
    return replace(outcomes[0], **middle)


def median_of_peer(outcomes: Sequence[PeerOutcome]) -> PeerOutcome:
    """Take the median of the rounds of one tool, or its failure."""
    failed = [each for each in outcomes if each.failure]
    if failed:
        return failed[0]
    return replace(outcomes[0], seconds=statistics.median(each.seconds for each in outcomes))


def run_method(name: str, task: Task) -> Outcome:
    """Run one method, with its input in the cache and nothing left to be written by the one before it."""
    for path in (Path(task.slide), *shards_of_bytes(task)):
        with path.open("rb", buffering=0) as file:
            while file.read(PIECE_BYTES):
                pass
    os.sync()
    return METHODS[name](task)


# ---- the report ----


def rate(outcome: Outcome) -> float:
    """Megapixels per second."""
    return outcome.n_tiles * TILE_PX**2 / 1e6 / outcome.seconds


def table(outcomes: dict[str, Outcome]) -> list[str]:
    """Lay out what was measured."""
    lines = [
        "| method | tiles | s | Mpx/s | Mpx per processor s | MB written | files | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in outcomes.items():
        per_cpu = rate(each) * each.seconds / max(each.cpu_seconds, 1e-3)
        speed = " | " if METHODS[name] in (plan, run_again) else f"{rate(each):,.0f} | {per_cpu:,.0f}"
        written = f"{each.n_bytes / 1e6:.1f} | {each.n_files}" if each.n_bytes else " | "
        cells = f"{each.n_tiles} | {each.seconds:.2f} | {speed} | {written} | {each.peak_mb:.0f}"
        lines.append(f"| {name} | {cells} |")
    return lines


def peer_table(peers: Sequence[PeerOutcome]) -> list[str]:
    """Lay out what other tools did."""
    if not peers:
        return []
    lines = ["| other tool | Mpx | s | Mpx/s |", "|---|---|---|---|"]
    for each in peers:
        if each.failure:
            lines.append(f"| {each.name} | {each.failure} | | |")
        else:
            numbers = f"{each.pixels / 1e6:,.0f} | {each.seconds:.1f} | {peer_rate(each):,.1f}"
            lines.append(f"| {each.name} | {numbers} |")
    return lines


def peer_rate(outcome: PeerOutcome) -> float:
    """Megapixels per second."""
    return outcome.pixels / 1e6 / outcome.seconds


def draw_chart(path: Path, outcomes: dict[str, Outcome], peers: Sequence[PeerOutcome]) -> None:
    """Draw the rates of everything that reads a slide and keeps its tiles."""
    keepers = (copy, encode_jpeg, encode_zstd, openslide_pool, openslide_dask)
    rates = {name.strip("*"): rate(each) for name, each in outcomes.items() if METHODS[name] in keepers}
    rates |= {each.name: peer_rate(each) for each in peers if not each.failure}
    ordered = sorted(rates.items(), key=lambda item: item[1])
    figure = Figure(figsize=(8, 0.34 * len(ordered) + 0.9), layout="constrained")
    axes = figure.subplots()
    colours = ["#0072b2" if name.startswith("slidepipe") else "#999999" for name, _ in ordered]
    bars = axes.barh([name for name, _ in ordered], [value for _, value in ordered], color=colours)
    axes.bar_label(
        bars, [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for _, value in ordered], padding=3
    )
    axes.set_xscale("log")
    axes.set_xlabel("Mpx/s, logarithmic")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def ratios(rounds: dict[str, list[Outcome]], peers: Sequence[PeerOutcome]) -> list[str]:
    """Compare rates with the targets, each method with the other of its round."""
    by_method = {METHODS[name]: outcomes for name, outcomes in rounds.items()}
    pairs: list[tuple[str, Callable[[Task], Outcome], Callable[[Task], Outcome], float]] = [
        ("copy / read and write of the same bytes", copy, plain_copy, 0.5),
        ("copy / OpenSlide and Pillow, process pool", copy, openslide_pool, 50),
        ("copy / OpenSlide and zstd-Zarr through Dask", copy, openslide_dask, 50),
        ("TIFF reader / libjpeg-turbo decodes", read_fast, decode_only, 0.9),
        ("TIFF reader / OpenSlide", read_fast, read_openslide, 7),
        ("encode jpeg / libjpeg-turbo decodes and encodes", encode_jpeg, decode_and_encode_only, 0.6),
        ("encode jpeg, two workers / one", encode_jpeg_twice, encode_jpeg, 1.8),
    ]
    lines = ["| ratio of rates | measured | target |", "|---|---|---|"]
    for name, one, other, target in pairs:
        each_round = zip(by_method[one], by_method[other], strict=True)
        ratio = statistics.median(rate(above) / rate(below) for above, below in each_round)
        lines.append(f"| {name} | {ratio:.2f} | {target:g} |")
    for each in (each for each in peers if not each.failure):
        wanted = 4 if each.name.startswith("wsic") else 50
        times = rate(median(by_method[copy])) / peer_rate(each)
        lines.append(f"| copy / {each.name} | {times:,.1f} | {wanted} |")
    same = by_method[read_fast][0].digest == by_method[read_openslide][0].digest
    lines.append(
        f"| pixels of the TIFF reader and OpenSlide | {'identical' if same else 'NOT identical'} | identical |"
    )
    lines.append(f"| second run over a finished slide | {median(by_method[run_again]).seconds:.2f} s | 1 s |")
    return lines


def describe(slide: Path, size: int, n_tiles: int, rounds: int) -> list[str]:
    """Say what was measured on what."""
    versions = software_versions()
    names = (
        "slidepipe",
        "python",
        "numpy",
        "zarr",
        "imagecodecs",
        "openslide-python",
        "openslide-bin",
        "tiffslide",
    )
    shown = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
    return [
        f"A slide of {size:,} × {size:,} px, {slide.stat().st_size / 1e6:.0f} MB, {n_tiles} tiles of {TILE_PX} px with "
        f"tissue. Medians of {rounds}. OpenSlide reads {len(some([(0, 0)] * n_tiles))} of the tiles.",
        "",
        f"{cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end. {shown}. Commit {commit()}.",
    ]


def cpu_model() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def commit() -> str:
    """Name the commit that is checked out, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


if __name__ == "__main__":
    main()
