"""Probabilities of patches in a folder or a zip file, and how good they are where the folders tell the classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidepipe.classifier.checkpoint import Classifier
from slidepipe.classifier.pass_running import pass_runner, patches_per_pass
from slidepipe.classifier.patch_files import PatchFiles, read_in_batches
from slidepipe.classifier.patch_metrics import PatchMetrics, measure_patches
from slidepipe.classifier.settings import InferenceSettings
from slidepipe.storage.publish import write_text


def classify_patches(
    classifier: Classifier,
    files: PatchFiles,
    settings: InferenceSettings,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Compute the probability of tumour of patches from files.

    Parameters
    ----------
    classifier
        The network and its card.
    files
        The patches. A thread of its own reads and decodes them while the network computes.
    settings
        Size of a batch, test-time augmentation, precision and runtime; device and threads are those of `classifier`
        and its caller.
    progress
        Called after each batch with the number of its patches.

    Returns
    -------
    ndarray
        Shape (n,), 0 to 1, in the order of ``files.names``. On the CPU a probability does not depend, to the last
        bit, on which other patches there are.

    Raises
    ------
    ModelError
        If the network cannot be run as the settings say, or a probability is not a number.
    PatchFileError
        If a patch is damaged, of another size than the model looks at, or not RGB with 8 bits.
    """
    side = classifier.card.patch_px
    batch_size = patches_per_pass(settings, classifier.device)
    run = pass_runner(classifier, classifier.patch_pass, (batch_size, side, side, 3), settings)
    probability = np.empty(len(files), dtype=np.float32)
    done = 0
    with closing(_ahead(files, side, batch_size)) as batches:
        for batch in batches:
            # Repeated patches fill the last batch up.
            full = np.resize(batch, (batch_size, *batch.shape[1:]))
            probability[done : done + len(batch)] = run(full)[: len(batch)]
            done += len(batch)
            if progress is not None:
                progress(len(batch))
    return probability


def _ahead(files: PatchFiles, patch_px: int, batch_size: int) -> Generator[NDArray[np.uint8], None, None]:
    batches = read_in_batches(files, patch_px, batch_size)
    with ThreadPoolExecutor(1, thread_name_prefix="patch-reader") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def measure_labelled(files: PatchFiles, probability: NDArray[np.float32]) -> PatchMetrics | None:
    """Compare the probabilities of those patches whose folders name a class with it.

    Parameters
    ----------
    files
        The patches and their labels.
    probability
        Shape (n,).

    Returns
    -------
    PatchMetrics or None
        AUC, and accuracy at 0.5; None if there are not labelled patches of both classes.
    """
    labelled = np.array([label is not None for label in files.is_tumour], dtype=np.bool_)
    is_tumour = np.array([bool(label) for label in files.is_tumour], dtype=np.bool_)[labelled]
    if is_tumour.all() or not is_tumour.any():
        return None
    return measure_patches(is_tumour, probability[labelled])


def write_probabilities(path: Path, files: PatchFiles, probability: NDArray[np.float32]) -> None:
    """Write a table ``name,probability``.

    Parameters
    ----------
    path
        CSV file to write or replace, in one step.
    files
        The patches; their order is that of the rows.
    probability
        Shape (n,); written with as many digits as give the same float32 back.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("name", "probability"))
    table.writerows((name, str(value)) for name, value in zip(files.names, probability, strict=True))
    write_text(path, text.getvalue())
