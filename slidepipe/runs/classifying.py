"""Probabilities of patches that belong to no slide, outside of any run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.checkpoint import Classifier, load_model
from slidepipe.classifier.classification import classify_patches, measure_labelled, write_probabilities
from slidepipe.classifier.devices import torch_threads
from slidepipe.classifier.patch_files import PatchFiles, find_patch_files, fingerprint_patches
from slidepipe.classifier.patch_metrics import PatchMetrics
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.config import load_config
from slidepipe.provenance import software_versions
from slidepipe.storage.publish import write_json


def classify_files(
    patches: Path, model: str, out: Path, json_path: Path | None, overrides: Sequence[str], console: Console
) -> None:
    """Classify patches and write a table of their probabilities.

    Parameters
    ----------
    patches
        Folder or zip file of pictures.
    model
        Folder of a model, or ``builtin``.
    out
        CSV file to write, once all patches are through.
    json_path
        JSON file to write about it: metrics, model, settings, versions; None for none.
    overrides
        Settings to change, ``section.key=value``; those of inference count.
    console
        Where progress and results are told.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be used.
    PatchFileError
        If there is no patch, or one is damaged, or of another size than the model looks at.
    ConfigError
        If an override is not a setting.
    """
    settings = load_config(None, [f"inference.model={json.dumps(model)}", *overrides]).inference
    files = find_patch_files(patches)
    classifier = load_model(
        find_model(settings.model or model),
        settings.device,
        settings.tumour_class,
        trusted=settings.trust_model,
    )
    began = time.monotonic()
    with torch_threads(settings.threads), _progress(console, len(files)) as tell:
        probability = classify_patches(classifier, files, settings, tell)
    seconds = time.monotonic() - began
    metrics = measure_labelled(files, probability)
    write_probabilities(out, files, probability)
    if json_path is not None:
        write_json(json_path, _facts(files, classifier, settings, metrics))
    console.print(
        f"classified {len(files):,} patches in {seconds:.1f} s ({len(files) / max(seconds, 1e-3):,.0f} patches/s); "
        f"their pixels are taken for {classifier.card.mpp:.4g} µm, which the model was trained on",
        soft_wrap=True,
    )
    console.print(_describe(files, metrics), soft_wrap=True)
    for path in filter(None, (out, json_path)):
        console.print(f"wrote {escape(str(path))}", soft_wrap=True)


@contextmanager
def _progress(console: Console, count: int) -> Iterator[Callable[[int], None] | None]:
    if not console.is_terminal:
        yield None
        return
    bar = Progress(
        TextColumn("[bold]classify"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    task, began, done = bar.add_task("classify", total=count, rate=""), time.monotonic(), 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        bar.update(task, completed=done, rate=f"{done / max(time.monotonic() - began, 1e-3):,.0f} patches/s")

    with bar:
        yield tell


def _describe(files: PatchFiles, metrics: PatchMetrics | None) -> str:
    unlabelled = sum(label is None for label in files.is_tumour)
    if metrics is None:
        return "no AUC: the folders do not name two classes (0 and 1, or normal and tumor)"
    low, high = metrics.auc_interval
    least, most = metrics.accuracy_interval
    without = f"; {unlabelled:,} more have no label" if unlabelled else ""
    return (
        f"AUC {metrics.auc:.4f} ({low:.4f} to {high:.4f}), accuracy {metrics.accuracy:.4f} ({least:.4f} to "
        f"{most:.4f}) at 0.5, of {metrics.count:,} patches, {metrics.tumour:,} of them tumour{without}"
    )


def _facts(
    files: PatchFiles, classifier: Classifier, settings: InferenceSettings, metrics: PatchMetrics | None
) -> dict[str, object]:
    card = classifier.card
    return {
        "patches": len(files),
        "labelled": sum(label is not None for label in files.is_tumour),
        "fingerprint": fingerprint_patches(files),
        "metrics": None if metrics is None else asdict(metrics),
        "model": {
            "architecture": card.architecture,
            "patch_px": card.patch_px,
            "mpp": card.mpp,
            "weights_sha256": card.weights_sha256,
        },
        "settings": {key: value for key, value in asdict(settings).items() if key != "model"},
        "software": software_versions(),
    }
