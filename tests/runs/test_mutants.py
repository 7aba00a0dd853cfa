"""Hundreds of broken slides in one run: each ends in the journal, done or with its reason, and nothing else happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from slidepipe.runs.journal import Entry
from slidepipe.runs.study import Study, open_study
from slidepipe.runs.verify import find_problems
from slidepipe.slides.slide_writer import write_slide

from .mutants import Mutant, cut_short, flipped, tiff_mutants

_TIMEOUT_S = 600
"""Alone on two cores it takes a minute."""
_MEMORY = 2**30
"""Of a worker, which Dask ends if it takes more; all slides together are smaller."""
_ADDRESSES = 12 * 2**30
"""Of a process: what is asked for beyond that is refused, and stacks and libraries alone are some gigabytes."""
_WHOLE = ("small.svs", "boxes.tiff", "tumor_072_level7_asap.tif", "tumor_072_level7_philips.tif")
_IN_PART = {"CMU-1-Small-Region.svs": 12, "tcga-cr-7395-01a-01-ts1.svs": 24}
"""Larger slides, of whose mutants every so-manieth is taken."""

_LIMITED = (
    "import resource, runpy; "
    f"resource.setrlimit(resource.RLIMIT_AS, ({_ADDRESSES}, {_ADDRESSES})); "
    "runpy.run_module('slidepipe', run_name='__main__')"
)


def drawn_mutants(folder: Path) -> Iterator[tuple[str, Mutant]]:
    """Break a drawn slide of each container."""
    random = np.random.default_rng(0)
    picture = random.integers(60, 250, (700, 900, 3), dtype=np.uint8)
    picture[:300] = 255
    for container in ("asap", "philips"):
        write_slide(folder / container, picture, container, 0.5)
        for mutant in islice(
            tiff_mutants(f"drawn-{container}", (folder / container).read_bytes()), 0, None, 4
        ):
            yield ".tif", mutant


def real_mutants(slides: Path) -> Iterator[tuple[str, Mutant]]:
    """Break the real slides."""
    for name in (*_WHOLE, *_IN_PART):
        path = slides / name
        mutants = tiff_mutants(path.stem.lower(), path.read_bytes())
        for mutant in islice(mutants, 0, None, _IN_PART.get(name, 1)):
            yield path.suffix, mutant
    dicom = (slides / "boxes_0.dcm").read_bytes()
    yield from ((".dcm", mutant) for mutant in cut_short("dicom", dicom))
    yield from ((".dcm", mutant) for mutant in flipped("dicom-header", dicom, range(1500), 15, 3))
    yield from ((".dcm", mutant) for mutant in flipped("dicom-everywhere", dicom, range(len(dicom)), 15, 3))


def run_tiling(paths: list[Path], run: Path) -> subprocess.CompletedProcess[str]:
    """Run the stage in processes of its own, all of which are killed if it takes too long."""
    slides = "slides=" + str([str(path) for path in paths]).replace("'", '"')
    config = run.parent / "study.yaml"
    config.write_text(slides.replace("slides=", "slides: ", 1), encoding="utf-8")
    settings = ("slides.mpp=0.5", f"cluster.memory_limit={_MEMORY // 2**20}MiB", "tiles.shard_tiles=2")
    overrides = [word for setting in settings for word in ("--set", setting)]
    command = [
        sys.executable,
        "-c",
        _LIMITED,
        "tile",
        str(config),
        "--run",
        str(run),
        "--workers",
        "2",
        *overrides,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        pytest.fail(f"the batch did not end within {_TIMEOUT_S} s:\n{said[-3000:]}")
    return subprocess.CompletedProcess(command, process.returncode, said)


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Study, str]:
    """The study of all broken slides after its run, and what the command said."""
    folder = tmp_path_factory.mktemp("mutants")
    paths = []
    for suffix, mutant in (*drawn_mutants(folder), *real_mutants(shared_data / "slides")):
        # A folder each, since the DICOM files would be taken for one series.
        path = folder / mutant.name / f"{mutant.name}{suffix}"
        path.parent.mkdir()
        path.write_bytes(mutant.content)
        paths.append(path)
    done = run_tiling(paths, folder / "run")
    assert done.returncode == 1, done.stdout[-3000:]
    return open_study(folder / "run"), done.stdout


@pytest.fixture(scope="module")
def entries(tiled: tuple[Study, str]) -> dict[str, Entry]:
    study, _ = tiled
    return {entry.slide_id: entry for entry in study.journal.entries("tile")}


@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT_S + 60)
def test_every_broken_slide_is_in_the_journal(tiled: tuple[Study, str], entries: dict[str, Entry]):
    study, _ = tiled
    assert len(study.slides) >= 300
    assert set(entries) == {slide.source.slide_id for slide in study.slides}
    states = Counter(entry.state for entry in entries.values())
    assert set(states) == {"done", "failed"}
    assert min(states.values()) > 50, states


@pytest.mark.slow
def test_every_failure_has_a_reason_that_names_the_slide(entries: dict[str, Entry]):
    failures = {name: entry.failure for name, entry in entries.items() if entry.failure is not None}
    unexpected = {name: failure.message for name, failure in failures.items() if not failure.expected}
    assert unexpected == {}
    assert {name: failure.message for name, failure in failures.items() if name not in failure.message} == {}


@pytest.mark.slow
def test_no_slide_takes_more_memory_than_it_may(entries: dict[str, Entry]):
    most = max(entries.values(), key=lambda entry: entry.peak_bytes)
    assert 2**26 < most.peak_bytes < _MEMORY, most.slide_id


@pytest.mark.slow
def test_what_is_called_done_is_whole(tiled: tuple[Study, str], entries: dict[str, Entry]):
    study, _ = tiled
    problems = find_problems(study, decode=True)
    done = {name for name, entry in entries.items() if entry.state == "done"}
    assert {name: found for name, found in problems.items() if found and name.split()[1] in done} == {}


@pytest.mark.slow
def test_nothing_temporary_is_left_and_no_traceback_is_shown(tiled: tuple[Study, str]):
    study, said = tiled
    assert [path for path in study.folder.root.rglob("*") if path.suffix in {".tmp", ".deleting"}] == []
    assert "Traceback (most recent call last)" not in said
