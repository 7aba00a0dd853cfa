"""Whether the machine is fit: what works is tried, what is broken becomes a line."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import LocalCluster
from rich.console import Console

import slidepipe
from slidepipe.cluster_settings import ClusterSettings
from slidepipe.runs import doctor
from slidepipe.runs.check import Check
from slidepipe.runs.doctor import check_environment, print_checks, report_worker
from slidepipe.runs.machine_checks import TRIM_THRESHOLD, check_variables

_ROOT = Path(__file__).resolve().parents[2]


def _named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name.startswith(name))


def test_the_machine_of_the_tests_is_fit(tmp_path: Path) -> None:
    checks = check_environment(tmp_path, ClusterSettings(kind="serial"), "cpu")
    assert [check for check in checks if check.status == "fail"] == []
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {
        "OpenSlide",
        "tiffslide",
        "tifffile",
        "JPEG",
        "JPEG 2000",
        "Zarr codec",
        "cores",
        "memory",
    } <= set(names)
    assert "Mpx/s" in _named(checks, "JPEG").detail
    assert "CPU" in _named(checks, "compute device").detail
    assert [*tmp_path.iterdir()] == []


def test_what_is_not_fit_comes_with_advice(tmp_path: Path) -> None:
    for check in check_environment(tmp_path, ClusterSettings(kind="local", workers=10_000), "cpu"):
        assert bool(check.advice) == (check.status != "ok"), check


def test_more_workers_than_cores_and_memory_are_told(tmp_path: Path) -> None:
    checks = check_environment(tmp_path, ClusterSettings(kind="local", workers=10_000), "cpu")
    assert _named(checks, "cores").status == "warn"
    assert "10000 workers × 1 threads" in _named(checks, "cores").detail
    assert _named(checks, "memory").status == "warn"


def test_the_doctor_outlives_a_broken_library(tmp_path: Path) -> None:
    (tmp_path / "openslide.py").write_text(
        "raise OSError('libopenslide.so.1: cannot open shared object file')\n"
    )
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.99 is missing')\n")
    (tmp_path / "zarr.py").write_text("import no_such_library\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pathlib import Path\n"
        "from slidepipe.runs.doctor import check_environment\n"
        f"for check in check_environment(Path({str(tmp_path)!r})):\n"
        "    print(check.status, check.name, check.detail, sep='|')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    found = {line.split("|")[1]: line.split("|") for line in done.stdout.splitlines()}
    assert found["OpenSlide"][0] == "fail"
    assert "cannot open shared object file" in found["OpenSlide"][2]
    assert found["compute device"][0] == "fail"
    assert "libcudart.so.99 is missing" in found["compute device"][2]
    assert found["Zarr codec"][0] == "fail"
    assert found["tifffile"][0] == "ok"


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    check = _named(check_environment(tmp_path, device="cuda"), "compute device")
    assert check.status == "fail"
    assert "'cuda' was asked for" in check.detail


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    check = _named(check_environment(tmp_path / "file" / "run"), "disk")
    assert check.status == "fail"
    assert "cannot be written" in check.detail


def test_a_run_that_does_not_exist_yet_is_tried_where_it_will_lie(tmp_path: Path) -> None:
    check = _named(check_environment(tmp_path / "new" / "run"), "disk")
    assert check.name.endswith(str(tmp_path / "new" / "run"))
    assert "MB/s" in check.detail
    assert [*tmp_path.iterdir()] == []


def test_a_scheduler_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CONNECT_S", 0.2)
    cluster = ClusterSettings(kind="address", address="tcp://127.0.0.1:9")
    check = _named(check_environment(tmp_path, cluster), "scheduler")
    assert check.status == "fail"
    assert "does not answer" in check.detail


def test_a_scheduler_and_its_workers_are_asked(tmp_path: Path) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as workers:
        checks = check_environment(
            tmp_path, ClusterSettings(kind="address", address=workers.scheduler_address)
        )
        assert _named(checks, "scheduler").detail == "1 workers, 2 threads"
        assert _named(checks, "workers").status in {"ok", "warn"}
        workers.scale(0)
        workers.sync(workers._correct_state)
        checks = check_environment(
            tmp_path, ClusterSettings(kind="address", address=workers.scheduler_address)
        )
        assert _named(checks, "scheduler").status == "fail"
        assert "has no workers" in _named(checks, "scheduler").detail


def test_workers_of_another_version_are_told() -> None:
    old = report_worker() | {"slidepipe": "0.0.1"}
    checks = [*doctor._check_workers({"a": report_worker(), "b": old}, {"a": 1, "b": 1})]
    assert checks[0].name == "slidepipe of workers"
    assert checks[0].status == "fail"
    assert checks[0].detail == f"0.0.1; here {slidepipe.__version__}"


@pytest.mark.parametrize(
    ("environment", "status", "word"),
    [
        ({}, "ok", "no thread or malloc settings"),
        ({"MALLOC_TRIM_THRESHOLD_": "65536"}, "warn", "MALLOC_TRIM_THRESHOLD_=65536"),
        ({"MALLOC_TRIM_THRESHOLD_": str(TRIM_THRESHOLD)}, "ok", "MALLOC_TRIM_THRESHOLD_"),
        ({"OMP_NUM_THREADS": "64"}, "warn", "OMP_NUM_THREADS=64"),
        ({"OMP_NUM_THREADS": "4"}, "ok", "OMP_NUM_THREADS=4"),
    ],
)
def test_variables_that_slow_a_process_down_are_told(
    environment: dict[str, str], status: str, word: str
) -> None:
    check = check_variables("environment", environment, cores=4)
    assert check.status == status
    assert word in check.detail


def test_local_workers_do_not_mind_the_variables_of_this_process() -> None:
    environment = {"MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "64"}
    assert check_variables("environment", environment, cores=None).status == "ok"


def test_what_is_printed_says_what_to_do(tmp_path: Path) -> None:
    page = io.StringIO()
    (tmp_path / "file").write_text("not a folder")
    is_unfit = print_checks(tmp_path / "file" / "run", Console(file=page, width=200))
    assert is_unfit
    line = next(line for line in page.getvalue().splitlines() if "disk of" in line)
    assert line.split()[0] == "fail"
    assert "another run directory" in page.getvalue()
