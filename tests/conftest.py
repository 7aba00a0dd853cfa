"""What every test may use: the shared test data, where it lies beside the checkout, and a real SLURM where one runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real slides, patches and evaluation vectors; skips where it is missing."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("test data is missing: the folder shared/data is expected beside the checkout")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def slurm() -> None:
    """A SLURM that takes jobs (`sbatch`, `squeue`); skips where none answers. `.ci/start_slurm.sh` starts one."""
    if shutil.which("sinfo") is None:
        pytest.skip("SLURM is missing: there is no sinfo here; .ci/start_slurm.sh sets one up, as root")
    try:
        nodes = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("SLURM is not running: sinfo does not answer within 20 s")
    if not any(line.startswith(("idle", "mixed", "allocated")) for line in nodes.stdout.splitlines()):
        pytest.skip(f"SLURM has no node that takes jobs: {(nodes.stdout + nodes.stderr).strip()}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of single tests."""
    parser.addoption(
        "--chaos", type=int, default=20, metavar="N", help="Kill runs N times (tests/runs/test_chaos.py)."
    )
