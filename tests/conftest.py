"""What every test may use: the shared test data, where it lies beside the checkout, a real SLURM where one runs, and an
S3 service on loopback."""

import logging
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slidepipe.storage import access
from slidepipe.storage.locations import location

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


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """Give back what the command line sets for its process."""
    logger = logging.getLogger("slidepipe")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of single tests."""
    parser.addoption(
        "--chaos", type=int, default=20, metavar="N", help="Kill runs N times (tests/runs/test_chaos.py)."
    )


@pytest.fixture(scope="session")
def s3_listeners() -> list[Callable[[str, str], bool]]:
    """Those who are told of each request to the S3 service, method and path, and say whether it gets lost."""
    return []


@pytest.fixture(scope="session")
def s3_endpoint(s3_listeners: list[Callable[[str, str], bool]]) -> Iterator[str]:
    """Address of moto's S3 service, which speaks the API over HTTP; skips where moto is not installed."""
    server = pytest.importorskip("moto.server", reason="moto is missing: pip install slidepipe[test]")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    service = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    service.start()
    answer = service._server.app

    def listen(environ: dict[str, Any], respond: Callable[..., Any]) -> Any:
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if any(is_lost(*asked) for is_lost in s3_listeners):
            respond("503 Service Unavailable", [])
            return []
        return answer(environ, respond)

    service._server.app = listen
    _, port = service.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    service.stop()


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The environment of somebody who may use the service."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    access._file_system.cache_clear()
    yield
    access._file_system.cache_clear()


@pytest.fixture
def bucket(s3_environment: None) -> Path:
    """An empty bucket of the test's own."""
    bucket = location(f"s3://test-{secrets.token_hex(8)}")
    files = access.file_system(str(bucket), access.BY_ENVIRONMENT)
    files.mkdir(bucket.name)
    return bucket
