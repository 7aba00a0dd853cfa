"""Makes the executor that a study asks for: this process, workers on this machine, or a running scheduler."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from slidepipe.config import ClusterSettings
from slidepipe.errors import RunError
from slidepipe.runs.executor import DaskExecutor, Executor, SerialExecutor

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


@contextmanager
def open_executor(settings: ClusterSettings) -> Iterator[Executor]:
    """Start or join what runs the tasks, and leave it afterwards.

    Parameters
    ----------
    settings
        Kind of cluster and its size.

    Yields
    ------
    Executor
        Takes tasks until the context ends.

    Raises
    ------
    RunError
        If no scheduler answers at the address.
    """
    if settings.kind == "serial":
        yield SerialExecutor()
        return
    if settings.kind == "address":
        try:
            client = Client(settings.address, timeout=_CONNECT_S)
        except OSError as error:
            raise RunError(
                f"no Dask scheduler answers at {settings.address} within {_CONNECT_S} s: start it, or mend "
                "cluster.address"
            ) from error
        with client:
            yield DaskExecutor(client)
        return
    environment = {
        "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        "distributed.worker.daemon": False,
    }
    with (
        dask.config.set(environment),
        LocalCluster(
            n_workers=settings.workers or usable_cores(),
            threads_per_worker=settings.threads_per_worker,
            memory_limit=settings.memory_limit or "auto",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield DaskExecutor(client)


def usable_cores() -> int:
    """Count the cores this process may use.

    Returns
    -------
    int
        Respects affinity masks (taskset, SLURM) and cgroup limits.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = dask.system.cpu_count()
    return max(1, min(cores, int(quota)))
