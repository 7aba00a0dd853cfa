"""What the path of a slide tells: the slide's id, and in CAMELYON16 its split and label."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from slidepipe.errors import CohortError
from slidepipe.storage.locations import is_url

Split = Literal["train", "test"]
Label = Literal["normal", "tumor"]

SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".bif", ".svslide", ".czi", ".dcm",
)  # fmt: skip
"""Ends of the names of slide files, in lower case."""

_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_LONGEST = 128
_PREFIXES: dict[str, tuple[Split, Label | None]] = {
    "normal": ("train", "normal"),
    "tumor": ("train", "tumor"),
    "test": ("test", None),
}


def slide_id_of(path: str) -> str:
    """Name a slide after its file.

    Parameters
    ----------
    path
        Local path or URL.

    Returns
    -------
    str
        The last part without the suffix, if that is one of a slide. It becomes the name of files and folders.

    Raises
    ------
    CohortError
        If it would not make a file name everywhere.
    """
    name = path.split("?")[0].rsplit("/", 1)[-1] if is_url(path) else Path(path).name
    stem, dot, suffix = name.rpartition(".")
    slide_id = stem if dot and f".{suffix.lower()}" in SLIDE_SUFFIXES else name
    check_slide_id(slide_id)
    return slide_id


def check_slide_id(slide_id: str) -> None:
    r"""Refuse the name of a slide that cannot be the name of a file on every system.

    Parameters
    ----------
    slide_id
        The name.

    Raises
    ------
    CohortError
        If it is empty, longer than 128 characters, begins with a dot, ends with a dot or space, or holds a control
        character or one of ``<>:"/\|?*``.
    """
    is_whole = bool(slide_id) and len(slide_id) <= _LONGEST and not slide_id.startswith(".")
    if not is_whole or slide_id.endswith((".", " ")) or _UNSAFE.search(slide_id):
        raise CohortError(
            f"{slide_id!r} cannot name a slide, because it is used in the names of files: rename the file so that "
            f'it has 1 to {_LONGEST} characters, none of <>:"/\\|?* and no control character, no dot first, no dot '
            "or space last"
        )


def split_and_label(slide_id: str) -> tuple[Split | None, Label | None]:
    """Tell split and label from the name that CAMELYON16 gives a slide.

    Parameters
    ----------
    slide_id
        Name of the slide, in any case.

    Returns
    -------
    Split or None
        ``train`` for ``normal_…`` and ``tumor_…``, ``test`` for ``test_…``, None for other names.
    Label or None
        What the name says; None for ``test_…`` and other names.
    """
    prefix, underscore, _ = slide_id.lower().partition("_")
    return _PREFIXES.get(prefix, (None, None)) if underscore else (None, None)
