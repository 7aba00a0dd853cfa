"""The slides of a study: where they lie, what is known of each, and which takes part in what."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, get_args

from annotated_types import Gt

from slidepipe.errors import CohortError, ConfigError
from slidepipe.slides.exclusions import Scope, read_exclusions
from slidepipe.slides.labels import SizeClass, SlideLabel, read_labels
from slidepipe.slides.layouts import FoundFiles, find_annotations, find_files
from slidepipe.slides.names import Label, Split, slide_id_of, split_and_label
from slidepipe.slides.pseudonyms import pseudonyms_of
from slidepipe.slides.reader import ReaderName, SlideSource
from slidepipe.storage.access import StoreAccess
from slidepipe.storage.locations import is_url, location

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideOverride:
    """What is different for one slide."""

    reader: ReaderName | None = None
    """Which reader opens it; None for the one of all slides."""
    mpp: Annotated[float, Gt(0)] | None = None
    """Side of a level-0 pixel in µm; None for what holds for all slides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortSettings:
    """Which slides a study is about."""

    folder: str | None = None
    """Folder or URL of the data set: the open release of CAMELYON16, its GigaDB copy, the challenge data of 2016, or
    any folder with slides in it. Give this or `paths`."""
    paths: tuple[str, ...] = ()
    """Slides one by one, local paths or URLs. Give these or `folder`."""
    annotations: str | None = None
    """Folder of annotation files named like the slides; None for those of the data set's layout."""
    classes: dict[str, bool] = field(default_factory=dict)
    """Meaning of groups (ASAP) or classes (QuPath) in annotations, true for tumour, false for what is cut out of it;
    needed only for names that are not known."""
    reader: ReaderName = "auto"
    """Which reader opens the slides; auto is OpenSlide wherever it can, and the TIFF reader for URLs."""
    access: StoreAccess = field(default_factory=StoreAccess)
    """How the object store is reached that URLs name. Keys do not belong here: they come from the environment."""
    mpp: Annotated[float, Gt(0)] | None = None
    """Side of a level-0 pixel in µm, for files that do not record it or record it wrongly. It replaces what the files
    say, for all slides; None, the default, believes the files."""
    overrides: dict[str, SlideOverride] = field(default_factory=dict)
    """What is different for single slides, by name."""
    exclusions: str | None = None
    """Slides to be left out of all or part of the study: ``camelyon16`` for the published list, or a CSV file
    ``slide,scope,reason,source``. None, the default, leaves nothing out."""
    only: tuple[str, ...] = ()
    """Slides that take part: ``train``, ``test``, or patterns of names such as ``tumor_0*``; a slide that matches any
    of them does. Empty for all."""

    slide_ids: dict[str, str] = field(default_factory=dict)
    """Names that slides go by in all results, by the names of their files without suffix; every slide that takes part
    needs one. Annotations, the reference table, `overrides`, `exclusions` and `only` go by the files' names."""

    def __post_init__(self) -> None:
        if self.folder is not None and self.paths:
            raise ConfigError("slides: give a folder or paths, not both")


