"""How fast a slide is looked at, patch by patch and densely, beside the network alone on random input.

    python benchmarks/heatmap.py SLIDE --model FOLDER --out benchmarks/results/heatmap.md

SLIDE holds real pixels, such as one of make_cohort.py; it is cut first, at the pixel size of the model. Without
--model the network ``compact`` is taken with random weights, which takes the same time as trained ones. Every method
runs in a process of its own on one square of the slide that is full of tissue, with one thread for Torch and one that
reads ahead, in turns; the tables show medians, of ratios those of the rounds. The network alone is measured again
between every two rows, and a row's share of this limit is that of the mean before and after it: machines that others
use as well get slower and faster within minutes. ``resnet18`` on patches of 224 px, with random weights, is the second
network: it pads, so that dense mode is another predictor with it.

TIAToolbox's patch predictor gets the same network and the same patches, in an environment of its own: name its Python
with --tiatoolbox. Without it the row says that it was not measured.

--device cuda measures on a GPU, in 16 bits, with CUDA graphs, and with tiles that the GPU decodes; the limit is the
network alone in 16 bits. Below a table stands how long a slide of 50,000 patches takes at the rate of patch mode.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import Measured, alone, machine, measure, median_rate, peak_mb
from numpy.typing import NDArray
from patches import cut

from slidepipe.classifier.card import ModelCard, read_card
from slidepipe.classifier.checkpoint import load_model, save_model
from slidepipe.classifier.device_tiles import tile_decoder
from slidepipe.classifier.devices import describe_device
from slidepipe.classifier.inference import classify_cells
from slidepipe.classifier.networks import build_network
from slidepipe.classifier.precision import computing_in, inference_precision
from slidepipe.classifier.settings import DeviceName, InferenceMode, InferenceSettings
from slidepipe.runs.allowance import usable_cores
from slidepipe.storage.publish import write_text
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.tiles.store_plan import STORED
from slidepipe.timing import Stopwatch

SLIDE_PATCHES = 50_000
TIATOOLBOX = Path(__file__).with_name("heatmap_tiatoolbox.py")


@dataclass(frozen=True)
class Row:
    """One line of a table: a mode at a stride, over so many cells along each side of a square."""

    mode: InferenceMode
    stride_px: int
    cells: int


@dataclass(frozen=True)
class Subject:
    """A network and what is measured of it."""

    name: str
    folder: str
    store: str
    rows: tuple[Row, ...]
    batch: int
    device: DeviceName

    def settings(self, mode: InferenceMode) -> InferenceSettings:
        """Say how to compute: in 32 bits on a CPU, on a GPU as fast as it goes."""
        if self.device == "cpu":
            return InferenceSettings(mode=mode, batch_size=self.batch)
        return InferenceSettings(
            mode=mode,
            batch_size=self.batch,
            precision="auto",
            runtime="cuda-graphs",
            jpeg_decoder="cuda",
            readers=usable_cores(),
        )


def main() -> None:
    """Measure, print the tables and write them if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", type=Path, help="folder of a model; else compact with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiatoolbox", type=Path, help="Python of an environment with TIAToolbox")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model or random_model(folder / "compact", "compact", 96)
        store = cut(arguments.slide, folder, read_card(model).mpp)
        text = ["# Heatmaps", ""]
        for number, subject in enumerate(subjects(model, store, folder, arguments.device)):
            peer = arguments.tiatoolbox if number == 0 else None
            text += [
                f"## {subject.name}",
                "",
                *table(subject, arguments.rounds, peer, with_peer=number == 0),
                "",
            ]
        text[2:2] = [describe(store, arguments.device), ""]
    print("\n".join(text))
    if arguments.out:
        write_text(arguments.out, "\n".join(text))


