"""The model that comes with the package."""

from __future__ import annotations

from pathlib import Path

from slidepipe.storage.locations import location

BUILTIN_MODEL = "builtin"
"""Name that stands for the model of the package wherever the folder of a model is asked for."""


def find_model(name_or_folder: str) -> Path:
    """Find the folder of a model.

    Parameters
    ----------
    name_or_folder
        ``builtin``, or a folder, which may be a URL.

    Returns
    -------
    Path
        Folder; whether there is a model in it is for `slidepipe.classifier.card.read_card` to say.
    """
    if name_or_folder == BUILTIN_MODEL:
        return Path(__file__).with_name("weights")
    return location(name_or_folder)
