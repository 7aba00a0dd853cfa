"""A study: its run directory, configuration, cohort and journal, and how one is begun and opened again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slidepipe.config import StudyConfig, dump_config, load_config
from slidepipe.errors import ConfigError, RunError
from slidepipe.runs.folder import RunFolder, open_run
from slidepipe.runs.journal import Journal
from slidepipe.runs.ownership import own_run
from slidepipe.slides.cohort import Cohort, CohortSlide, find_cohort
from slidepipe.slides.cohort_table import read_cohort, write_cohort
from slidepipe.storage.publish import write_text


@dataclass(frozen=True, slots=True)
class Study:
    """All that a stage needs to know."""

    folder: RunFolder
    config: StudyConfig
    cohort: Cohort
    chosen: frozenset[str] | None = None
    """Slides to work on now; None for all that take part."""

    @property
    def journal(self) -> Journal:
        """What became of every slide in every stage."""
        return Journal(self.folder.journal)

    @property
    def taking_part(self) -> tuple[CohortSlide, ...]:
        """All slides of the study but those that the exclusion list takes out of everything."""
        return tuple(slide for slide in self.cohort.slides if "all" not in slide.excluded)

    @property
    def slides(self) -> tuple[CohortSlide, ...]:
        """Slides to work on: all that take part, or those chosen among them."""
        if self.chosen is None:
            return self.taking_part
        return tuple(slide for slide in self.taking_part if slide.source.slide_id in self.chosen)

    def choose(self, slide_ids: Iterable[str]) -> Study:
        """Return the same study with only some of its slides to work on.

        Parameters
        ----------
        slide_ids
            Names of slides; none for all.

        Returns
        -------
        Study
            Writes into the same run directory.

        Raises
        ------
        RunError
            If the study has no such slide, or it is excluded.
        """
        chosen = frozenset(slide_ids)
        if unknown := sorted(chosen - {slide.source.slide_id for slide in self.taking_part}):
            raise RunError(
                f"{', '.join(unknown)}: no slide of {self.folder.root}, or an excluded one: its slides are listed in "
                f"{self.folder.cohort}"
            )
        return replace(self, chosen=chosen or None)


def begin_study(root: Path, config: StudyConfig) -> Study:
    """Begin a study in a run directory, or go on with one under a configuration that may have changed.

    Nothing that exists is deleted: each stage finds out by itself what the configuration asks to be done again.

    Parameters
    ----------
    root
        Run directory; made if it does not exist.
    config
        What to do. It is saved in the run.

    Returns
    -------
    Study
        With the cohort as it lies on disk now.

    Raises
    ------
    RunError
        If the directory is not a run, a run of another format version, or another process works on it.
    CohortError
        If the slides do not make a cohort.
    """
    cohort = find_cohort(config.slides)
    study = Study(open_run(root, create=True), config, cohort)
    with own_run(root):
        save_study(study)
    return study


def save_study(study: Study) -> None:
    """Save configuration and cohort in the run, unless they are there.

    Parameters
    ----------
    study
        The study.
    """
    text = dump_config(study.config)
    if not study.folder.config.is_file() or study.folder.config.read_text(encoding="utf-8") != text:
        write_text(study.folder.config, text)
    if not study.folder.cohort.is_file() or read_cohort(study.folder.cohort) != study.cohort:
        write_cohort(study.cohort, study.folder.cohort)


def resume_study(root: Path, overrides: Sequence[str]) -> Study:
    """Go on with the study of a run directory, its slides looked for anew.

    Parameters
    ----------
    root
        Run directory.
    overrides
        Settings to change, ``section.key=value``; those of the slides too.

    Returns
    -------
    Study
        With the cohort as it lies on disk now.

    Raises
    ------
    RunError
        If the directory is not a run, or its configuration is missing.
    ConfigError
        If an override is not a setting.
    CohortError
        If the slides do not make a cohort.
    """
    return begin_study(root, load_config(_saved_config(root), overrides))


def open_study(root: Path, overrides: Sequence[str] = ()) -> Study:
    """Open the study of a run directory.

    Parameters
    ----------
    root
        Run directory.
    overrides
        Settings to change, ``section.key=value``. They are saved in the run.

    Returns
    -------
    Study
        With the cohort as it was when the run was begun.

    Raises
    ------
    RunError
        If the directory is not a run, its configuration is missing, or there are overrides and another process works
        on it.
    ConfigError
        If an override is not a setting, or one of the slides, which later stages take as they are.
    """
    about_slides = [override for override in overrides if override.startswith("slides")]
    if about_slides:
        raise ConfigError(
            f"--set {about_slides[0]}: slides are looked for by `slidepipe tile` and `run`: set it there"
        )
    config = load_config(_saved_config(root), overrides)
    folder = RunFolder(root)
    study = Study(folder, config, read_cohort(folder.cohort, config.slides.access))
    if overrides:
        with own_run(root):
            save_study(study)
    return study


def _saved_config(root: Path) -> Path:
    folder = open_run(root)
    if not folder.config.is_file() or not folder.cohort.is_file():
        raise RunError(f"{root} has no configuration yet: begin it with `slidepipe run` or `slidepipe tile`")
    return folder.config
