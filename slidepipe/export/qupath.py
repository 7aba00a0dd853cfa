"""A QuPath project that opens as it is: slides, heatmaps lying on them, results and two scripts.

    project.qpproj                 slides and heatmaps, plain JSON
    classifiers/classes.json       class names and colours
    geojson/<slide>.geojson.gz     lesions and tiles, from `slidepipe.export.geojson`
    heatmaps/<slide>.ome.tif       heatmaps, from `slidepipe.export.ome_tiff`
    heatmaps/<slide>.ome.zarr      the same for other viewers, if asked for, from `slidepipe.export.ome_zarr`
    pictures/<slide>.ome.tif       heatmaps in colours, for viewers that only show pictures
    scripts/                       import_results.groovy, show_results.groovy

No QuPath is needed to write it. A heatmap is an entry of its own: QuPath's ``affine`` server scales it to the slide's
level-0 pixels, so it has the slide's coordinates and size and can be shown beside it in step. Neither a file's physical
size nor its position makes QuPath lay one image on another, which is why a script does that.

QuPath wants absolute addresses, so the project holds the paths of the slides and of itself, and asks where they are
when it was moved; `slidepipe.export.qupath_moving.rewrite_project` answers for all of them at once. It is the one
output that does, and the files in it that can be passed on do not.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from slidepipe.errors import ExportError
from slidepipe.export.geojson import OTHER_CLASS, TUMOUR_CLASS
from slidepipe.export.geojson_check import GeoJsonProblem, check_geojson
from slidepipe.geometry import Scale
from slidepipe.storage.locations import location
from slidepipe.storage.publish import write_bytes, write_json

__all__ = [
    "PROJECT_NAME", "SCRIPT_NAMES", "GeoJsonProblem", "ProjectSlide", "check_geojson", "geojson_path", "heatmap_path",
    "picture_path", "write_qupath_project", "zarr_path",
]  # fmt: skip

PROJECT_NAME = "project.qpproj"
"""Name of the file to open in QuPath."""
SCRIPT_NAMES = ("import_results.groovy", "show_results.groovy")
"""Scripts that appear in QuPath under Automate, Project scripts."""

_NAMESPACE = uuid.UUID("c1a7e1d8-9d2b-5b57-8a5c-4a4be1f1c9a3")
_VERSION = "0.5.1"
_OPENSLIDE = "qupath.lib.images.servers.openslide.OpenslideServerBuilder"
_BIOFORMATS = "qupath.lib.images.servers.bioformats.BioFormatsServerBuilder"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSlide:
    """One slide of a project, with or without a heatmap."""

    slide_id: str
    """Name of the slide in the project."""
    path: str
    """Local path of the slide file."""
    bounds_px0: tuple[int, int, int, int] | None = None
    """Left, top, width and height of the scanned area (``SlideInfo.bounds_px0``); QuPath crops to it."""
    cell_px0: Scale | None = None
    """Level-0 pixels that a cell of the heatmap spans; None for a slide without a heatmap."""
    probability: float | None = None
    """Probability of the slide, shown among its properties."""


def geojson_path(folder: Path, slide_id: str) -> Path:
    """Name the file of a slide's lesions and tiles.

    Parameters
    ----------
    folder
        Folder of the project.
    slide_id
        Slide.

    Returns
    -------
    Path
        Where the project's scripts look for it.
    """
    return folder / "geojson" / f"{slide_id}.geojson.gz"


def heatmap_path(folder: Path, slide_id: str) -> Path:
    """Name the file of a slide's heatmap.

    Parameters
    ----------
    folder
        Folder of the project.
    slide_id
        Slide.

    Returns
    -------
    Path
        Where the project's entries and scripts look for it.
    """
    return folder / "heatmaps" / f"{slide_id}.ome.tif"


def zarr_path(folder: Path, slide_id: str) -> Path:
    """Name the folder of a slide's heatmap as OME-Zarr.

    Parameters
    ----------
    folder
        Folder of the project.
    slide_id
        Slide.

    Returns
    -------
    Path
        Beside the OME-TIFF; the project does not list it, because QuPath before 0.6 cannot open it.
    """
    return folder / "heatmaps" / f"{slide_id}.ome.zarr"


def picture_path(folder: Path, slide_id: str) -> Path:
    """Name the file of a slide's heatmap in colours.

    Parameters
    ----------
    folder
        Folder of the project.
    slide_id
        Slide.

    Returns
    -------
    Path
        In a folder of its own, so that it has the slide's name too.
    """
    return folder / "pictures" / f"{slide_id}.ome.tif"


def write_qupath_project(folder: Path, slides: Sequence[ProjectSlide], timestamp_ms: int) -> Path:
    """Write project, classes and scripts around the files that are there already.

    Parameters
    ----------
    folder
        Folder of the project, with ``geojson`` and ``heatmaps`` filled.
    slides
        Slides in the order wanted.
    timestamp_ms
        Milliseconds since 1970 that the project is dated with. Equal inputs give equal bytes.

    Returns
    -------
    Path
        The file to open in QuPath.

    Raises
    ------
    ExportError
        If a slide is listed twice, or its heatmap has not been written.
    """
    _check_slides(folder, slides)
    project = folder.resolve() / PROJECT_NAME
    images = [entry for slide in slides for entry in _entries(folder, slide)]
    for number, entry in enumerate(images, start=1):
        entry["entryID"] = number
        entry["randomizedName"] = str(uuid.uuid5(_NAMESPACE, entry["imageName"]))
    write_json(
        folder / "classifiers" / "classes.json",
        {"pathClasses": [_packed(TUMOUR_CLASS), _packed(OTHER_CLASS)]},
    )
    for name in SCRIPT_NAMES:
        script = resources.files("slidepipe.export").joinpath("scripts", name)
        write_bytes(folder / "scripts" / name, script.read_bytes())
    content = {
        "version": _VERSION,
        "createTimestamp": timestamp_ms,
        "modifyTimestamp": timestamp_ms,
        "uri": project.as_uri(),
        "lastID": len(images),
        "images": images,
    }
    write_json(folder / PROJECT_NAME, content)
    return folder / PROJECT_NAME


def _check_slides(folder: Path, slides: Sequence[ProjectSlide]) -> None:
    twice = [name for name, count in Counter(slide.slide_id for slide in slides).items() if count > 1]
    if twice:
        raise ExportError(f"slides are listed more than once: {', '.join(twice)}")
    for slide in slides:
        if slide.cell_px0 is not None and not heatmap_path(folder, slide.slide_id).is_file():
            raise ExportError(
                f"slide {slide.slide_id}: its heatmap is not in the project's folder: write it first"
            )


def _entries(folder: Path, slide: ProjectSlide) -> list[dict[str, Any]]:
    left, top = slide.bounds_px0[:2] if slide.bounds_px0 else (0, 0)
    metadata = {"slide_id": slide.slide_id, "slidepipe_image": "slide"}
    if slide.probability is not None:
        metadata["Tumor probability"] = f"{slide.probability:.6f}"
    # Only OpenSlide crops to the scanned area, so a slide that has one must not be opened by another reader.
    provider = _OPENSLIDE if slide.bounds_px0 else None
    entry = {
        "serverBuilder": _server(location(slide.path), provider),
        "imageName": slide.slide_id,
        "metadata": metadata,
    }
    if slide.cell_px0 is None:
        return [entry]
    across, down = slide.cell_px0
    metadata["heatmap_cell_x_px"] = repr(float(across))
    metadata["heatmap_cell_y_px"] = repr(float(down))
    metadata["heatmap_left_px"] = str(-left)
    metadata["heatmap_top_px"] = str(-top)
    transform = {"m00": across, "m10": 0, "m01": 0, "m11": down, "m02": -left, "m12": -top}
    heatmap = _server(heatmap_path(folder, slide.slide_id), _BIOFORMATS)
    return [
        entry,
        {
            "serverBuilder": {"builderType": "affine", "builder": heatmap, "transform": transform},
            "imageName": f"{slide.slide_id} heatmap",
            "metadata": {"slide_id": slide.slide_id, "slidepipe_image": "heatmap"},
        },
    ]


def _server(path: Path, provider: str | None) -> dict[str, Any]:
    server: dict[str, Any] = {"builderType": "uri"}
    if provider is not None:
        server["providerClassName"] = provider
    # QuPath needs the list of arguments, also when it is empty.
    return {**server, "uri": path.resolve().as_uri(), "args": []}


def _packed(path_class: dict[str, Any]) -> dict[str, Any]:
    red, green, blue = path_class["color"]
    # A Java int of alpha, red, green and blue, which is negative because alpha is full.
    return {"name": path_class["name"], "color": (0xFF << 24 | red << 16 | green << 8 | blue) - (1 << 32)}
