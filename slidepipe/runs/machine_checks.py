"""The doctor on cores, memory, variables of the environment and the disk: what is there, and what would be slow."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slidepipe.errors import ObjectStoreError
from slidepipe.runs.allowance import MIN_WORKER_BYTES, usable_cores, usable_memory, worker_count
from slidepipe.runs.check import Check
from slidepipe.storage.locations import as_remote
from slidepipe.storage.remote import RemotePath

if TYPE_CHECKING:
    from slidepipe.cluster_settings import ClusterSettings

MIN_FREE_BYTES = 20 * 2**30
"""Free space below which a cohort of a few slides may fill the disk."""
SLOW_WRITE = 100.0
"""MB/s, flushed to disk; below this, tiling waits for the disk."""
TRIM_THRESHOLD = 16 * 2**20
"""glibc trim threshold in bytes below which every decoded tile is mapped and faulted anew. Dask's own is 65536."""
TRIM_VARIABLE = "MALLOC_TRIM_THRESHOLD_"
"""Where the environment sets it."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Where the environment sets the threads of numerical libraries."""

_PROBE_BYTES = 32 * 2**20


def check_machine(cluster: ClusterSettings | None, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check cores, memory and the variables of this process.

    Parameters
    ----------
    cluster
        Where the study would run; None leaves the question open.
    environment
        Variables of the environment.

    Yields
    ------
    Check
        One for each.
    """
    cores, memory = usable_cores(), usable_memory()
    detail, advice = f"{cores} usable of {os.cpu_count()}", ""
    workers = 1
    if cluster is not None and cluster.kind == "local":
        threads = cluster.threads_per_worker or 1
        workers = cluster.workers or worker_count(threads)
        detail += f"; {workers} workers × {threads} threads"
        if workers * threads > cores:
            advice = "more threads than cores slow each other down: lower cluster.workers"
    yield Check("cores", "warn" if advice else "ok", detail, advice)

    detail, advice = f"{memory / 2**30:.1f} GiB", ""
    if workers > 1:
        detail += f", {memory / workers / 2**30:.1f} GiB for each of {workers} workers"
    if memory / workers < MIN_WORKER_BYTES:
        advice = f"a worker needs {MIN_WORKER_BYTES / 2**30:.0f} GiB: lower cluster.workers, or use a larger machine"
    yield Check("memory", "warn" if advice else "ok", detail, advice)

    sets_its_own = (
        cluster is not None and cluster.kind != "serial"
    )  # as the workers of `slidepipe.runs.cluster` do
    yield check_variables("environment", environment, None if sets_its_own else cores)


def check_variables(name: str, environment: Mapping[str, str], cores: int | None) -> Check:
    """Check the variables that can slow a process down.

    Parameters
    ----------
    name
        What the check is called.
    environment
        Variables of the environment.
    cores
        Cores that the process may use; None if it only starts workers, which get variables of their own.

    Returns
    -------
    Check
        A warning if glibc gives memory back too eagerly or numerical libraries start too many threads.
    """
    found = {key: environment[key] for key in (*THREAD_VARIABLES, TRIM_VARIABLE) if key in environment}
    detail = ", ".join(f"{key}={value}" for key, value in found.items()) or "no thread or malloc settings"
    trim = found.pop(TRIM_VARIABLE, "")
    if cores is not None and trim.isdecimal() and int(trim) < TRIM_THRESHOLD:
        advice = f"{TRIM_VARIABLE} costs a third of the decoding rate: unset it, or set it to {2**28}"
        return Check(name, "warn", detail, advice)
    many = [
        key for key, value in found.items() if cores is not None and value.isdecimal() and int(value) > cores
    ]
    if many:
        return Check(
            name, "warn", detail, f"{', '.join(many)} asks for more threads than the {cores} usable cores"
        )
    return Check(name, "ok", detail)


def check_disk(folder: Path) -> Check:
    """Check the disk or object store of a folder by writing a file of 32 MiB, which is removed again.

    Parameters
    ----------
    folder
        Absolute path, existing or not; then the nearest folder around it that exists is tried.

    Returns
    -------
    Check
        Free space and speed.
    """
    if (remote := as_remote(folder)) is not None:
        return _check_store(remote)
    name = f"disk of {folder}"
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        status = os.statvfs(existing)
        with tempfile.TemporaryDirectory(dir=existing, prefix=".slidepipe-doctor-") as probe:
            rate = _write_rate(Path(probe))
    except OSError as error:
        return Check(
            name,
            "fail",
            f"cannot be written: {error}",
            "choose another run directory, or mend its permissions",
        )
    free = status.f_bavail * status.f_frsize
    detail = f"{free / 1e9:.0f} GB free, {rate:.0f} MB/s written and flushed, renames replace files"
    advice = []
    if free < MIN_FREE_BYTES:
        advice.append(
            f"less than {MIN_FREE_BYTES / 1e9:.0f} GB free: tile stores take about as much as the slides' tissue"
        )
    if rate < SLOW_WRITE:
        advice.append(f"slower than {SLOW_WRITE:.0f} MB/s: tiling will wait for this disk")
    return Check(name, "warn" if advice else "ok", detail, "; ".join(advice))


def _check_store(folder: RemotePath) -> Check:
    name, probe = f"object store of {folder}", folder / f".slidepipe-doctor-{secrets.token_hex(4)}"
    content = os.urandom(_PROBE_BYTES)
    try:
        began = time.perf_counter()
        probe.write_bytes(content)
        written = time.perf_counter()
        is_the_same = probe.read_bytes() == content
        read = time.perf_counter()
        probe.unlink()
    except (ObjectStoreError, OSError) as error:
        return Check(
            name, "fail", str(error), "mend what the store complains of, or choose another run directory"
        )
    if not is_the_same:
        return Check(name, "fail", "an object came back changed", "choose another store")
    rates = (_PROBE_BYTES / 1e6 / spent for spent in (written - began, read - written))
    return Check(name, "ok", "{:.0f} MB/s written, {:.0f} MB/s read".format(*rates))


def _write_rate(folder: Path) -> float:
    # In the way stores are published: under a temporary name, flushed, then renamed over what was there. In MB/s.
    content = os.urandom(2**20)
    final = folder / "probe"
    final.write_bytes(b"old")
    temporary = folder / ".probe.tmp"
    began = time.perf_counter()
    with temporary.open("wb") as file:
        for _ in range(_PROBE_BYTES // len(content)):
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    spent = time.perf_counter() - began
    temporary.replace(final)
    if final.stat().st_size != _PROBE_BYTES:
        raise OSError(f"a renamed file has {final.stat().st_size} bytes instead of {_PROBE_BYTES}")
    return _PROBE_BYTES / 1e6 / spent
