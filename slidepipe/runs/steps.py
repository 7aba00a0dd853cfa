"""A piece of work on the whole cohort: skipped if its token and files are as they were, written down like a slide."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidepipe.provenance import fingerprint_file
from slidepipe.runs.journal import COHORT, Entry, Outcome, attempt
from slidepipe.runs.study import Study


@dataclass(frozen=True, slots=True)
class CohortStep:
    """One piece of work on the whole cohort."""

    name: str
    token: str
    """Fingerprint of everything that the outputs depend on."""
    work: Callable[[], Mapping[str, Any]]
    """Does it and returns a summary, perhaps with ``parts_s``, seconds by part of the work."""
    outputs: tuple[Path, ...]
    """Files it leaves, all of them small."""


def run_step(
    study: Study, step: CohortStep, call: Callable[[Callable[[], Mapping[str, Any]]], Outcome] = attempt
) -> list[Entry]:
    """Do a piece of work unless it is done, and write down what became of it.

    Parameters
    ----------
    study
        The study.
    step
        The work.
    call
        Where it is done: here, unless this takes it somewhere else.

    Returns
    -------
    list of Entry
        Empty if there was nothing to do.
    """
    before = study.journal.read(step.name)
    if (
        before is not None
        and before.state == "done"
        and before.token == step.token
        and outputs_are_there(study, before)
    ):
        return []
    started = time.time()
    study.journal.write(Entry(step.name, COHORT, "running", step.token, started))
    outcome = call(step.work)
    summary = dict(outcome.value or {})
    parts_s = summary.pop("parts_s", {})
    entry = Entry(
        stage=step.name,
        slide_id=COHORT,
        state="done" if outcome.failure is None else "failed",
        token=step.token,
        started=started,
        wall_s=round(time.time() - started, 3),
        busy_s=round(outcome.seconds, 3),
        peak_bytes=outcome.peak_bytes,
        attempts=before.attempts + 1 if before is not None and before.token == step.token else 1,
        summary=summary,
        outputs=fingerprint_outputs(study.folder.root, step.outputs) if outcome.failure is None else {},
        failure=outcome.failure,
        parts_s=parts_s,
    )
    study.journal.write(entry)
    return [entry]


def fingerprint_outputs(root: Path, paths: tuple[Path, ...]) -> dict[str, str]:
    """Fingerprint files of a run.

    Parameters
    ----------
    root
        The run directory.
    paths
        Existing files in it.

    Returns
    -------
    dict
        Path relative to the run, which may be moved, to fingerprint.
    """
    return {path.relative_to(root).as_posix(): fingerprint_file(path) for path in paths}


def outputs_are_there(study: Study, entry: Entry) -> bool:
    """Tell whether the files of an entry are still the ones that were written.

    Parameters
    ----------
    study
        The study.
    entry
        A finished piece of work.

    Returns
    -------
    bool
        False if a file is missing or has another content.
    """
    files = ((study.folder.root / name, was) for name, was in entry.outputs.items())
    return all(path.is_file() and fingerprint_file(path) == was for path, was in files)
