"""A QuPath project that was moved, or whose slides were: new addresses for both.

QuPath wants absolute addresses. When it opens a project that was moved, it offers to look for the images itself; this
does the same without asking, and for a server or another person's computer where the slides lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from slidepipe.errors import ExportError
from slidepipe.export.qupath import PROJECT_NAME
from slidepipe.storage.publish import read_json, write_json

_SCHEMES = {"file", "s3", "s3a", "gs", "gcs", "az", "abfs"}
"""Files and object stores, from which slides are fetched to be looked at. Images of other servers stay as they are."""


def rewrite_project(folder: Path, slides_root: Path | None = None) -> tuple[str, ...]:
    """Give a project the addresses that hold where it lies now.

    What lies in the project's own folder is found there again. A slide is looked for

    1. below `slides_root`, if it is given: at the longest end of its old path that exists there, so that
       ``/old/place/training/tumor_001.tif`` becomes ``slides_root/training/tumor_001.tif`` or else
       ``slides_root/tumor_001.tif``;
    2. where it was, on a disk;
    3. where it was as seen from the project, in case both were moved together.

    Whatever else QuPath or a user has put into the project stays as it is.

    Parameters
    ----------
    folder
        Folder of the project, written here or changed by QuPath since. It may have been written under another operating
        system.
    slides_root
        Folder that the slides lie in now; None looks where they were.

    Returns
    -------
    tuple of str
        Names of the images whose address has changed.

    Raises
    ------
    ExportError
        If there is no project, or a slide or heatmap is nowhere to be found; nothing is changed then.
    """
    path = folder.resolve() / PROJECT_NAME
    try:
        project = read_json(path)
        old_folder = _path_of(project["uri"]).parent
        images = [(str(image["imageName"]), image["serverBuilder"]) for image in project["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder} holds no QuPath project: {error}") from error
    changed, missing = [], []
    for name, builder in images:
        for server in _servers(builder):
            old = _path_of(server["uri"])
            new = _find(old, old_folder, path.parent, slides_root)
            if new is None:
                missing.append(f"{name} ({old})")
            elif _path_of(new.as_uri()) != old:
                server["uri"] = new.as_uri()
                changed.append(name)
    if missing:
        where = f"below {slides_root}, where they were," if slides_root else "where they were"
        raise ExportError(
            f"{len(missing)} images of the project are neither {where} nor beside the project: "
            f"{', '.join(missing[:5])}; give the folder that they lie in now as slides_root"
        )
    project["uri"] = path.as_uri()
    write_json(path, project)
    return tuple(dict.fromkeys(changed))


def _servers(builder: Any) -> Iterator[dict[str, Any]]:
    """Find the addresses of an image, which may be rotated, scaled or put together by builders around builders."""
    if isinstance(builder, dict):
        if urlsplit(str(builder.get("uri", ""))).scheme in _SCHEMES:
            yield builder
        for part in builder.values():
            yield from _servers(part)
    elif isinstance(builder, list):
        for part in builder:
            yield from _servers(part)


def _path_of(uri: str) -> PurePosixPath:
    """Return the path of an address. One from Windows begins with a slash and the letter of a drive."""
    return PurePosixPath(unquote(urlsplit(uri).path))


def _find(
    old: PurePosixPath, old_folder: PurePosixPath, folder: Path, slides_root: Path | None
) -> Path | None:
    if old.is_relative_to(old_folder):
        inside = folder / old.relative_to(old_folder)
        if inside.exists():
            return inside
    if slides_root is not None:
        for start in range(1, len(old.parts)):
            below = slides_root.resolve().joinpath(*old.parts[start:])
            if below.exists():
                return below
    # On Windows the drive's letter must come first: /C:/slides/a.tif means C:/slides/a.tif.
    text = str(old)
    unmoved = Path(text[1:] if text[2:3] == ":" else text)
    if unmoved.is_absolute() and unmoved.exists():
        return unmoved
    together = _moved_along(old, old_folder, folder)
    return together if together is not None and together.exists() else None


def _moved_along(old: PurePosixPath, old_folder: PurePosixPath, folder: Path) -> Path | None:
    """Walk from the project's new folder to the slide as one walked from the old folder."""
    shared = 0
    for one, other in zip(old.parts, old_folder.parts, strict=False):
        if one != other:
            break
        shared += 1
    ups = len(old_folder.parts) - shared
    if ups > len(folder.parts) - 1:
        return None
    start = folder if ups == 0 else folder.parents[ups - 1]
    return start.joinpath(*old.parts[shared:])
