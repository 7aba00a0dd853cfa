"""What the viewer is told of a run."""

from __future__ import annotations

from rich.console import Console

from slidepipe.lesions.lesion import read_lesions
from slidepipe.runs.plan import done_tokens
from slidepipe.runs.prediction import SlidePrediction, read_predictions
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import HEATMAP, LESIONS, TILE
from slidepipe.viewer.server import ViewServer
from slidepipe.viewer.viewed_run import ViewedRun, ViewedSlide


def viewed_run(study: Study) -> ViewedRun:
    """Gather what the viewer shows: as much as the run has by now.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    ViewedRun
        Every slide that takes part.
    """
    tiled, mapped, searched = (set(done_tokens(study, stage.name)) for stage in (TILE, HEATMAP, LESIONS))
    predictions = read_predictions(study)
    slides = {}
    for slide in study.slides:
        slide_id = slide.source.slide_id
        slides[slide_id] = _viewed_slide(
            study,
            slide,
            predictions.get(slide_id),
            (slide_id in tiled, slide_id in mapped, slide_id in searched),
        )
    return ViewedRun(
        title=study.config.name,
        root=study.folder.root,
        slides=slides,
        threshold=study.config.predict.lesions.threshold,
        report=study.folder.report if study.folder.report.is_file() else None,
        classes=study.config.slides.classes,
    )


def _viewed_slide(
    study: Study, slide: CohortSlide, prediction: SlidePrediction | None, done: tuple[bool, bool, bool]
) -> ViewedSlide:
    slide_id = slide.source.slide_id
    is_tiled, is_mapped, is_searched = done
    return ViewedSlide(
        source=slide.source,
        label=slide.label,
        probability=None if prediction is None else prediction.probability,
        thumbnail=study.folder.overviews / f"{slide_id}_thumbnail.jpg" if is_tiled else None,
        heatmap=study.folder.heatmap(slide_id) if is_mapped else None,
        lesions=read_lesions(study.folder.lesions(slide_id)) if is_searched else None,
        annotation=slide.annotation_place,
    )


def serve_study(study: Study, host: str, port: int, console: Console) -> None:
    """Serve a run until the user interrupts.

    Parameters
    ----------
    study
        The study.
    host
        Address to listen on.
    port
        Port; 0 for a free one.
    console
        Where the address is told.

    Raises
    ------
    RunError
        If the address cannot be used.
    """
    with ViewServer(viewed_run(study), host, port) as server:
        if not server.is_private:
            console.print(
                "Everybody who reaches this machine can see the slides: there is no password.", style="yellow"
            )
        console.print(f"Open {server.url} in a browser; Ctrl-C ends.", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Ended.")