@dataclass(frozen=True, slots=True)
class CohortSlide:
    """One slide of a cohort."""

    source: SlideSource
    """Where it lies and how it is opened."""
    label: Label | None
    """Whether it holds tumour; None if that is not known."""
    size_class: SizeClass | None
    """Size of its largest metastasis; None if that is not known."""
    centre: str | None
    """Where it was scanned (CAMELYON16: 0 is Radboudumc, 1 is UMC Utrecht); None if that is not known."""
    split: Split | None
    """Part of the data set; None outside of CAMELYON16."""
    annotation: str | None
    """Path or URL of its annotation file; read it from `annotation_place`."""
    exhaustive: bool
    """Whether everything outside its outlines is free of tumour; such pixels may be used as negatives."""
    excluded: tuple[Scope, ...] = ()
    """What it is left out of."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know."""

    @property
    def annotation_place(self) -> Path | None:
        """Where its annotations lie, to be read from: on the same disk or in the same store as the slide."""
        return None if self.annotation is None else location(self.annotation, self.source.access)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The slides of a study."""

    name: str
    """Name of the folder they come from."""
    slides: tuple[CohortSlide, ...]
    """By name. Excluded ones are among them."""
    missing: tuple[str, ...] = ()
    """Slides that the reference table lists and the folder lacks."""

    def split(self, name: Split) -> tuple[CohortSlide, ...]:
        """Return the slides of one part of the data set.

        Parameters
        ----------
        name
            ``train`` or ``test``.

        Returns
        -------
        tuple of CohortSlide
            Without those that are excluded from everything.
        """
        return tuple(slide for slide in self.slides if slide.split == name and "all" not in slide.excluded)


def find_cohort(settings: CohortSettings) -> Cohort:
    """Find the slides of a study and what is known of them.

    No slide is opened. Split and, for want of a table, label come from names as CAMELYON16 gives them.

    Parameters
    ----------
    settings
        Where to look, and whom to leave out.

    Returns
    -------
    Cohort
        At least one slide.

    Raises
    ------
    ConfigError
        If the settings name neither a folder nor paths.
    CohortError
        If there is no slide, two have the same name, a name cannot be that of a file, a table is wrong, a setting
        names slides that are not there, or `slide_ids` leaves a slide without a name.
    ObjectStoreError
        If an object store cannot be reached, or refuses.
    """
    files, name = _find(settings)
    _check_unique(slide_id for slide_id, _ in files.slides)
    labels = {label.slide_id.casefold(): label for label in (read_labels(files.table) if files.table else ())}
    slides = [_slide(slide_id, path, files, labels, settings) for slide_id, path in files.slides]
    present = {slide.source.slide_id.casefold() for slide in slides}
    missing = tuple(label.slide_id for label in labels.values() if label.slide_id.casefold() not in present)
    slides = _with_overrides(slides, settings.overrides)
    if settings.exclusions is not None:
        slides = _with_exclusions(slides, settings.exclusions)
    chosen, missing = _chosen(slides, missing, settings.only)
    if missing:
        logger.warning(
            "%d slides of the reference table %s are not in the folder: %s",
            len(missing), files.table, ", ".join(missing[:5]) + (", …" if len(missing) > 5 else ""),
        )  # fmt: skip
    if settings.slide_ids:
        chosen, name, missing = _under_pseudonyms(chosen, settings.slide_ids), "slides", ()
    return Cohort(name, tuple(sorted(chosen, key=lambda slide: slide.source.slide_id)), missing)


def _under_pseudonyms(slides: list[CohortSlide], slide_ids: dict[str, str]) -> list[CohortSlide]:
    names = pseudonyms_of((slide.source.slide_id for slide in slides), slide_ids)
    return [
        replace(slide, source=replace(slide.source, slide_id=names[slide.source.slide_id]))
        for slide in slides
    ]


def _find(settings: CohortSettings) -> tuple[FoundFiles, str]:
    if settings.folder is not None:
        folder = _absolute(settings.folder, settings.access)
        files, name = find_files(folder), folder.name
    elif settings.paths:
        paths = [str(_absolute(path, settings.access)) for path in settings.paths]
        absent = [path for path in paths if not is_url(path) and not Path(path).is_file()]
        if absent:
            raise CohortError(f"there is no slide file {', '.join(absent)}")
        files, name = FoundFiles(tuple((slide_id_of(path), path) for path in paths)), "slides"
    else:
        raise ConfigError("slides: give the folder of the data set, or the paths of slides")
    if settings.annotations is not None:
        files = replace(files, annotations=find_annotations(_absolute(settings.annotations, settings.access)))
    return files, name


def _absolute(path: str, access: StoreAccess) -> Path:
    """Make a path that workers in other folders understand."""
    return location(path, access).expanduser().absolute()


def _check_unique(slide_ids: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for slide_id in slide_ids:
        other = seen.setdefault(slide_id.casefold(), slide_id)
        if other is not slide_id:
            raise CohortError(
                f"two slides are called {slide_id} (case does not count): rename one, or list the wanted paths"
            )


def _slide(
    slide_id: str, path: str, files: FoundFiles, labels: dict[str, SlideLabel], settings: CohortSettings
) -> CohortSlide:
    row = labels.get(slide_id.casefold())
    split, label = split_and_label(slide_id)
    annotation = files.annotations.get(slide_id.casefold())
    notes = []
    # The table of GigaDB lists the test slides only, so that a training slide is not expected there.
    if row is None and split in {split_and_label(listed)[0] for listed in labels}:
        notes.append("not in the reference table")
    label = row.label if row else label
    if label == "tumor" and annotation is None:
        notes.append("tumour, but no annotation file")
    if label == "normal" and annotation is not None:
        notes.append("normal, but has an annotation file")
    return CohortSlide(
        source=SlideSource(slide_id, path, settings.reader, settings.mpp, settings.access),
        label=label,
        size_class=row.size_class if row else "negative" if label == "normal" else None,
        centre=row.centre if row else None,
        split=split,
        annotation=None if annotation is None else str(annotation),
        exhaustive=annotation is not None or label == "normal",
        notes=tuple(notes),
    )


def _with_overrides(slides: list[CohortSlide], overrides: dict[str, SlideOverride]) -> list[CohortSlide]:
    by_name = {name.casefold(): override for name, override in overrides.items()}
    unknown = by_name.keys() - {slide.source.slide_id.casefold() for slide in slides}
    if unknown:
        raise CohortError(
            f"slides.overrides names slides that are not in the cohort: {', '.join(sorted(unknown))}"
        )
    changed = []
    for slide in slides:
        override = by_name.get(slide.source.slide_id.casefold(), SlideOverride())
        source = replace(
            slide.source,
            reader=override.reader or slide.source.reader,
            mpp=slide.source.mpp if override.mpp is None else override.mpp,
        )
        changed.append(replace(slide, source=source))
    return changed


def _with_exclusions(slides: list[CohortSlide], name_or_path: str) -> list[CohortSlide]:
    exclusions = read_exclusions(name_or_path)
    names = {slide.source.slide_id.casefold() for slide in slides}
    absent = [exclusion.slide for exclusion in exclusions if exclusion.slide.casefold() not in names]
    if absent:
        logger.info(
            "the exclusions %s name slides that are not in the cohort: %s", name_or_path, ", ".join(absent)
        )
    changed = []
    for slide in slides:
        own = [one for one in exclusions if one.slide.casefold() == slide.source.slide_id.casefold()]
        excluded = tuple(scope for scope in get_args(Scope) if any(one.scope == scope for one in own))
        changed.append(
            replace(
                slide,
                excluded=excluded,
                exhaustive=slide.exhaustive and not {"lesions", "train_negatives"} & set(excluded),
                notes=(*slide.notes, *(f"excluded from {one.scope}: {one.reason}" for one in own)),
            )
        )
    return changed


def _chosen(
    slides: list[CohortSlide], missing: tuple[str, ...], only: tuple[str, ...]
) -> tuple[list[CohortSlide], tuple[str, ...]]:
    if not only:
        return slides, missing
    names = [slide.source.slide_id for slide in slides]
    for entry in only:
        if not any(_matches(name, entry) for name in (*names, *missing)):
            raise CohortError(
                f"slides.only has {entry!r}, which no slide matches: expected train, test, or a pattern of names; the "
                f"first slide is {names[0]}"
            )
    chosen = [slide for slide in slides if any(_matches(slide.source.slide_id, entry) for entry in only)]
    if not chosen:
        raise CohortError(f"slides.only ({', '.join(only)}) leaves no slide")
    return chosen, tuple(name for name in missing if any(_matches(name, entry) for entry in only))


def _matches(slide_id: str, entry: str) -> bool:
    if entry in get_args(Split):
        return split_and_label(slide_id)[0] == entry
    return fnmatchcase(slide_id.casefold(), entry.casefold())