def subjects(model: Path, store: str, folder: Path, device: DeviceName) -> tuple[Subject, Subject]:
    """List the networks and what is measured of them; batches are larger on a GPU."""
    small_batch, large_batch = (16, 16) if device == "cpu" else (1024, 128)
    card = read_card(model)
    side = card.patch_px
    small = (
        Row("patch", side, 40),
        Row("patch", 64, 56),
        Row("patch", 32, 64),
        Row("dense", side, 40),
        Row("dense", 64, 56),
        Row("dense", 32, 64),
    )
    large = (Row("patch", 224, 8), Row("patch", 32, 8), Row("dense", 224, 9), Row("dense", 32, 64))
    padded = str(random_model(folder / "resnet18", "resnet18", 224, card.mpp))
    return (
        Subject(f"{card.architecture}, patches of {side} px", str(model), store, small, small_batch, device),
        Subject("resnet18, patches of 224 px", padded, store, large, large_batch, device),
    )


def random_model(folder: Path, architecture: str, patch_px: int, mpp: float = 0.972) -> Path:
    """Write a model with random weights."""
    card = ModelCard(
        architecture=architecture, patch_px=patch_px, mpp=mpp, mpp_range=(mpp, mpp), mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5), weights_sha256="", training={}, metrics={}, software={},
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(folder, build_network(architecture), card)
    return folder


def table(subject: Subject, rounds: int, tiatoolbox: Path | None, *, with_peer: bool) -> list[str]:
    """Measure a network in turns and put its medians into a table."""
    bare = [alone(bare_forward, subject)]
    found: dict[Row, list[Measured]] = {row: [] for row in subject.rows}
    shares: dict[Row, list[float]] = {row: [] for row in subject.rows}
    for _ in range(rounds):
        for row in subject.rows:
            found[row].append(alone(look, subject, row))
            bare.append(alone(bare_forward, subject))
            shares[row].append(found[row][-1].rate / limit(bare))
    peer: list[Measured] = []
    if tiatoolbox is not None:
        peer.append(run_tiatoolbox(subject, tiatoolbox))
        bare.append(alone(bare_forward, subject))
    lines = [
        "| method | stride px | cells/s | share of the limit | against patch mode | peak MB | busy |",
        "|---|---|---|---|---|---|---|",
        f"| network alone, random input (the limit) | | {median_rate(bare):,.1f} | 1 | | {most(bare):,.0f} | |",
    ]
    by_patch = {row.stride_px: shares[row] for row in subject.rows if row.mode == "patch"}
    for row in subject.rows:
        times = "" if row.mode == "patch" else f"{median_ratio(shares[row], by_patch[row.stride_px]):.1f} ×"
        lines.append(
            f"| {row.mode} mode | {row.stride_px} | {median_rate(found[row]):,.1f} | {spread(shares[row])} | {times} | "
            f"{most(found[row]):,.0f} | {found[row][-1].note} |"
        )
    if with_peer:
        lines.append(
            f"| TIAToolbox PatchPredictor | {subject.rows[0].stride_px} | {peer[0].rate:,.1f} | "
            f"{peer[0].rate / limit(bare):.2f} | | {peer[0].peak_mb:,.0f} | {peer[0].note} |"
            if peer
            else "| TIAToolbox PatchPredictor | | not measured: no environment was named by --tiatoolbox | | | | |"
        )
    row = subject.rows[0]
    whole_s = SLIDE_PATCHES / median_rate(found[row])
    return [*lines, "", f"A slide of {SLIDE_PATCHES:,} patches, {row.stride_px} px apart: {whole_s:,.0f} s."]


def limit(bare: list[Measured]) -> float:
    """Return the rate of the network alone around the row between its last two measurements."""
    return statistics.mean(one.rate for one in bare[-2:])


def spread(shares: list[float]) -> str:
    """Write the median of the rounds, and the lowest and highest of them."""
    return f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"


def median_ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios of the rounds."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def most(rounds: list[Measured]) -> float:
    """Return the median of the peaks of memory."""
    return statistics.median(one.peak_mb for one in rounds)


def bare_forward(subject: Subject) -> Measured:
    """Run the network as it was trained on random numbers, on a GPU in 16 bits; items are patches."""
    torch.set_num_threads(1)
    model = load_model(Path(subject.folder), subject.device)
    side = model.card.patch_px
    pixels = torch.rand(subject.batch, 3, side, side, device=model.device)
    pixels = pixels.to(memory_format=torch.channels_last)
    precision = inference_precision("auto", model.device)

    def work() -> int:
        with torch.inference_mode(), computing_in(precision, model.device):
            # Copied back, as every pass is, so that the GPU is waited for.
            model.patch_pass.network(pixels).cpu()
        return subject.batch

    work()
    return measure(work, least_s=8)


