"""The hits behind a lesion score, as a table: to look at, and to compare runs without their slides.

One line for every slide, lesion and detection, by every rule. Read back, a score can be computed and resampled again
exactly: probabilities are written so that they read back to the last bit.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.froc_result import FrocResult
from slidepipe.evaluation.matching import SlideHits
from slidepipe.evaluation.rules import RuleName
from slidepipe.storage.publish import write_text

_COLUMNS = ("rule", "slide_id", "kind", "probability", "diameter_um")
_SLIDE_KINDS = {"normal": False, "tumor": True}
_KINDS = ("target", "itc", "false_positive", "on_lesion")


def write_hits(path: Path, results: Sequence[FrocResult]) -> None:
    """Write the hits behind lesion scores.

    Parameters
    ----------
    path
        CSV file to write or replace. Kinds of line: ``normal`` or ``tumor``, the label of a slide, first; ``target``
        and ``itc``, a lesion with the highest probability that hit it (0 if missed; always 0 for isolated tumour
        cells) and its long axis in µm; ``false_positive`` and ``on_lesion``, a detection with its probability.
    results
        Scores by several rules.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for result in results:
        for hits in result.hits:
            for kind, probability, diameter in _lines(hits):
                table.writerow((result.rule, hits.slide_id, kind, probability, diameter))
    write_text(path, text.getvalue())


def read_hits(path: Path) -> Mapping[RuleName, tuple[SlideHits, ...]]:
    """Read a table that `write_hits` wrote.

    Parameters
    ----------
    path
        Existing file.

    Returns
    -------
    mapping
        Rule to the hits of each slide, in the order of the file.

    Raises
    ------
    EvaluationError
        If the header is another one or a line cannot be read; the message names it.
    FileNotFoundError
        If there is no such file.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise EvaluationError(f"{path.name} has not the header {','.join(_COLUMNS)}: evaluate the run again")
    slides: dict[RuleName, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    labels: dict[str, bool] = {}
    for number, row in enumerate(rows[1:], start=2):
        try:
            rule, slide_id, kind, probability, diameter = row
            found = slides.setdefault(_rule(rule), {})
            if kind in _SLIDE_KINDS:
                labels[slide_id] = _SLIDE_KINDS[kind]
                found[slide_id] = {each: [] for each in _KINDS}
            else:
                found[slide_id][kind].append((float(probability), float(diameter or "nan")))
        except (KeyError, ValueError) as error:
            raise EvaluationError(f"{path.name}, line {number}: {','.join(row)!r} cannot be read") from error
    return {
        rule: tuple(_hits(slide_id, labels[slide_id], kinds) for slide_id, kinds in found.items())
        for rule, found in slides.items()
    }


def _lines(hits: SlideHits) -> list[tuple[str, float | str, float | str]]:
    lines: list[tuple[str, float | str, float | str]] = [("tumor" if hits.is_tumour else "normal", "", "")]
    lesions = zip(
        hits.is_itc.tolist(), hits.lesion_probability.tolist(), hits.diameter_um.tolist(), strict=True
    )
    lines += [
        ("itc" if is_itc else "target", probability, diameter) for is_itc, probability, diameter in lesions
    ]
    lines += [("false_positive", probability, "") for probability in hits.false_positive_probability.tolist()]
    lines += [("on_lesion", probability, "") for probability in hits.on_lesion_probability.tolist()]
    return lines


def _hits(slide_id: str, is_tumour: bool, kinds: Mapping[str, list[tuple[float, float]]]) -> SlideHits:
    lesions = np.array(kinds["target"] + kinds["itc"]).reshape(-1, 2)
    return SlideHits(
        slide_id=slide_id,
        is_tumour=is_tumour,
        lesion_probability=lesions[:, 0],
        is_itc=np.arange(len(lesions)) >= len(kinds["target"]),
        diameter_um=lesions[:, 1],
        false_positive_probability=np.array([probability for probability, _ in kinds["false_positive"]]),
        on_lesion_probability=np.array([probability for probability, _ in kinds["on_lesion"]]),
    )


def _rule(name: str) -> RuleName:
    known: tuple[RuleName, ...] = get_args(RuleName)
    return known[known.index(name)]
