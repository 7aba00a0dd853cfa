"""What is annotated on the slides of a study, wherever its annotations count from."""

from __future__ import annotations

from slidepipe.runs.study import Study
from slidepipe.slides.annotations import read_annotation
from slidepipe.slides.cohort import CohortSlide
from slidepipe.slides.outlines import SlideAnnotation
from slidepipe.tiles.store_plan import read_store_plan

ScannedArea = tuple[int, int, int, int]
"""Left, top, width and height in level-0 pixels."""


def scanned_area(study: Study, slide_id: str) -> ScannedArea | None:
    """Return the scanned area of a slide, to which QuPath crops it.

    Parameters
    ----------
    study
        The study.
    slide_id
        A slide that was tiled.

    Returns
    -------
    tuple of int or None
        Left, top, width and height in level-0 pixels; None where the slide's file does not tell.

    Raises
    ------
    StoreError
        If there is no tile store of the slide.
    """
    bounds = read_store_plan(study.folder.tiles(slide_id)).attributes["slide"]["bounds_px0"]
    return None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3])


def slide_reference(study: Study, slide: CohortSlide) -> SlideAnnotation | None:
    """Read what is annotated on a slide.

    Parameters
    ----------
    study
        The study.
    slide
        The slide. One that was not tiled has no results whose place would matter, only lesions to be missed.

    Returns
    -------
    SlideAnnotation or None
        In level-0 pixels from the corner of the stored image; None if the slide has no annotation file.

    Raises
    ------
    AnnotationError
        If the file cannot be read.
    """
    if (place := slide.annotation_place) is None:
        return None
    slide_id = slide.source.slide_id
    is_tiled = study.folder.tiles(slide_id).is_dir()
    left, top, *_ = (scanned_area(study, slide_id) if is_tiled else None) or (0, 0)
    return read_annotation(place, slide_id, classes=study.config.slides.classes, origin_px0=(left, top))
