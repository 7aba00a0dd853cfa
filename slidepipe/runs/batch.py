"""Workers as jobs of a batch system: SLURM, PBS, LSF or SGE, through dask-jobqueue.

The scheduler runs in this process, so the command has to stay alive, on a login node or in a job of its own. Jobs end
by themselves soon after it died. For a job that ended, be it by its time limit, another one is submitted while there is
work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_jobqueue.core import Job, JobQueueCluster
from dask_jobqueue.lsf import LSFCluster
from dask_jobqueue.pbs import PBSCluster
from dask_jobqueue.sge import SGECluster
from dask_jobqueue.slurm import SLURMCluster
from distributed.core import Status

from slidepipe.cluster_settings import ClusterSettings, walltime_seconds
from slidepipe.errors import RunError

logger = logging.getLogger(__name__)

_CLUSTERS: dict[str, Any] = {"slurm": SLURMCluster, "pbs": PBSCluster, "lsf": LSFCluster, "sge": SGECluster}
_LOST_AFTER_S = 60.0
"""Time after which a job without workers counts as ended; workers that are started anew come back sooner."""
_LONGEST_MARGIN_S = 600


@contextmanager
def open_batch_cluster(
    settings: ClusterSettings, logs: Path | None, environment: Mapping[str, str]
) -> Iterator[JobQueueCluster]:
    """Start a scheduler here and submit jobs for its workers; cancel them afterwards.

    Parameters
    ----------
    settings
        Batch system, size of a job and number of jobs.
    logs
        Folder for the output of jobs; None leaves it to the batch system.
    environment
        Variables that workers start with.

    Yields
    ------
    JobQueueCluster
        Its workers come when the batch system lets them.

    Raises
    ------
    RunError
        If the batch system does not take the job.
    """
    cluster = make_batch_cluster(settings, logs, environment)
    with cluster:
        jobs = settings.jobs or 1
        fewest = jobs if settings.minimum_jobs is None else settings.minimum_jobs
        cluster.scale(jobs=max(1, fewest))
        cluster.sync(cluster._correct_state)
        refused = [reason for job in cluster.workers.values() if (reason := _refusal(job))]
        if len(refused) == len(cluster.workers):
            raise RunError(f"{settings.kind} does not take the job: {refused[0]}")
        if refused:
            logger.warning(
                "%s takes only %d of %d jobs: %s",
                settings.kind,
                len(cluster.workers) - len(refused),
                len(cluster.workers),
                refused[0],
            )
        cluster.adapt(minimum_jobs=fewest, maximum_jobs=jobs)
        yield cluster


def make_batch_cluster(
    settings: ClusterSettings, logs: Path | None, environment: Mapping[str, str]
) -> JobQueueCluster:
    """Start a scheduler here, without any job yet.

    Parameters
    ----------
    settings
        Batch system and size of a job.
    logs
        Folder for the output of jobs; None leaves it to the batch system.
    environment
        Variables that workers start with.

    Returns
    -------
    JobQueueCluster
        To be closed by the caller.
    """
    kind = _CLUSTERS[settings.kind]
    job: Any = type(kind.job_cls.__name__, (_ToleratedJob, kind.job_cls), {})
    cluster: JobQueueCluster = kind(job_cls=job, **job_options(settings, logs, environment))
    return cluster


class _ToleratedJob(Job):
    """A job that the batch system may refuse, for now or for good, without an error in the middle of Dask."""

    refusal = ""

    async def start(self) -> None:
        try:
            await super().start()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, ValueError) as error:
            self.refusal = _reason(error)
            self.status = Status.running


def _refusal(job: Any) -> str:
    return str(job.refusal)


def job_options(
    settings: ClusterSettings, logs: Path | None, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Say the settings of a job in the words of dask-jobqueue.

    What is left open is taken from the site's ``jobqueue.yaml`` of Dask, where there is one.

    Parameters
    ----------
    settings
        Batch system and size of a job.
    logs
        Folder for the output of jobs; None leaves it to the batch system.
    environment
        Variables that workers start with.

    Returns
    -------
    dict
        Keywords of a cluster of dask-jobqueue.
    """
    margin = _margin(settings)
    arguments = ["--lifetime", f"{walltime_seconds(str(settings.walltime)) - margin}s"]
    arguments += ["--lifetime-stagger", f"{margin // 2}s"]
    if settings.resources:
        offered = " ".join(f"{name}={amount:g}" for name, amount in settings.resources.items())
        arguments += ["--resources", f"'{offered}'"]
    options: dict[str, Any] = {
        "cores": settings.cores,
        "memory": settings.memory,
        "processes": settings.processes_per_job,
        "walltime": _walltime(settings),
        "queue": settings.queue,
        "account" if settings.kind in {"slurm", "pbs"} else "project": settings.account,
        "interface": settings.interface,
        "local_directory": settings.scratch,
        "python": settings.python,
        "job_name": "slidepipe",
        "log_directory": None if logs is None else str(logs),
        "job_script_prologue": [
            *(f"export {name}={_quoted(value)}" for name, value in environment.items()),
            *(settings.prologue or ()),
        ],
        "worker_extra_args": arguments,
        "scheduler_options": {"dashboard_address": ":0"},
        "silence_logs": logging.ERROR,
    }
    if settings.directives is not None:
        options["job_extra_directives"] = list(settings.directives)
    return {name: value for name, value in options.items() if value is not None}


def lost_job_keeper(cluster: JobQueueCluster) -> Callable[[], None]:
    """Make a function that notices jobs that ended or were refused, so that others are submitted in their place.

    Dask does so for jobs of one worker process only.

    Parameters
    ----------
    cluster
        A cluster that adapts itself.

    Returns
    -------
    Callable
        To be called every few seconds.
    """
    seen: dict[Any, float] = {}

    async def keep() -> None:
        now = time.monotonic()
        here = {worker["name"] for worker in cluster.scheduler_info["workers"].values()}
        for name in list(cluster.workers):
            spec = cluster.worker_spec.get(name, {})
            if here.intersection([f"{name}{suffix}" for suffix in spec.get("group", [""])]):
                seen[name] = now
            elif _refusal(cluster.workers[name]):
                seen.setdefault(name, now)
            if name in seen and now - seen[name] > _LOST_AFTER_S:
                logger.info("job %s has no worker, another one is submitted", name)
                del seen[name]
                await cluster.workers.pop(name).close()

    return lambda: cluster.sync(keep)


def _margin(settings: ClusterSettings) -> int:
    """Return by how many seconds workers leave before their job is ended, on average."""
    return int(min(_LONGEST_MARGIN_S, walltime_seconds(str(settings.walltime)) / 5))


def _walltime(settings: ClusterSettings) -> str:
    # LSF counts in hours and minutes.
    return str(settings.walltime)[: -3 if settings.kind == "lsf" else None]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [
        line
        for line in lines
        if not line.endswith(":") and not line.startswith(("Command exited", "Exit code"))
    ]
    return "; ".join(told[-2:]) or type(error).__name__
