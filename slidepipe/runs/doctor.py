"""Whether this machine is fit for a study, and what would be slow on it.

Everything is tried rather than believed: a JPEG is decoded, a file is written and renamed, workers are asked for their
environment.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Client
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import slidepipe
from slidepipe.classifier.settings import DeviceName
from slidepipe.runs.check import Check
from slidepipe.runs.machine_checks import (
    THREAD_VARIABLES,
    TRIM_VARIABLE,
    check_disk,
    check_machine,
    check_variables,
)
from slidepipe.runs.software_checks import check_software, load

if TYPE_CHECKING:
    from slidepipe.cluster_settings import ClusterSettings

_CONNECT_S = 10
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def check_environment(
    folder: Path | None = None, cluster: ClusterSettings | None = None, device: DeviceName = "auto"
) -> list[Check]:
    """Check the readers, codecs, compute device, machine, disk and scheduler.

    Takes a second or two. The disk is tried with a file of 32 MiB, which is removed again.

    Parameters
    ----------
    folder
        Run directory, existing or not; None checks the working directory.
    cluster
        Where the study would run; None leaves the question open.
    device
        Where the network would compute.

    Returns
    -------
    list of Check
        In the order in which a study needs the things.
    """
    version = f"{slidepipe.__version__} on Python {platform.python_version()}, {platform.platform()}"
    checks = [
        Check("slidepipe", "ok", version),
        *check_software(device),
        *check_machine(cluster, os.environ),
        check_disk((folder or Path.cwd()).absolute()),
    ]
    if cluster is not None and cluster.kind == "address":
        checks += _check_scheduler(str(cluster.address))
    return checks


def print_checks(folder: Path | None, console: Console) -> bool:
    """Check the environment, that of a run if there is one, and print what was found.

    Parameters
    ----------
    folder
        Run directory, existing or not; None checks the working directory. If it has a configuration, the device and the
        scheduler are those of the run.
    console
        Where to print.

    Returns
    -------
    bool
        Whether anything is unfit.

    Raises
    ------
    RunError
        If the directory is a run of another format version.
    ConfigError
        If the configuration of the run cannot be used.
    """
    study = load("slidepipe.runs.study")
    if isinstance(study, str):
        advice = "mend what fails below, or install slidepipe anew"
        checks = [Check("slidepipe", "fail", study, advice), *check_environment(folder)[1:]]
    elif folder is not None and (folder / "config.yaml").is_file():
        config = study.open_study(folder).config
        checks = check_environment(folder, config.cluster, config.inference.device)
    else:
        checks = check_environment(folder)
    table = Table("", "", "found", "what to do", box=None, pad_edge=False)
    for check in checks:
        colour = _COLOURS[check.status]
        table.add_row(f"[{colour}]{check.status}", check.name, escape(check.detail), escape(check.advice))
    console.print(table)
    return any(check.status == "fail" for check in checks)


def _check_scheduler(address: str) -> Iterator[Check]:
    name = f"scheduler {address}"
    try:
        client = Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        advice = "start it with `dask scheduler`, or mend cluster.address"
        yield Check(name, "fail", f"does not answer: {error}", advice)
        return
    with client:
        threads = client.nthreads()
        if not threads:
            yield Check(name, "fail", "has no workers", f"start some with `dask worker {address}`")
            return
        yield Check(name, "ok", f"{len(threads)} workers, {sum(threads.values())} threads")
        try:
            reports = client.run(report_worker)
        except (ImportError, AttributeError) as error:
            advice = f"install slidepipe {slidepipe.__version__} where the workers run"
            yield Check("workers", "fail", f"have no slidepipe: {error}", advice)
            return
    yield from _check_workers(reports, threads)


def report_worker() -> dict[str, Any]:
    """Tell what a worker runs on; called on the workers.

    Returns
    -------
    dict
        ``slidepipe`` and ``python`` versions, and ``environment``: the variables that matter.
    """
    names = (*THREAD_VARIABLES, TRIM_VARIABLE)
    return {
        "slidepipe": slidepipe.__version__,
        "python": ".".join(map(str, sys.version_info[:2])),
        "environment": {name: os.environ[name] for name in names if name in os.environ},
    }


def _check_workers(reports: Mapping[str, dict[str, Any]], threads: Mapping[str, int]) -> Iterator[Check]:
    here = report_worker()
    for key in ("slidepipe", "python"):
        others = sorted({report[key] for report in reports.values()} - {here[key]})
        if others:
            advice = "use the same versions everywhere: results would depend on who computes them"
            yield Check(f"{key} of workers", "fail", f"{', '.join(others)}; here {here[key]}", advice)
    checks = [check_variables("workers", reports[name]["environment"], threads[name]) for name in reports]
    slow = [check for check in checks if check.status != "ok"]
    yield slow[0] if slow else checks[0]
