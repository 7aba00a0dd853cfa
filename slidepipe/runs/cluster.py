"""Makes the executor that a study asks for: this process, workers on this machine or a batch system's, a scheduler."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, performance_report

from slidepipe.cluster_settings import ClusterSettings
from slidepipe.errors import RunError
from slidepipe.runs.allowance import usable_memory, worker_count
from slidepipe.runs.batch import lost_job_keeper, open_batch_cluster
from slidepipe.runs.dask_executor import DaskExecutor
from slidepipe.runs.executor import Executor, SerialExecutor
from slidepipe.storage.publish import write_bytes

_CONNECT_S = 20

_WORKER_ENVIRONMENT = {
    # One thread pool per process: workers × threads must not exceed the cores.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Dask's own MALLOC_TRIM_THRESHOLD_ of 64 KiB has every decoded tile mapped and faulted anew, a third of the
    # decoding rate; these keep freed tiles for the next ones.
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
}
_DASK = {
    # The first death of a worker makes suspects of its tasks, the executor does the rest.
    "distributed.scheduler.allowed-failures": 0,
    # Results are small records, so there is nothing to spill; and a worker that pauses because of memory that a library
    # keeps would pause for ever. One that comes near its limit is ended, and a task that does so twice fails.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # Readers and data loaders may start processes of their own.
    "distributed.worker.daemon": False,
}


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where a cluster leaves its files, and tells where its dashboard is."""

    logs: Path | None = None
    """Folder for the output of jobs; None leaves it to the batch system."""
    performance_report: Path | None = None
    """HTML page of what the workers did, to be written at the end; None writes none."""
    tell: Callable[[str], None] = lambda line: None
    """Takes a line for the person who waits."""


@contextmanager
def open_executor(settings: ClusterSettings, place: ClusterPlace | None = None) -> Iterator[Executor]:
    """Start or join what runs the tasks, and leave it afterwards.

    Parameters
    ----------
    settings
        Kind of cluster and its size; those of one stage.
    place
        Where it leaves its files.

    Yields
    ------
    Executor
        Takes tasks until the context ends.

    Raises
    ------
    RunError
        If no scheduler answers at the address, or a batch system does not take the job.
    """
    place = place or ClusterPlace()
    if place.performance_report is not None:
        _check_report(settings)
    if settings.kind == "serial":
        yield SerialExecutor(settings.task_timeout_s)
        return
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_configuration(settings)))
        look_after, expected = None, 0
        if settings.kind == "address":
            client = stack.enter_context(_join(str(settings.address)))
        elif settings.kind == "local":
            cluster = stack.enter_context(LocalCluster(**_local_options(settings)))
            client = stack.enter_context(Client(cluster))
        else:
            cluster = stack.enter_context(
                open_batch_cluster(settings, place.logs, _WORKER_ENVIRONMENT | _as_variables(_DASK))
            )
            client = stack.enter_context(Client(cluster))
            look_after = lost_job_keeper(cluster)
            expected = (settings.jobs or 1) * settings.processes_per_job
        place.tell(_where(settings, client))
        if place.performance_report is not None:
            stack.enter_context(_reported(place.performance_report))
        yield DaskExecutor(client, settings.task_timeout_s, settings.resources, expected, look_after)


@contextmanager
def _reported(page: Path) -> Iterator[None]:
    """Have Dask write its page, after a failure too, on this machine, from where it goes to a disk or a store."""
    with tempfile.TemporaryDirectory(prefix="slidepipe-") as folder:
        local = Path(folder, "performance.html")
        try:
            with performance_report(filename=str(local)):
                yield
        finally:
            if local.is_file():
                write_bytes(page, local.read_bytes())


def _join(address: str) -> Client:
    try:
        return Client(address, timeout=_CONNECT_S)
    except OSError as error:
        raise RunError(
            f"no Dask scheduler answers at {address} within {_CONNECT_S} s: start it, or mend cluster.address"
        ) from error


def _local_options(settings: ClusterSettings) -> dict[str, Any]:
    threads = settings.threads_per_worker or 1
    workers = settings.workers or worker_count(threads)
    return {
        "n_workers": workers,
        "threads_per_worker": threads,
        "memory_limit": settings.memory_limit or usable_memory() // workers,
        "resources": settings.resources,
        "local_directory": None if settings.scratch is None else os.path.expandvars(settings.scratch),
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.ERROR,
    }


def _configuration(settings: ClusterSettings) -> dict[str, Any]:
    if settings.kind == "address":
        return {}
    return {**_DASK, "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT}


def _as_variables(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Say a configuration of Dask in variables of the environment, for workers that are started elsewhere."""
    return {
        "DASK_" + key.replace(".", "__").replace("-", "_").upper(): str(value)
        for key, value in configuration.items()
    }


def _where(settings: ClusterSettings, client: Client) -> str:
    """Tell where the dashboard is, and how to see it from another machine."""
    link = str(client.dashboard_link)
    if importlib.util.find_spec("bokeh") is None and settings.kind != "address":
        return "dashboard: none, it needs bokeh: pip install 'slidepipe[dashboard]'"
    port = link.partition("//")[2].partition("/")[0].rpartition(":")[2]
    if settings.kind == "address" or not port.isdecimal():
        return f"dashboard: {link}"
    return (
        f"dashboard: {link}  (from another machine: ssh -L {port}:{link.partition('//')[2].partition('/')[0]} "
        f"{socket.gethostname()}, then http://localhost:{port}/status)"
    )


def _check_report(settings: ClusterSettings) -> None:
    if settings.kind == "serial":
        raise RunError("a performance report is about Dask workers, and cluster.kind is serial: leave it out")
    if importlib.util.find_spec("bokeh") is None:
        raise RunError("a performance report needs bokeh: pip install 'slidepipe[dashboard]'")
