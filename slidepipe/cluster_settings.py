"""Where the work is done: settings of machines, which never change a result. Importing them does not import Dask."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from slidepipe.errors import ConfigError

BATCH_KINDS = ("slurm", "pbs", "lsf", "sge")
"""Batch systems to which workers are submitted as jobs."""

_MEMORY = re.compile(r"\d+(\.\d+)?\s*([kMGT]i?)?B")
_WALLTIME = re.compile(r"(\d{1,4}):([0-5]\d):([0-5]\d)")
_TASK_TIMEOUT_S = 3600.0
_TASK_TIMEOUTS_S = {"heatmap": 6 * 3600.0}
"""Of the stages whose blocks are slow without a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What workers are made of. Everything may be left open, which means: as for the cluster as a whole."""

    workers: Annotated[int, Ge(1)] | None = None
    """Worker processes of kind ``local``; None starts one for each core that may be used, fewer if each would have less
    than 2 GiB of memory. For batch systems see `jobs`."""
    threads_per_worker: Annotated[int, Ge(1)] | None = None
    """Threads of each worker. None is 1, because decoding and Torch in threads of one process wait for each other."""
    memory_limit: str | None = None
    """Memory of each worker of kind ``local``, as ``4GiB``; a worker that needs more is started anew. None shares the
    memory that may be used out evenly."""
    resources: dict[str, Annotated[float, Gt(0)]] | None = None
    """What each task asks of its worker, as ``{GPU: 1}``. Workers that are started here offer exactly that, so each has
    one such task at a time; workers of kind ``address`` have to offer it: ``dask worker --resources GPU=1``."""
    task_timeout_s: Annotated[float, Gt(0)] | None = None
    """Longest time for one task, in seconds: a slide that hangs on reading fails, and its worker is started anew. None
    is an hour, and six hours for heatmaps, whose blocks take long without a GPU. Training has no limit."""
    scratch: str | None = None
    """Local folder for what workers keep while they run; variables such as ``$TMPDIR`` are replaced on the worker's
    machine. None leaves it to Dask: the folder for temporary files here, the folder of the job there."""
    jobs: Annotated[int, Ge(1)] | None = None
    """Most jobs at a time. None is 1."""
    minimum_jobs: Annotated[int, Ge(0)] | None = None
    """Jobs to keep however little there is to do; more are submitted while there is work, up to `jobs`. None keeps all
    `jobs` until the stage ends."""
    queue: str | None = None
    """Queue or partition; None leaves it to the site."""
    account: str | None = None
    """Account or project that is charged; None leaves it to the site."""
    walltime: str | None = None
    """Time limit of a job, as ``04:00:00``. Its workers stop taking tasks before it, each at another moment, and a new
    job takes their place."""
    cores: Annotated[int, Ge(1)] | None = None
    """Cores of a job."""
    memory: str | None = None
    """Memory of a job, as ``32GiB``, which its workers share."""
    processes: Annotated[int, Ge(1)] | None = None
    """Worker processes in a job. None is one for each `threads_per_worker` of its `cores`, and 1 with `resources`."""
    interface: str | None = None
    """Network interface between scheduler and workers, as ``ib0``; None leaves it to the machines."""
    prologue: tuple[str, ...] | None = None
    """Lines of shell that a job begins with: ``module load cuda``, ``source venv/bin/activate``."""
    directives: tuple[str, ...] | None = None
    """Further directives of a job, without ``#SBATCH`` and the like, as ``--gres=gpu:1``."""
    python: str | None = None
    """Python of the workers; None is the one that runs now, which the nodes then have to see under the same path."""

    def __post_init__(self) -> None:
        for name in ("memory_limit", "memory"):
            size = getattr(self, name)
            if size is not None and not _MEMORY.fullmatch(size):
                raise ConfigError(f"{name} {size!r} is not a size, as in 4GiB or 800MB")
        if self.walltime is not None and walltime_seconds(self.walltime) < 60:
            raise ConfigError(f"walltime {self.walltime!r} is too short for a job to do anything")
        if self.processes is not None and self.cores is not None and self.processes > self.cores:
            raise ConfigError(f"{self.processes} processes do not fit on the {self.cores} cores of a job")
        if (self.minimum_jobs or 0) > (self.jobs or 1):
            raise ConfigError(f"minimum_jobs {self.minimum_jobs} is more than jobs {self.jobs or 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings(WorkerSettings):
    """Where the work is done. Nothing here changes a result."""

    kind: Literal["serial", "local", "address", "slurm", "pbs", "lsf", "sge"] = "local"
    """``local``: Dask workers on this machine, for the time of the command. ``serial``: this process, one task after
    the other, for debuggers. ``address``: a Dask scheduler that runs already, anywhere. ``slurm``, ``pbs``, ``lsf``,
    ``sge``: workers are submitted to the batch system as jobs, with `jobs`, `cores`, `memory`, `walltime` and so on."""
    address: str | None = None
    """Scheduler of kind ``address``, as ``tcp://10.0.0.1:8786``. Slides and run directory must have the same paths on
    its workers."""
    stages: dict[Literal["tile", "train", "heatmap", "predict", "export"], WorkerSettings] = field(
        default_factory=dict
    )
    """Other workers for some stages, such as GPUs for ``train`` and ``heatmap``: what is given there replaces what is
    given for the cluster. ``train`` runs on a worker only if it is named here, else where the command was given."""

    def __post_init__(self) -> None:
        # Not super() without arguments: a dataclass with slots is another class than the one this was written in.
        WorkerSettings.__post_init__(self)
        if self.kind == "address" and not self.address:
            raise ConfigError(
                "kind 'address' needs the address of a scheduler, as in address: tcp://10.0.0.1:8786"
            )
        if self.kind != "address" and self.address:
            raise ConfigError(
                f"address {self.address} is used by kind 'address' only, and kind is {self.kind!r}"
            )
        if self.kind in BATCH_KINDS:
            missing = [name for name in ("cores", "memory", "walltime") if getattr(self, name) is None]
            if missing:
                raise ConfigError(
                    f"kind {self.kind!r} needs {', '.join(missing)} of a job, as in "
                    "cores: 8, memory: 32GiB, walltime: 04:00:00"
                )
        for stage in self.stages:
            self.of_stage(stage)

    def of_stage(self, stage: str) -> ClusterSettings:
        """Return the settings of the workers of one stage.

        Parameters
        ----------
        stage
            Name of its command.

        Returns
        -------
        ClusterSettings
            The cluster's settings with those of the stage in their place, and no stages in it. `task_timeout_s` is
            filled in.

        Raises
        ------
        ConfigError
            If the settings of stage and cluster do not go together; the message names the stage.
        """
        own = self.stages.get(stage)  # type: ignore[call-overload]
        given: dict[str, Any] = {} if own is None else _given(own)
        if stage == "train":
            given["task_timeout_s"] = None
        elif given.get("task_timeout_s", self.task_timeout_s) is None:
            given["task_timeout_s"] = _TASK_TIMEOUTS_S.get(stage, _TASK_TIMEOUT_S)
        try:
            return replace(self, stages={}, **given)
        except ConfigError as error:
            raise ConfigError(f"stages.{stage}: {error}") from error

    @property
    def processes_per_job(self) -> int:
        """Worker processes in a job of a batch system."""
        if self.processes is not None:
            return self.processes
        return 1 if self.resources else max(1, (self.cores or 1) // (self.threads_per_worker or 1))


def walltime_seconds(walltime: str) -> int:
    """Read a time limit.

    Parameters
    ----------
    walltime
        Hours, minutes and seconds, as ``04:00:00``.

    Returns
    -------
    int
        Seconds.

    Raises
    ------
    ConfigError
        If it is written otherwise.
    """
    parts = _WALLTIME.fullmatch(walltime)
    if parts is None:
        raise ConfigError(f"walltime {walltime!r} is not hours, minutes and seconds, as in 04:00:00")
    hours, minutes, seconds = map(int, parts.groups())
    return hours * 3600 + minutes * 60 + seconds


def _given(settings: WorkerSettings) -> dict[str, Any]:
    values = {item.name: getattr(settings, item.name) for item in fields(WorkerSettings)}
    return {name: value for name, value in values.items() if value is not None}
