"""A small run that was really made, its server, and a browser that is driven over the DevTools protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from slidepipe.heatmaps.grid import HeatmapSettings, plan_cells
from slidepipe.heatmaps.store import open_heatmap, read_heatmap_plan
from slidepipe.heatmaps.store_making import begin_heatmap, finish_heatmap, write_block
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.slides.handles import borrow_slide, close_borrowed
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.slide_writer import write_slide
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.overview import write_overviews
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.viewer.server import ViewServer
from slidepipe.viewer.viewed_run import ViewedRun, ViewedSlide

WIDTH, HEIGHT, MPP = 1300, 1100, 2.0
_ANNOTATION = """<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58">
<Coordinates><Coordinate Order="0" X="300" Y="300"/><Coordinate Order="1" X="500" Y="300"/>
<Coordinate Order="2" X="500" Y="500"/></Coordinates></Annotation></Annotations>
<AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#000000"/></AnnotationGroups></ASAP_Annotations>"""


def _write_slide(path: Path) -> None:
    """A disc of tissue on glass; odd in width, so that levels round."""
    y, x = np.mgrid[0:HEIGHT, 0 : WIDTH - 1]
    pixels = np.full((HEIGHT, WIDTH - 1, 3), 243, np.uint8)
    random = np.random.default_rng(3).integers(-30, 30, (HEIGHT, WIDTH - 1, 1))
    disc = ((x - 420) ** 2 + (y - 400) ** 2 < 260**2)[..., None]
    pixels = np.where(disc, np.clip(np.array((190, 110, 170)) + random, 0, 255), pixels).astype(np.uint8)
    write_slide(path, pixels, "asap", MPP)


def _make_slide(root: Path, source: SlideSource, annotation: Path | None) -> ViewedSlide:
    store, heatmap = root / "tiles" / "s.zarr", root / "heatmaps" / f"{source.slide_id}.zarr"
    settings = TileSettings(tile_px=128, shard_tiles=4)
    job = TileJob(source, str(store), settings, TissueSettings(margin_um=20), "t", fingerprint_slide(source))
    for block in begin_tiling(job):
        tile_block(job, block)
    finish_tiling(job)
    plan = read_store_plan(store)
    with borrow_slide(source) as reader:
        write_overviews(reader, plan.tissue, plan.grid, root / "overviews")
    with open_tile_store(store) as tiles:
        grid = plan_cells(tiles, 64, HeatmapSettings(stride_px=32))
        for block in begin_heatmap(heatmap, tiles, grid, "t", {}):
            heatmap_plan = read_heatmap_plan(heatmap, "t")
            row, column = heatmap_plan.grid.cells_of(block).T
            hot = ((row - 12) ** 2 + (column - 12) ** 2 < 9) | ((row - 8) ** 2 + (column - 17) ** 2 < 3)
            write_block(heatmap_plan, block, np.where(hot, 0.9, 0.1).astype(np.float32))
        finish_heatmap(read_heatmap_plan(heatmap, "t"))
    return ViewedSlide(
        source=source,
        label="tumor",
        probability=0.9,
        thumbnail=root / "overviews" / f"{source.slide_id}_thumbnail.jpg",
        heatmap=heatmap,
        lesions=detect_lesions(open_heatmap(heatmap), LesionSettings(method="components")),
        annotation=annotation,
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> ViewedRun:
    """A run of two slides; the second has a name that needs quoting, and nothing but itself."""
    folder = tmp_path_factory.mktemp("viewer")
    root = folder / "run"
    slide, annotation = folder / "Secret^Name.tif", folder / "Secret^Name.xml"
    _write_slide(slide)
    annotation.write_text(_ANNOTATION, encoding="utf-8")
    first = _make_slide(root, SlideSource("tumor 1", str(slide)), annotation)
    (root / "report.html").write_text("<!doctype html><title>the report</title>", encoding="utf-8")
    second = ViewedSlide(source=SlideSource("größe & 50%", str(slide)))
    close_borrowed()
    return ViewedRun(
        title="A <small> run",
        root=root,
        slides={one.source.slide_id: one for one in (first, second)},
        threshold=0.5,
        report=root / "report.html",
    )


@pytest.fixture(autouse=True)
def _close_slides() -> Iterator[None]:
    yield
    close_borrowed()


@pytest.fixture
def server(run: ViewedRun) -> Iterator[ViewServer]:
    with ViewServer(run) as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.05,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


class Page:
    """A page of Chromium: what it logs, and what its scripts answer."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._connection.write_message(json.dumps(message))
        while True:
            text = await self._connection.read_message()
            assert text is not None, "the browser is gone"
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
            self._listen(answer["method"], answer["params"])

    def _listen(self, method: str, about: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        if method == "Log.entryAdded":
            self.complaints.append(about["entry"]["text"])
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(about["args"]))

    async def ask(self, script: str) -> Any:
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, script: str) -> None:
        until = time.monotonic() + 30
        while not await self.ask(script):
            assert time.monotonic() < until, f"never true: {script}; the console says {self.complaints}"
            await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def go(self, url: str) -> None:
        await self.send("Page.navigate", url=url)

    async def photograph(self, path: Path) -> None:
        answer = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))


@asynccontextmanager
async def _open_page(chromium: str, profile: Path) -> AsyncIterator[Page]:
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    )
    quiet = (
        "--disable-component-update",
        "--disable-sync",
        "--remote-debugging-port=0",
        "--window-size=1400,900",
    )
    process = subprocess.Popen(
        [chromium, *options, *quiet, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            assert time.monotonic() < until, "Chromium does not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        with urlopen(f"http://127.0.0.1:{port}/json/list") as reply:
            target = next(one for one in json.load(reply) if one["type"] == "page")
        connection = await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=2**28)
        try:
            page = Page(connection)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.send(f"{domain}.enable")
            yield page
        finally:
            connection.close()
            while await connection.read_message() is not None:
                pass
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[Callable[[Page], Any]], None]:
    """Run an async function with a page of a fresh browser; skips where Chromium is not installed."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed: the viewer is not opened in a browser")

    def run_with_page(visit: Callable[[Page], Any]) -> None:
        async def visit_page() -> None:
            async with _open_page(chromium, tmp_path / "profile") as page:
                await visit(page)

        asyncio.run(visit_page())

    return run_with_page
