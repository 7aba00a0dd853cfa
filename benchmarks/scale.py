"""What ten thousand slides come to: on paper from measured rates, and in the real planner, scheduler and journal.

    python benchmarks/scale.py --blocks 1000000 --out benchmarks/results/scale.md

On paper: 10,000 slides of 100,000 × 200,000 px, a fifth of each tissue, planned by the package's own grid: tiles,
tasks, files, bytes, and hours at so many workers if rates are given (``--tiles-per-s`` of one CPU worker,
``--patches-per-s`` of one GPU). In truth: 10,000 slides go through the engine with blocks that do nothing, on local
Dask workers, while the memory of this process (client and scheduler) and of the workers is watched; then
`slidepipe status` reads the journal of those slides in four stages. The targets: a million blocks in bounded memory,
status in under 5 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from slidepipe.config import ClusterSettings
from slidepipe.geometry import PixelSize, ceil_div
from slidepipe.provenance import software_versions
from slidepipe.runs.cluster import open_executor
from slidepipe.runs.engine import SlideWork, run_slides
from slidepipe.runs.folder import open_run
from slidepipe.runs.journal import Entry, Journal
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.stages import TILE, SlideStage
from slidepipe.storage.publish import write_text
from slidepipe.tiles.grid import TileGrid, TileSettings, plan_tile_grid
from slidepipe.tiles.tissue import TissueMask

SLIDE_PX, MPP, MASK_MPP, TISSUE = (100_000, 200_000), 0.25, 8.0, 0.2
PATCH_STRIDE_PX = 224
STATUS_STAGES = ("tile", "heatmap", "lesions", "export")


@dataclass(slots=True)
class Quiet:
    """Counts what ended, and says so after each twentieth."""

    to_do: int
    start: float = field(default_factory=time.perf_counter)
    blocks: int = 0
    slides: int = 0
    failed: int = 0

    def stage_begins(self, stage: str, slides: int) -> None:
        """Say nothing."""

    def blocks_found(self, count: int) -> None:
        """Say nothing."""

    def block_done(self, report: dict[str, Any]) -> None:
        """Count."""
        self.blocks += 1
        if self.blocks % max(1, self.to_do // 20) == 0:
            seconds = time.perf_counter() - self.start
            print(f"{self.blocks:,} of {self.to_do:,} blocks after {seconds:,.0f} s", flush=True)

    def slide_done(self, entry: Entry) -> None:
        """Count."""
        self.slides += 1
        self.failed += entry.failure is not None

    def stage_ends(self) -> None:
        """Say nothing."""


@dataclass(slots=True)
class Memory:
    """Resident memory of this process and of its children, over time."""

    own: list[int] = field(default_factory=list)
    largest_worker: list[int] = field(default_factory=list)


def begin(job: int) -> tuple[int, ...]:
    """Plan a slide of so many blocks."""
    return tuple(range(job))


def block(job: int, index: int) -> dict[str, Any]:
    """Do nothing."""
    return {"block": index, "items": 0, "pixels": 0}


def finish(job: int) -> dict[str, Any]:
    """Do nothing."""
    return {"n_blocks": job, "n_tiles": 0, "n_stored": 0, "n_damaged": 0, "bytes": 0}


def main() -> None:
    """Measure, print the table and write it if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--blocks", type=int, default=100_000, help="blocks of all slides together")
    parser.add_argument(
        "--workers", type=int, default=2, help="local Dask workers for the blocks that do nothing"
    )
    parser.add_argument("--at-workers", type=int, default=64, help="workers, or GPUs, for the hours on paper")
    parser.add_argument("--tiles-per-s", type=float, help="measured rate of one CPU worker")
    parser.add_argument("--patches-per-s", type=float, help="measured rate of one GPU")
    parser.add_argument(
        "--bytes-per-tile", type=float, default=40_000.0, help="measured size of a stored tile"
    )
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    rows = [*on_paper(arguments)]
    with tempfile.TemporaryDirectory() as folder:
        rows += drive_engine(Path(folder), arguments.slides, arguments.blocks, arguments.workers)
        rows.append(read_status(Path(folder), arguments.slides))
    text = "\n".join(
        ["# Scale", "", *machine(), "", "| what | measured | target |", "|---|---|---|", *rows, ""]
    )
    print(text)
    if arguments.out:
        write_text(arguments.out, text)


def planned_grid() -> TileGrid:
    """Plan one slide with an oval of tissue, by the package's own rules."""
    rows, columns = (ceil_div(int(side * MPP), int(MASK_MPP)) for side in reversed(SLIDE_PX))
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    tissue = x**2 + y**2 < 4 * TISSUE / np.pi
    info = SlideInfo(
        "slide", SLIDE_PX, PixelSize(MPP, MPP), (SlideLevel(SLIDE_PX, 1.0),), (512, 512), "none", "none"
    )
    return plan_tile_grid(info, TissueMask(tissue, (MASK_MPP / MPP, MASK_MPP / MPP)), TileSettings())


