"""What benchmarks share: each measurement in a process of its own, and what stands above a table."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidepipe.provenance import software_versions


@dataclass(frozen=True)
class Measured:
    """One method in one round."""

    items: int
    seconds: float
    peak_mb: float
    """Most memory that the process has had, Python and its libraries included; NaN where the system does not say."""
    note: str = ""

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds


def alone(function: Callable[..., Measured], *arguments: Any) -> Measured:
    """Run a measurement in a fresh process with one thread per library."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(
    work: Callable[[], int], least_s: float = 0.0, clock: Callable[[], float] = time.perf_counter
) -> Measured:
    """Time a piece of work that returns its number of items, again and again until enough time has passed."""
    start, items = clock(), 0
    while items == 0 or clock() - start < least_s:
        items += work()
    return Measured(items, clock() - start, peak_mb())


def peak_mb() -> float:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def median_rate(rounds: Iterable[Measured]) -> float:
    """Return the median of the rates of all rounds."""
    return statistics.median(one.rate for one in rounds)


def machine(*packages: str) -> str:
    """Say on what was measured: processor, load, versions and commit."""
    versions = software_versions()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("slidepipe", "python", *packages) if name in versions
    )
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    commit = found.stdout.strip() if found.returncode == 0 else "unknown"
    return (
        f"{model or platform.processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end. {shown}. "
        f"Commit {commit}."
    )
