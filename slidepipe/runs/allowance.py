"""How many cores and how much memory this process may use: of the machine, or what a control group leaves of them.

SLURM and containers limit their processes by control groups, of version 1 or 2, and by affinity masks. A process counts
by its own group and by all groups around it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from distributed.system import memory_limit

MIN_WORKER_BYTES = 2 * 2**30
"""Memory that a worker needs for a whole shard of tiles, its encoded form and a batch of patches."""

_PROC = Path("/proc/self/cgroup")
_SYS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Count the cores this process may use.

    Returns
    -------
    int
        At least 1. Respects affinity masks (taskset, SLURM) and the quotas of control groups, rounded up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _groups("cpu")]
    return max(1, math.ceil(min([cores, *(quota for quota in quotas if quota is not None)])))


def usable_memory() -> int:
    """Measure the memory that this process may use.

    Returns
    -------
    int
        Bytes of the machine, or what its control groups leave of them.
    """
    limits = [memory_limit()]
    for folder in _groups("memory"):
        text = [*_lines(folder / "memory.max"), *_lines(folder / "memory.limit_in_bytes")]
        limits += [int(value) for value in text if value.isdecimal()]
    return min(limits)


def worker_count(threads_per_worker: int) -> int:
    """Choose how many workers to start on this machine.

    Parameters
    ----------
    threads_per_worker
        Threads of each.

    Returns
    -------
    int
        As many as there are cores for, but so few that each gets `MIN_WORKER_BYTES` of memory; at least 1.
    """
    return max(1, min(usable_cores() // threads_per_worker, usable_memory() // MIN_WORKER_BYTES))


def _groups(controller: str) -> Iterator[Path]:
    """Give the folders of the control groups that hold this process, from its own outwards."""
    for line in _lines(_PROC):
        _, controllers, group = line.split(":", 2)
        names = set(controllers.split(",")) - {""}
        if names and controller not in names:
            continue
        # Version 1 has a folder for each controller, under its own name or that of all that are mounted together.
        roots = [_SYS / controllers, _SYS / controller] if names else [_SYS, _SYS / "unified"]
        for root in dict.fromkeys(roots):
            own = root / group.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _quota(folder: Path) -> float | None:
    """Return the cores that a control group allows, or None if it does not say."""
    quota, period, *_ = [
        *(" ".join(_lines(folder / "cpu.max")).split()),
        *(_lines(folder / "cpu.cfs_quota_us") + _lines(folder / "cpu.cfs_period_us")),
        "",
        "",
    ]
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
