"""Cores and memory are those that may be used, not those that are there."""

import os
from pathlib import Path

import pytest

from slidepipe.runs import allowance
from slidepipe.runs.allowance import usable_cores, usable_memory, worker_count


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for control groups, of which this process has none yet."""
    monkeypatch.setattr(allowance, "_PROC", tmp_path / "cgroup")
    monkeypatch.setattr(allowance, "_SYS", tmp_path / "sys")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(allowance, "memory_limit", lambda: 64 * 2**30)
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_machine_is_the_limit_where_there_are_no_groups(groups: Path):
    assert usable_cores() == 8
    assert usable_memory() == 64 * 2**30


def test_groups_of_version_2_count_with_those_around_them(groups: Path):
    put(groups / "cgroup", "0::/slurm/job_7/step\n")
    put(groups / "sys" / "slurm" / "job_7" / "cpu.max", "250000 100000\n")
    put(groups / "sys" / "slurm" / "job_7" / "step" / "cpu.max", "max 100000\n")
    put(groups / "sys" / "slurm" / "memory.max", f"{12 * 2**30}\n")
    put(groups / "sys" / "slurm" / "job_7" / "memory.max", "max\n")
    assert usable_cores() == 3
    assert usable_memory() == 12 * 2**30


def test_groups_of_version_1_count_with_those_around_them(groups: Path):
    put(groups / "cgroup", "4:memory:/slurm/job_7\n3:cpu,cpuacct:/slurm/job_7\n2:pids:/\n")
    put(groups / "sys" / "memory" / "slurm" / "job_7" / "memory.limit_in_bytes", f"{5 * 2**30}\n")
    put(groups / "sys" / "memory" / "memory.limit_in_bytes", "9223372036854771712\n")
    put(groups / "sys" / "cpu,cpuacct" / "slurm" / "cpu.cfs_quota_us", "200000\n")
    put(groups / "sys" / "cpu,cpuacct" / "slurm" / "cpu.cfs_period_us", "100000\n")
    put(groups / "sys" / "cpu,cpuacct" / "slurm" / "job_7" / "cpu.cfs_quota_us", "-1\n")
    put(groups / "sys" / "cpu,cpuacct" / "slurm" / "job_7" / "cpu.cfs_period_us", "100000\n")
    assert usable_cores() == 2
    assert usable_memory() == 5 * 2**30


def test_there_are_no_more_workers_than_memory_for_them(groups: Path, monkeypatch: pytest.MonkeyPatch):
    assert worker_count(1) == 8
    assert worker_count(4) == 2
    monkeypatch.setattr(allowance, "memory_limit", lambda: 5 * 2**30)
    assert worker_count(1) == 2
    monkeypatch.setattr(allowance, "memory_limit", lambda: 2**30)
    assert worker_count(1) == 1


def test_memory_is_never_more_than_the_machine_has():
    kib = next(
        line.split()[1]
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert 0 < usable_memory() <= int(kib) * 1024
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
