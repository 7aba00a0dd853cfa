"""Whatever is killed, and whenever: the next run goes on, and leaves the bytes of a run that nobody disturbed.

Runs are processes of their own, in process groups of their own together with their workers, so that no kill hits the
tests. They are forked from one that has imported the package: importing it is most of what so small a run does.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from slidepipe.slides.drawing import DrawingSettings, draw_cohort

from .conftest import digests

_STUDY = """
slides: {slides}
cluster: {{kind: local, workers: 2}}
tiles: {{mode: copy, shard_tiles: 1}}
train: {{epochs: 2, patches_per_epoch: 64, validation_patches: 64, batch_size: 32, threads: 1}}
inference: {{batch_size: 32, threads: 1}}
heatmap: {{stride_px: 128, block_cells: 4}}
predict: {{slide_model: {{trees: 20}}}}
evaluate: {{resamples: 20}}
"""
_RESULTS = (
    "tiles",
    "overviews",
    "model",
    "heatmaps",
    "lesions",
    "predictions",
    "evaluation",
    "export/geojson",
)
_LONGEST_S = 300
"""A run takes ten seconds on two cores that have nothing else to do."""

STARTER = """
import json, os, sys
import slidepipe.classifier.training, slidepipe.runs.pipeline
from slidepipe.cli import main
for line in sys.stdin:
    arguments, log = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        main(arguments)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks and process groups here")


@dataclass(slots=True)
class _Running:
    """One run on its way."""

    group: int
    """Number of its first process and of its process group."""
    server: subprocess.Popen[bytes]
    log: Path
    code: int | None = None
    """Exit code, once it was read."""

    def has_ended(self, within_s: float) -> bool:
        """Wait for the end, but not longer."""
        assert self.server.stdout is not None
        ready, _, _ = select.select([self.server.stdout], [], [], within_s)
        return bool(ready)

    def exit_code(self) -> int:
        """Wait for the end; a run that hangs fails the test."""
        assert self.server.stdout is not None
        if self.code is None:
            if not self.has_ended(_LONGEST_S):
                os.killpg(self.group, signal.SIGKILL)
                pytest.fail(f"the run hangs:\n{self.log.read_text()[-3000:]}")
            self.code = int(self.server.stdout.readline())
        return self.code

    def kill_all(self) -> None:
        """Kill every process of the run at once, and wait until none is left."""
        os.killpg(self.group, signal.SIGKILL)
        self.exit_code()
        deadline = time.monotonic() + 20
        while any(_group_of(process) == self.group for process in psutil.process_iter()):
            assert time.monotonic() < deadline, "processes of the run outlive SIGKILL"
            time.sleep(0.05)

    def kill_first(self) -> None:
        """Kill the process that hands out the work, and no other."""
        os.kill(self.group, signal.SIGKILL)
        self.exit_code()

    def workers(self) -> list[psutil.Process]:
        """Processes that were started to run tasks."""
        children = psutil.Process(self.group).children(recursive=True)
        found = []
        for child in children:
            with suppress(psutil.NoSuchProcess):  # one that was killed, or has just ended
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
        return found


def _group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else None
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


