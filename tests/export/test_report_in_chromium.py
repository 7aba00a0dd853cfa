"""The report in a real browser: nothing complains, and sorting, filtering and the viewer work.

There is no driver. A page that is to be used gets a script of the test at its end (and loses the policy that would
forbid it); what the script finds out comes back through Chromium's log.
"""

import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slidepipe.export.report import FailureRow, ReportInputs, SlideRow, StageRow, render_report
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_SIZE_PX0 = (4000, 2000)
_PATIENCE_S = 120


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed: the report is not opened in a browser")
    return found


def _command(chromium: str, page: str, folder: Path) -> list[str]:
    """How Chromium opens `page`, up to what it is to do with it; the address comes last."""
    (folder / "report.html").write_text(page, encoding="utf-8")
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    )
    quiet = ("--disable-component-update", "--disable-sync", "--disable-quic", "--enable-logging=stderr")
    return [chromium, *options, *quiet, f"--user-data-dir={folder / 'profile'}"]


def _open(chromium: str, page: str, folder: Path) -> tuple[str, list[str]]:
    """The page as it stands once it is loaded, and what the console said."""
    process = subprocess.run(
        [*_command(chromium, page, folder), "--dump-dom", (folder / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=True,
    )
    return process.stdout, [line for line in process.stderr.splitlines() if "CONSOLE" in line]


def _ask(chromium: str, page: str, script: str, folder: Path) -> Any:
    """What `script`, the body of an async function, returns.

    The page lives in real time until it has answered: in Chromium's virtual time, timers overtake the frames that
    events such as a dialog's `close` wait for.
    """
    runner = (
        "<script>addEventListener('load', async () => { let answer;"
        "try { answer = await (async () => {" + script + "})(); } catch (error) { answer = String(error); }"
        "console.log('answer: ' + JSON.stringify(answer)); });</script></body>"
    )
    assert _POLICY.search(page)
    command = _command(chromium, _POLICY.sub("", page).replace("</body>", runner), folder)
    stays_open = "--remote-debugging-port=0"
    with subprocess.Popen(
        [*command, stays_open, (folder / "report.html").as_uri()], stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        patience = threading.Timer(_PATIENCE_S, process.kill)
        patience.start()
        said = []
        for line in process.stderr or ():
            said.append(line)
            if "answer: " in line:
                break
        process.terminate()
    patience.cancel()
    (answer,) = re.findall(r'"answer: (.*)", source: ', "".join(said))
    return json.loads(answer)


def _row(number: int, probability: float | None, **more: Any) -> SlideRow:
    slide_id = f"slide_{number}"
    values = np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20)
    return SlideRow(
        slide_id=slide_id,
        size_px0=_SIZE_PX0,
        probability=probability,
        heatmap=Heatmap(slide_id, values, (200.0, 200.0), PixelSize(0.25, 0.25), _SIZE_PX0),
        lesions=(Lesion(slide_id, 1, 0.9, 2000, 1000, 40_000.0, 300.0),),
        n_lesions=1,
        reference_rings=[[(1000, 500), (3000, 500), (3000, 1500)]],
        **more,
    )


@pytest.fixture(scope="module")
def page() -> str:
    rows = (
        _row(10, 0.25, label="normal", n_tiles=10),
        _row(2, None, label="tumor", n_tiles=10, n_damaged=2),
        _row(1, 0.75, label="tumor", n_tiles=10),
        _row(3, 0.5, label="normal", n_tiles=10),
    )
    return render_report(
        ReportInputs(
            title="<script>document.title = 'broken'</script>",
            created="today",
            slides=rows,
            stages=[StageRow(name="tile", wall_s=10)],
            failures=[FailureRow(slide_id="slide_9", stage="tile", message="bad", traceback="Traceback")],
            evaluation={
                "auc": {"value": 0.9, "curve": {"false_positive_rate": [0, 1], "true_positive_rate": [0, 1]}}
            },
        )
    )


def test_the_page_loads_without_a_complaint_and_runs_nothing_from_outside(
    chromium: str, page: str, tmp_path: Path
) -> None:
    dom, console = _open(chromium, page, tmp_path)
    assert console == []
    assert "<title>&lt;script&gt;document.title = 'broken'&lt;/script&gt;</title>" in dom


def test_a_script_that_got_in_would_not_run(chromium: str, page: str, tmp_path: Path) -> None:
    dom, console = _open(
        chromium, page.replace("</body>", "<script>document.title = 'broken'</script></body>"), tmp_path
    )
    assert len(console) == 1
    assert "Content Security Policy" in console[0]
    assert "<title>broken" not in dom


def test_the_table_sorts_and_filters_its_slides(chromium: str, page: str, tmp_path: Path) -> None:
    script = """
        const answer = {};
        const body = document.querySelector("#slide-table tbody");
        const names = () => [...body.rows].filter((row) => !row.hidden).map((row) => row.cells[0].dataset.value);
        const heading = (name) => [...document.querySelectorAll("#slide-table thead th")]
            .find((each) => each.textContent.startsWith(name));
        const press = (name) => heading(name).querySelector("button").click();
        const set = (filter, value) => {
            const field = document.querySelector(`[data-filter="${filter}"]`);
            if (field.type === "checkbox") field.checked = value; else field.value = value;
            field.dispatchEvent(new Event("input", { bubbles: true }));
        };
        answer.given = names();
        press("Tumour probability"); answer.rising = names();
        answer.sort = [heading("Tumour").ariaSort, heading("Slide").ariaSort];
        press("Tumour probability"); answer.falling = names();
        press("Slide"); answer.named = names();
        set("label", "tumor"); answer.tumour = names();
        answer.count = document.getElementById("shown").textContent;
        set("damaged", true); answer.damaged = names();
        set("text", "nothing"); answer.none = [names(), document.getElementById("none-shown").hidden];
        document.querySelector("form.tools").reset(); await new Promise((done) => setTimeout(done, 20));
        answer.all = names();
        return answer;
    """
    answer = _ask(chromium, page, script, tmp_path)
    assert answer == {
        "given": ["slide_10", "slide_2", "slide_1", "slide_3"],
        "rising": ["slide_10", "slide_3", "slide_1", "slide_2"],
        "sort": ["ascending", "none"],
        "falling": ["slide_1", "slide_3", "slide_10", "slide_2"],
        "named": ["slide_1", "slide_2", "slide_3", "slide_10"],
        "tumour": ["slide_1", "slide_2"],
        "count": "2 of 4 slides",
        "damaged": ["slide_2"],
        "none": [[], False],
        "all": ["slide_1", "slide_2", "slide_3", "slide_10"],
    }


def test_the_viewer_opens_zooms_and_goes_on_to_the_next_slide(
    chromium: str, page: str, tmp_path: Path
) -> None:
    script = """
        const answer = {};
        const body = document.querySelector("#slide-table tbody");
        [...document.querySelectorAll("#slide-table thead th")]
            .find((each) => each.textContent.startsWith("Slide")).querySelector("button").click();
        const viewer = document.getElementById("viewer");
        body.rows[0].querySelector(".pictures button").click();
        answer.title = [viewer.open, document.getElementById("viewer-title").textContent];
        answer.panes = [...viewer.querySelectorAll(".pane")].map((pane) => pane.querySelectorAll("img, svg").length);
        await Promise.all([...viewer.querySelectorAll("img")].map((image) => image.decode()));
        answer.images = [...viewer.querySelectorAll("img")].map((image) => image.complete && image.naturalWidth);
        answer.listed = document.getElementById("viewer-lesions").querySelectorAll("tbody tr").length;
        const width = () => viewer.querySelector(".pane .picture").getBoundingClientRect().width;
        const fitted = width();
        viewer.querySelector("[data-do=in]").click(); answer.zoom = width() / fitted;
        const outline = viewer.querySelector(".overlay .reference");
        const box = viewer.querySelector("[data-toggle=reference]");
        answer.outline = [getComputedStyle(outline).display];
        box.click(); answer.outline.push(getComputedStyle(outline).display);
        answer.together = [...document.querySelectorAll("[data-toggle=reference]")].map((each) => each.checked);
        viewer.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
        answer.next = document.getElementById("viewer-title").textContent;
        const closed = new Promise((done) => viewer.addEventListener("close", done));
        viewer.querySelector("[data-do=close]").click(); await closed;
        answer.focus = document.activeElement.getAttribute("aria-label");
        return answer;
    """
    answer = _ask(chromium, page, script, tmp_path)
    assert answer == {
        "title": [True, "slide_1 · tumor"],
        "panes": [1, 2],
        "images": [20],
        "listed": 1,
        "zoom": pytest.approx(1.5, abs=0.02),
        "outline": ["inline", "none"],
        "together": [False, False],
        "next": "slide_2 · tumor",
        "focus": "Enlarge slide_2",
    }