def on_paper(arguments: argparse.Namespace) -> Iterator[str]:
    """Multiply."""
    grid, n = planned_grid(), arguments.slides
    n_tiles, n_blocks = int(grid.is_tissue.sum()), len(grid.blocks)
    patches = n_tiles * grid.tile_px**2 / PATCH_STRIDE_PX**2
    what = f"{n:,} slides of {SLIDE_PX[0]:,} × {SLIDE_PX[1]:,} px, {TISSUE:.0%} tissue"
    yield f"| {what}: tiles of {grid.tile_px} px | {n * n_tiles:,} | |"
    yield f"| tasks of the stage tile: begin, blocks, finish | {n * (n_blocks + 2):,} | |"
    yield f"| shards, one file each | {n * n_blocks:,} | |"
    terabytes = n * n_tiles * arguments.bytes_per_tile / 1e12
    yield f"| bytes at {arguments.bytes_per_tile:,.0f} a tile | {terabytes:,.1f} TB | |"
    if arguments.tiles_per_s:
        hours = n * n_tiles / arguments.tiles_per_s / arguments.at_workers / 3600
        rate = f"{arguments.tiles_per_s:,.0f} tiles/s each"
        yield f"| tiles at {arguments.at_workers} workers of {rate} | {hours:,.1f} h | |"
    if arguments.patches_per_s:
        hours = n * patches / arguments.patches_per_s / arguments.at_workers / 3600
        rate = f"{arguments.patches_per_s:,.0f} patches/s each, stride {PATCH_STRIDE_PX} px"
        yield f"| heatmaps at {arguments.at_workers} GPUs of {rate} | {hours:,.1f} h | |"


def drive_engine(root: Path, n_slides: int, n_blocks: int, n_workers: int) -> Iterator[str]:
    """Send blocks that do nothing through engine, scheduler and journal."""
    stage = SlideStage(TILE.name, 1, begin, block, finish)
    each = max(1, n_blocks // n_slides)
    work = [SlideWork(f"slide_{index:05}", "token", each) for index in range(n_slides)]
    journal = Journal(open_run(root, create=True).journal)
    quiet = Quiet(each * n_slides)
    with (
        open_executor(ClusterSettings(kind="local", workers=n_workers)) as executor,
        watched_memory() as memory,
    ):
        start = time.perf_counter()
        run_slides(stage, work, executor, journal, quiet)
        seconds = time.perf_counter() - start
    if quiet.failed:
        sys.exit(f"{quiet.failed} slides failed")
    done, total = quiet.blocks, quiet.blocks + 2 * quiet.slides
    own, worker = memory.own, memory.largest_worker
    yield f"| {done:,} blocks that do nothing, {n_slides:,} slides, {n_workers} workers | {seconds:,.0f} s | |"
    yield f"| tasks a second through the scheduler | {total / seconds:,.0f} | |"
    marks = [own[len(own) * part // 4] / 2**20 for part in (1, 2, 3)]
    told = ", ".join(f"{mark:,.0f}" for mark in marks)
    yield f"| client and scheduler, MiB after a quarter, half, three quarters | {told} | |"
    yield f"| client and scheduler, most | {max(own) / 2**20:,.0f} MiB | bounded |"
    yield f"| a worker, most | {max(worker, default=0) / 2**20:,.0f} MiB | bounded |"


@contextmanager
def watched_memory() -> Iterator[Memory]:
    """Look up memory once a second."""
    memory, over = Memory(), threading.Event()
    process = psutil.Process()

    def watch() -> None:
        while True:
            memory.own.append(process.memory_info().rss)
            sizes = []
            for child in process.children(recursive=True):
                try:
                    sizes.append(child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            memory.largest_worker.append(max(sizes, default=0))
            if over.wait(1.0):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def read_status(root: Path, n_slides: int) -> str:
    """Time the command on a journal of four stages."""
    journal = Journal(root / "journal")
    like = journal.read(TILE.name, "slide_00000")
    if like is None:
        sys.exit("the journal is empty")
    for stage in STATUS_STAGES[1:]:
        for index in range(n_slides):
            journal.write(replace(like, stage=stage, slide_id=f"slide_{index:05}"))
    start = time.perf_counter()
    command = [sys.executable, "-m", "slidepipe", "status", "--run", str(root), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return f"| `slidepipe status` of {n_slides:,} slides in {len(STATUS_STAGES)} stages | {seconds:.1f} s | 5 s |"


def machine() -> list[str]:
    """Say what was measured on what."""
    versions = software_versions()
    shown = ", ".join(
        f"{name} {versions[name]}"
        for name in ("slidepipe", "python", "numpy", "distributed")
        if name in versions
    )
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return [f"{cpu_model()}, {os.cpu_count()} cores. {shown}. Commit {found.stdout.strip() or 'unknown'}."]


def cpu_model() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


if __name__ == "__main__":
    main()
