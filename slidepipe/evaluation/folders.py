"""Anybody's results, evaluated from the files they come in: no run of this package is needed.

Files belong to a slide by their names, without regard to case: the copies of CAMELYON16 disagree about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.detections import read_detections
from slidepipe.evaluation.evaluate import Evaluation, evaluate
from slidepipe.evaluation.evaluated_slide import EvaluatedSlide
from slidepipe.evaluation.masks import OFFICIAL_LEVEL, MaskFile, MaskValue
from slidepipe.evaluation.reference_table import (
    EvaluatedSplit,
    ReferenceSlide,
    read_reference_table,
    select_split,
)
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.evaluation.slide_probabilities import read_slide_probabilities
from slidepipe.slides.annotations import SlideAnnotation, read_annotation
from slidepipe.slides.exclusions import Exclusion, read_exclusions
from slidepipe.slides.layouts import find_annotations, find_files
from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import SlideInfo, SlideSource

_MASK_SUFFIXES = (".png", ".tif", ".tiff")
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderInputs:
    """Files of predictions and of the reference."""

    reference: str
    """Table of slides, in either layout of ``reference.csv``, with a column ``spacing_um`` if wanted."""
    detections: str | None = None
    """Folder with a CSV file for each slide; None for no lesion score."""
    slide_scores: str | None = None
    """CSV file with the predicted probability of each slide; None for no slide-level result."""
    score_column: str | None = None
    """Which column of `slide_scores`, if it has several."""
    annotations: str | None = None
    """Folder with an annotation file for each slide with tumour: ASAP XML or GeoJSON."""
    masks: str | None = None
    """Folder with a mask image for each slide with tumour, ``<slide>.png``, ``<slide>_mask.tif`` and the like; instead
    of `annotations`."""
    mask_value: MaskValue = 255
    """Value of tumour in mask images."""
    slides: str | None = None
    """Folder of the slides themselves, if they are at hand: their sizes and pixel sizes are then known."""
    split: EvaluatedSplit = "auto"
    """Which rows of the reference table are meant."""
    exclusions: str | None = None
    """Slides to leave out: ``camelyon16`` for the published list, or a CSV file ``slide,scope,reason``."""
    classes: dict[str, bool] = field(default_factory=dict)
    """Meaning of annotation groups or classes that are not known by name, true for tumour."""


def evaluate_folder(inputs: FolderInputs, settings: EvaluationSettings) -> Evaluation:
    """Evaluate predictions from files.

    Parameters
    ----------
    inputs
        Where the files are.
    settings
        Rules, intervals, and what to do with missing predictions. Mask images are taken to be of level 5 unless
        ``mask_level`` says otherwise; for annotations it is chosen by the slide's pixel size, 5 if that is unknown.

    Returns
    -------
    Evaluation
        As `slidepipe.evaluation.evaluate.evaluate` gives it. Files of slides that are not evaluated are told in its
        notes.

    Raises
    ------
    EvaluationError
        If the files do not belong together, or cannot be read; the message names the slide and the line.
    SlidepipeError
        If the reference table, the exclusions, an annotation or a slide cannot be read.
    """
    if inputs.detections is None and inputs.slide_scores is None:
        raise EvaluationError(
            "nothing to evaluate: give a folder of detections, a table of slide scores, or both"
        )
    if inputs.annotations is not None and inputs.masks is not None:
        raise EvaluationError("give annotations or masks as the reference, not both")
    rows = read_reference_table(Path(inputs.reference))
    chosen = select_split(rows, inputs.split)
    notes = []
    if len(chosen) < len(rows):
        notes.append(
            f"{len(chosen)} of the {len(rows)} slides of the reference table are evaluated (split {inputs.split})"
        )
    slides = _slides(chosen, inputs, settings, notes)
    return evaluate(slides, settings, notes=notes)


def _slides(
    rows: Sequence[ReferenceSlide], inputs: FolderInputs, settings: EvaluationSettings, notes: list[str]
) -> list[EvaluatedSlide]:
    names = {row.slide_id.casefold() for row in rows}
    detections = _detection_files(inputs.detections)
    probabilities = _probabilities(inputs)
    for what, found in (("detections", detections), ("slide scores", probabilities)):
        unused = sorted(set(found) - names)
        if unused:
            notes.append(
                f"{what} of {len(unused)} slides outside the reference are not used: {_listed(unused)}"
            )
    exclusions = _exclusions(inputs, names, notes)
    infos = _slide_infos(rows, inputs.slides)
    references = _references(rows, inputs, settings, infos)
    slides = []
    for row in rows:
        name = row.slide_id.casefold()
        info = infos.get(name)
        left_out = exclusions.get(name, ())
        file = detections.get(name)
        slides.append(
            EvaluatedSlide(
                slide_id=row.slide_id,
                label=row.label,
                size_class=row.size_class,
                centre=row.centre,
                detections=None
                if file is None
                else read_detections(file, row.slide_id, compat=settings.compat),
                probability=probabilities.get(name),
                size_px0=info.size_px0 if info else None,
                spacing_um=row.spacing_um or (info.pixel_size.mean_um if info else None),
                reference=references.get(name),
                excluded_from=tuple(each.scope for each in left_out),
                exclusion_reason="; ".join(each.reason for each in left_out if each.reason),
            )
        )
    return slides


def _detection_files(folder: str | None) -> dict[str, Path]:
    if folder is None:
        return {}
    files = _files_by_name(Path(folder), (".csv",), "detections")
    if not files:
        raise EvaluationError(f"no CSV file lies in {folder}: expected one for each slide, <slide>.csv")
    return files


def _probabilities(inputs: FolderInputs) -> dict[str, float]:
    if inputs.slide_scores is None:
        return {}
    values = read_slide_probabilities(Path(inputs.slide_scores), inputs.score_column)
    return {name.casefold(): value for name, value in values.items()}


def _references(
    rows: Sequence[ReferenceSlide],
    inputs: FolderInputs,
    settings: EvaluationSettings,
    infos: Mapping[str, SlideInfo],
) -> Mapping[str, SlideAnnotation | MaskFile]:
    # Only of slides with tumour: what is drawn on a normal slide is not tumour, whatever it is.
    if inputs.detections is None:
        return {}
    with_tumour = {row.slide_id.casefold(): row.slide_id for row in rows if row.label == "tumor"}
    if inputs.annotations is not None:
        paths = find_annotations(Path(inputs.annotations))
        return {
            name: read_annotation(
                paths[name], slide_id, classes=inputs.classes, origin_px0=_origin_px0(infos.get(name))
            )
            for name, slide_id in with_tumour.items()
            if name in paths
        }
    if inputs.masks is None:
        raise EvaluationError("a lesion score needs the reference: give a folder of annotations or of masks")
    masks = _files_by_name(Path(inputs.masks), _MASK_SUFFIXES, "masks", ending="_mask")
    level = OFFICIAL_LEVEL if settings.mask_level is None else settings.mask_level
    return {
        name: MaskFile(str(masks[name]), inputs.mask_value, level) for name in with_tumour if name in masks
    }


def _exclusions(inputs: FolderInputs, names: set[str], notes: list[str]) -> Mapping[str, Sequence[Exclusion]]:
    listed = read_exclusions(inputs.exclusions or "camelyon16")
    here: dict[str, list[Exclusion]] = {}
    for each in listed:
        if each.slide.casefold() in names and each.scope in {"all", "lesions"}:
            here.setdefault(each.slide.casefold(), []).append(each)
    if inputs.exclusions is not None:
        return here
    for excluded in here.values():
        notes.extend(
            f"slide {each.slide} is evaluated, although CAMELYON16's organisers left it out ({each.reason}): state the "
            "exclusions camelyon16 to do so too"
            for each in excluded
        )
    return {}


def _slide_infos(rows: Sequence[ReferenceSlide], folder: str | None) -> dict[str, SlideInfo]:
    if folder is None:
        return {}
    names = {row.slide_id.casefold(): row.slide_id for row in rows}
    infos = {}
    for found, path in find_files(Path(folder)).slides:
        name = found.casefold()
        if name in names:
            with open_slide(SlideSource(names[name], path)) as reader:
                infos[name] = reader.info
    return infos


def _origin_px0(info: SlideInfo | None) -> tuple[int, int]:
    """Return what QuPath's coordinates on a slide count from; without the slide, its corner."""
    left, top, *_ = (info.bounds_px0 if info else None) or (0, 0)
    return left, top


def _files_by_name(folder: Path, suffixes: tuple[str, ...], what: str, ending: str = "") -> dict[str, Path]:
    if not folder.is_dir():
        raise EvaluationError(f"there is no folder {folder} of {what}")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        name = path.stem.casefold().removesuffix(ending)
        if name in files:
            raise EvaluationError(
                f"the slide {name} has two files of {what}, {files[name].name} and {path.name}: keep one"
            )
        files[name] = path
    return files


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
