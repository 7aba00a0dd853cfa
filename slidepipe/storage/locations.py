"""Where things lie: on a disk or in an object store, told apart by their text.

Slides and runs are named by texts, in configurations, tables and tasks. A text with a scheme, as in
``s3://bucket/run``, is an address in an object store; any other is a path on a disk. Both are given out as
`pathlib.Path`, whose methods `slidepipe.storage.remote.RemotePath` has as far as this package uses them; the few
places that write files, and those that hand a file name to a library, ask which of the two it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from slidepipe.storage.access import BY_ENVIRONMENT, StoreAccess
from slidepipe.storage.remote import RemotePath


def is_url(text: str) -> bool:
    """Tell a URL from a local path.

    Parameters
    ----------
    text
        Either.

    Returns
    -------
    bool
        Whether it has a scheme, as in ``s3://bucket/slide.tif``.
    """
    return "://" in text


def location(text: str, access: StoreAccess = BY_ENVIRONMENT) -> Path:
    """Return the place that a text names.

    Parameters
    ----------
    text
        Local path or URL.
    access
        How an object store is reached.

    Returns
    -------
    Path
        On a disk a `pathlib.Path`; in an object store a `RemotePath`, which is used like one.
    """
    return cast(Path, RemotePath(text, access)) if is_url(text) else Path(text)


def as_remote(path: object) -> RemotePath | None:
    """Tell an address in an object store from a path on a disk.

    Parameters
    ----------
    path
        Either, as `location` returns it.

    Returns
    -------
    RemotePath or None
        None for a path on a disk.
    """
    return path if isinstance(path, RemotePath) else None