class _Runs:
    """Starts runs of one study, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        slides = draw_cohort(
            folder / "slides", DrawingSettings(train_normal=1, train_tumour=1, test=2, size_px=1536)
        )
        (folder / "study.yaml").write_text(_STUDY.format(slides=slides), encoding="utf-8")
        # Unbuffered: a line that Python has read ahead is one that `select` does not see.
        self._server = subprocess.Popen(
            [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def start(self, root: Path) -> _Running:
        """Start a run and wait until it has looked at its directory and goes to work."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        before = _written(root)
        log = root.with_suffix(".log")
        arguments = ["run", str(self.folder / "study.yaml"), "--run", str(root)]
        self._server.stdin.write(json.dumps([arguments, str(log)]).encode() + b"\n")
        running = _Running(int(self._server.stdout.readline()), self._server, log)
        deadline = time.monotonic() + _LONGEST_S
        while _written(root) == before and not running.has_ended(0.01):
            assert time.monotonic() < deadline
        return running

    def close(self) -> None:
        """End the process that runs are forked from."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(_LONGEST_S)


def _written(root: Path) -> int:
    """When something in a run was last made or renamed."""
    latest = 0
    for folder, _, _ in os.walk(root):
        with suppress(FileNotFoundError):  # locks come and go
            latest = max(latest, Path(folder).stat().st_mtime_ns)
    return latest


@dataclass(frozen=True, slots=True)
class _Undisturbed:
    """A run that nobody disturbed."""

    seconds: float
    digests: dict[str, str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Runs]:
    with closing(_Runs(tmp_path_factory.mktemp("chaos"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def undisturbed(runs: _Runs) -> _Undisturbed:
    root = runs.folder / "undisturbed"
    running = runs.start(root)
    began = time.monotonic()
    assert running.exit_code() == 0, running.log.read_text()
    return _Undisturbed(time.monotonic() - began, results(root))


def results(root: Path) -> dict[str, str]:
    """Fingerprint what a run is for, without temporary files, which `check_finished` looks at by themselves."""
    found = {f"{part}/{name}": value for part in _RESULTS for name, value in digests(root / part).items()}
    return {name: value for name, value in found.items() if not name.endswith(".tmp")}


def leftovers(root: Path) -> list[str]:
    """What a finished run must not hold: temporary names, things on their way out, ledgers of blocks."""
    endings = {".tmp", ".deleting", ".work"}
    return [str(path) for path in root.rglob("*") if path.suffix in endings]


def share(request: pytest.FixtureRequest, part: float) -> int:
    """Part of the kills that were asked for, at least one."""
    return max(1, round(part * int(request.config.getoption("chaos"))))


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(
    runs: _Runs, undisturbed: _Undisturbed, request: pytest.FixtureRequest
):
    n_kills = share(request, 0.6)
    chance = random.Random(n_kills)
    n_finished = 0
    root = runs.folder / "killed-0"
    while n_kills:
        running = runs.start(root)
        if running.has_ended(chance.uniform(0, undisturbed.seconds)):
            check_finished(runs, running, root, undisturbed)
            n_finished += 1
            root = runs.folder / f"killed-{n_finished}"
            continue
        if chance.random() < 0.75:
            running.kill_all()
        else:  # The workers notice by themselves, while the next run has begun.
            running.kill_first()
        n_kills -= 1
    check_finished(runs, runs.start(root), root, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_run_whose_workers_are_killed_goes_on_without_them(
    runs: _Runs, undisturbed: _Undisturbed, request: pytest.FixtureRequest
):
    n_kills = share(request, 0.4)
    chance = random.Random(n_kills)
    n_finished = 0
    while n_kills > 0:
        root = runs.folder / f"workers-{n_finished}"
        running = runs.start(root)
        while not running.has_ended(chance.uniform(0.1, undisturbed.seconds / 2)):
            workers = running.workers()
            if workers and n_kills > 0:
                chance.choice(workers).kill()
                n_kills -= 1
        if (
            running.exit_code() != 0
        ):  # A block that was hit several times is taken for the culprit; not for ever.
            assert "worker" in running.log.read_text().lower()
            running = runs.start(root)
        check_finished(runs, running, root, undisturbed)
        n_finished += 1


def check_finished(runs: _Runs, running: _Running, root: Path, undisturbed: _Undisturbed) -> None:
    """Wait for the end of a run, and compare what it left."""
    assert running.exit_code() == 0, running.log.read_text()
    assert results(root) == undisturbed.digests
    if strays := leftovers(root):  # They may be another process's, until they are old.
        for stray in strays:
            os.utime(stray, (0, 0))
        assert runs.start(root).exit_code() == 0
    assert leftovers(root) == []
