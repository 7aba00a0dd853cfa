"""Detections in the format of the CAMELYON16 challenge: what the organisers' evaluation script reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slidepipe.lesions.lesion import Lesion
from slidepipe.storage.publish import write_text


def write_challenge_csv(path: Path, lesions: Sequence[Lesion]) -> None:
    """Write the lesions of one slide as ``confidence,x,y``, without a header.

    Parameters
    ----------
    path
        File to write or replace; the organisers' script wants it named as the slide, with ``.csv``.
    lesions
        Lesions of one slide, in the order wanted. None gives an empty file, which is how a slide without detections is
        submitted.

    Notes
    -----
    Confidences have five decimals and points are whole level-0 pixels, as NCRF writes them. Confidences that only
    differ later are ties for the script, so this package evaluates its own tables, not these files.
    """
    lines = (f"{lesion.probability:.5f},{lesion.x_px0},{lesion.y_px0}\n" for lesion in lesions)
    write_text(path, "".join(lines))