def look(subject: Subject, row: Row) -> Measured:
    """Look at a square of a slide, from stored tiles to probabilities in memory; items are cells."""
    torch.set_num_threads(1)
    model = load_model(Path(subject.folder), subject.device)
    settings = subject.settings(row.mode)
    cells = square(subject.store, row)

    def open_tiles() -> TileStore:
        decoder = tile_decoder(settings, model.device)
        return open_tile_store(Path(subject.store), threads=settings.readers, decoder=decoder)

    with open_tiles() as tiles:
        # What is made once per process, such as the plans of oneDNN, is not part of the rate.
        classify_cells(model, tiles, cells[:1], row.stride_px, settings)
    watch = Stopwatch()

    def work() -> int:
        with open_tiles() as tiles:
            classify_cells(model, tiles, cells, row.stride_px, settings, watch)
        return len(cells)

    measured = measure(work)
    busy = ", ".join(f"{part} {seconds / measured.seconds:.0%}" for part, seconds in watch.seconds.items())
    return Measured(measured.items, measured.seconds, peak_mb(), busy)


def square(store: str, row: Row) -> NDArray[np.int64]:
    """Choose the square of cells with the most tissue on a slide, at places that suit dense areas."""
    with open_tile_store(Path(store)) as tiles:
        stored, tile_px = tiles.status == STORED, tiles.tile_px
    side = max(round(row.cells * row.stride_px / tile_px), 1)
    sums = np.pad(stored.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    counts = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    place = np.array(np.unravel_index(int(counts.argmax()), counts.shape)) * tile_px // row.stride_px
    corner = place // 64 * 64 if row.mode == "dense" and row.cells >= 64 else place
    cells: NDArray[np.int64] = np.argwhere(np.ones((row.cells, row.cells), dtype=np.bool_)) + corner
    return cells


def run_tiatoolbox(subject: Subject, python: Path) -> Measured:
    """Give the patches of the first row to TIAToolbox, with the same network as TorchScript."""
    row = subject.rows[0]
    model = load_model(Path(subject.folder), "cpu")
    side = model.card.patch_px
    cells = square(subject.store, row)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_tile_store(Path(subject.store)) as tiles:
            corners = cells[:, ::-1] * row.stride_px + (row.stride_px - side) // 2
            np.save(folder / "patches.npy", tiles.read_windows(corners, side, side))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
            torch.jit.trace(model.patch_pass, example).save(folder / "network.pt")
        command = [str(python), str(TIATOOLBOX), name, str(subject.batch)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            return Measured(
                0, 1, float("nan"), "failed: " + (found.stderr.strip().splitlines() or ["?"])[-1][:200]
            )
        answer = json.loads((folder / "answer.json").read_text())
        apart = np.abs(np.load(folder / "probabilities.npy") - by_ourselves(subject, row)).max()
    return Measured(
        answer["patches"],
        answer["seconds"],
        answer["peak_mb"],
        f"version {answer['version']}, patches in memory, {apart:.0e} from ours at most",
    )


def by_ourselves(subject: Subject, row: Row) -> NDArray[np.float32]:
    """Compute what the peer is compared with."""
    with open_tile_store(Path(subject.store)) as tiles:
        model = load_model(Path(subject.folder), "cpu")
        settings = InferenceSettings(mode=row.mode, batch_size=subject.batch)
        return classify_cells(model, tiles, square(subject.store, row), row.stride_px, settings)


def describe(store: str, device: DeviceName) -> str:
    """Say what was measured on what."""
    with open_tile_store(Path(store)) as tiles:
        width, height = tiles.size_px
        stored = int((tiles.status == STORED).sum())
    where = "One thread for Torch" if device == "cpu" else describe_device(torch.device(device))
    return (
        f"A slide of {width:,} × {height:,} px at {tiles.pixel_size.mean_um:.3g} µm, {stored} tiles of "
        f"{tiles.tile_px} px with tissue. {where}. {machine('torch', 'numpy', 'imagecodecs')}"
    )


if __name__ == "__main__":
    main()
