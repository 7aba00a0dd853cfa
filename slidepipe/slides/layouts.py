"""The folders that data sets of slides come in: where slides, annotations and the reference table lie.

Names are matched without regard to case: the copies of CAMELYON16 disagree about it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from slidepipe.errors import CohortError
from slidepipe.slides.annotations import ANNOTATION_SUFFIXES
from slidepipe.slides.companions import series_uid
from slidepipe.slides.names import SLIDE_SUFFIXES, slide_id_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Layout:
    """One way of laying out a data set; all paths relative to its folder."""

    name: str
    slides: tuple[str, ...]
    annotations: tuple[str, ...]
    tables: tuple[str, ...]


_LAYOUTS = (
    _Layout("open release", ("images",), ("annotations",), ("reference.csv", "evaluation/reference.csv")),
    _Layout(
        "GigaDB",
        ("training/normal", "training/tumor", "testing/images"),
        ("training/lesion_annotations", "testing/lesion_annotations"),
        ("testing/reference.csv",),
    ),
    _Layout(
        "challenge of 2016",
        ("TrainingData/Train_Normal", "TrainingData/Train_Tumor", "Testset/Images"),
        (
            "TrainingData/Ground_Truth/XML",
            "Ground_Truth/XML",
            "Testset/Ground_Truth/XML",
            "Testset/Ground_Truth/Annotations",
        ),
        ("Testset/reference.csv", "Testset/Ground_Truth/reference.csv", "Testset/Ground_Truth/GT.csv"),
    ),
)


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What lies in the folder of a data set."""

    slides: tuple[tuple[str, str], ...]
    """Name and path of each slide, by name."""
    annotations: dict[str, Path] = field(default_factory=dict)
    """Annotation file by the name of its slide, in folded case."""
    table: Path | None = None
    """Reference table."""


def find_files(folder: Path) -> FoundFiles:
    """Find slides, annotations and the reference table of a data set.

    Parameters
    ----------
    folder
        The open release of CAMELYON16, its GigaDB copy, the challenge data of 2016, or any folder with slides in it.

    Returns
    -------
    FoundFiles
        Of a folder in no known layout, the slide files that lie directly in it, and each of its sub-folders that holds
        one DICOM series, named after the sub-folder.

    Raises
    ------
    CohortError
        If there is no such folder, no slide in it, or annotations are still zipped.
    """
    if not folder.is_dir():
        raise CohortError(f"there is no folder {folder}: set the folder of the section slides")
    for layout in _LAYOUTS:
        slide_folders = [path for name in layout.slides if (path := _resolve(folder, name)) is not None]
        if slide_folders:
            logger.info("%s has the layout of the %s", folder, layout.name)
            tables = [path for name in layout.tables if (path := _resolve(folder, name)) is not None]
            found = FoundFiles(
                slides=tuple(slide for slides in slide_folders for slide in _slides_in(slides)),
                annotations=_annotations_of(folder, layout),
                table=tables[0] if tables else None,
            )
            break
    else:
        found = FoundFiles(slides=tuple(_slides_in(folder)))
    if not found.slides:
        raise CohortError(f"no slide lies in {folder}: expected files ending in {', '.join(SLIDE_SUFFIXES)}")
    return found


def find_annotations(folder: Path) -> dict[str, Path]:
    """Find the annotation files in a folder.

    Parameters
    ----------
    folder
        Folder with one file per slide, named like the slide.

    Returns
    -------
    dict
        File by the name of its slide, in folded case.

    Raises
    ------
    CohortError
        If it is not a folder, or a slide has two files.
    """
    if not folder.is_dir():
        remedy = "unzip it and name the folder" if folder.suffix.lower() == ".zip" else "name a folder"
        raise CohortError(f"the annotations {folder} are not a folder: {remedy}")
    files: dict[str, Path] = {}
    for path in _visible_files(folder):
        suffix = next((suffix for suffix in ANNOTATION_SUFFIXES if path.name.lower().endswith(suffix)), None)
        if suffix is None:
            continue
        slide = path.name[: -len(suffix)].casefold()
        if slide in files:
            raise CohortError(
                f"the slide {slide} has two annotation files, {files[slide]} and {path}: keep one"
            )
        files[slide] = path
    return files


def _annotations_of(folder: Path, layout: _Layout) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name in layout.annotations:
        found = _resolve(folder, name)
        if found is not None and found.is_dir():
            files |= find_annotations(found)
        elif (archive := _resolve(folder, f"{name}.zip")) is not None:
            raise CohortError(
                f"the annotations are still packed: unzip {archive} into the folder {name} of {folder}"
            )
    return files


def _slides_in(folder: Path) -> list[tuple[str, str]]:
    slides = [
        (slide_id_of(path.name), str(path))
        for path in _visible_files(folder)
        if path.suffix.lower() in SLIDE_SUFFIXES and path.suffix.lower() != ".dcm"
    ]
    slides += _dicom_slides(folder)
    for sub_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        series = _dicom_slides(sub_folder)
        if len(series) > 1:
            raise CohortError(
                f"{sub_folder} holds {len(series)} DICOM series: put each slide into its own folder"
            )
        slides += [(slide_id_of(sub_folder.name), path) for _, path in series]
    return sorted(slides)


def _dicom_slides(folder: Path) -> list[tuple[str, str]]:
    """One slide per series, named after the first of its files."""
    first: dict[str, Path] = {}
    for path in _visible_files(folder):
        if path.suffix.lower() == ".dcm":
            first.setdefault(series_uid(path) or path.name, path)
    return [(slide_id_of(path.name), str(path)) for path in first.values()]


def _visible_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _resolve(folder: Path, relative: str) -> Path | None:
    """Find a path whatever the case of its parts; one written exactly so comes first."""
    for part in relative.split("/"):
        if (folder / part).exists():
            folder = folder / part
            continue
        matches = sorted(path for path in folder.iterdir() if path.name.casefold() == part.casefold())
        if not matches or (not matches[0].is_dir() and part != relative.split("/")[-1]):
            return None
        folder = matches[0]
    return folder
