"""The viewer is told what a run holds."""

import threading
import urllib.request

from slidepipe.runs.study import Study
from slidepipe.runs.viewing import viewed_run
from slidepipe.viewer.server import ViewServer


def test_a_finished_run_is_shown_with_heatmaps_lesions_and_report(finished: Study):
    run = viewed_run(finished)
    assert set(run.slides) == {slide.source.slide_id for slide in finished.slides}
    assert all(slide.heatmap is not None and slide.lesions is not None for slide in run.slides.values())
    assert run.report == finished.folder.report


def test_the_pages_of_a_run_are_served(finished: Study):
    with ViewServer(viewed_run(finished)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with urllib.request.urlopen(server.url, timeout=20) as answer:
                page = answer.read().decode()
        finally:
            server.shutdown()
            thread.join()
    assert "test_001" in page
    assert str(finished.folder.root) not in page
