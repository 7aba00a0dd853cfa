"""The viewer in a real browser: it loads without a complaint, squares and layers show, keys and clicks work."""

from collections.abc import Callable
from typing import Any

from slidepipe.viewer.server import ViewServer

Browse = Callable[[Callable[[Any], Any]], None]

_READY = "document.documentElement?.dataset.state === 'ready'"
_STYLE = "getComputedStyle(document.querySelector('.drawing .{}')).{}"
_AT_LESION = """(() => {{
    const circle = document.querySelectorAll(".numbers circle");
    const box = [...circle].find((one) => one.nextSibling.textContent === "{}").getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}})()"""
_CHOSEN = "[...document.querySelectorAll('#lesions [aria-pressed=true] b')].map((one) => one.textContent)"
_COLOURS = """(() => {
    const canvas = document.querySelector("#slide .openseadragon-canvas canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
})()"""


def test_squares_show_and_layers_are_switched(browse: Browse, server: ViewServer) -> None:
    async def visit(page: Any) -> None:
        await page.go(server.url + "slides/tumor%201/")
        await page.wait_for(_READY)
        await page.wait_for("viewer.world.getItemAt(0).getFullyLoaded()")
        assert await page.ask(_COLOURS) > 100, "the slide is not drawn"
        assert await page.ask("document.querySelector('.heatmap image').getBBox().width") == 1312

        assert await page.ask(_STYLE.format("heatmap", "opacity")) == "0.45"
        assert await page.ask(_STYLE.format("heatmap", "display")) == "inline"
        await page.press("h")
        assert await page.ask(_STYLE.format("heatmap", "display")) == "none"
        await page.press("h")
        await page.press("]")
        assert await page.ask(_STYLE.format("heatmap", "opacity")) == "0.55"
        for key, layer in (("l", "lesions"), ("l", "numbers"), ("r", "reference")):
            await page.press(key)
            assert await page.ask(_STYLE.format(layer, "display")) == "none"
            await page.press(key)
            assert await page.ask(_STYLE.format(layer, "display")) == "inline"

        assert page.complaints == []
        assert page.requests
        assert [url for url in page.requests if not url.startswith(server.url)] == []
        assert any("image_files" in url for url in page.requests)

    browse(visit)


def test_lesions_are_chosen_by_click_by_key_and_in_the_list(browse: Browse, server: ViewServer) -> None:
    async def visit(page: Any) -> None:
        await page.go(server.url + "slides/tumor%201/")
        await page.wait_for(_READY)
        await page.wait_for("viewer.world.getItemAt(0).getFullyLoaded()")
        assert await page.ask("document.querySelectorAll('#lesions li').length") == 2
        await page.click(*await page.ask(_AT_LESION.format(2)))
        await page.wait_for(f"{_CHOSEN}.join() === '2'")
        assert await page.ask("document.querySelectorAll('.lesions path.chosen').length") == 1
        await page.press("Escape")
        assert await page.ask(_CHOSEN) == []
        before = await page.ask("viewer.viewport.getZoom()")
        await page.press("n")
        assert await page.ask(_CHOSEN) == ["1"]
        await page.wait_for(f"viewer.viewport.getZoom(true) > {before} * 1.2")
        await page.press("p")
        assert await page.ask(_CHOSEN) == ["2"]
        await page.ask("document.querySelector('#lesions button').click()")
        assert await page.ask(_CHOSEN) == ["1"]
        await page.press("0")
        await page.wait_for(f"Math.abs(viewer.viewport.getZoom() - {before}) < 1e-6")
        await page.press("ArrowRight")
        await page.press(".")
        await page.wait_for("document.title.startsWith('größe & 50%')")
        assert page.complaints == []

    browse(visit)


def test_the_drawing_stays_on_the_slide_when_it_is_moved(browse: Browse, server: ViewServer) -> None:
    where = """(() => {
        const at = viewer.world.getItemAt(0).imageToViewerElementCoordinates(new OpenSeadragon.Point(500, 500));
        const drawn = new DOMPoint(500, 500).matrixTransform(inSlidePixels.getCTM());
        return Math.hypot(at.x - drawn.x, at.y - drawn.y);
    })()"""

    async def visit(page: Any) -> None:
        await page.go(server.url + "slides/tumor%201/")
        await page.wait_for(_READY)
        for act in ("zoomBy(3)", "panBy(new OpenSeadragon.Point(0.1, 0.05))", "zoomBy(0.5)"):
            await page.ask(f"viewer.viewport.{act}.applyConstraints(true) && null")
            await page.wait_for("viewer.viewport.getZoom(true) === viewer.viewport.getZoom()")
            await page.wait_for(f"{where} < 0.5")

    browse(visit)


def test_a_bare_slide_and_the_list_load_without_a_complaint(browse: Browse, server: ViewServer) -> None:
    names = "[...document.querySelectorAll('#cards li')].filter((one) => !one.hidden).map((one) => one.dataset.name)"

    async def visit(page: Any) -> None:
        await page.go(server.url + "slides/gr%C3%B6%C3%9Fe%20%26%2050%25/")
        await page.wait_for(_READY)
        assert await page.ask("document.getElementById('show-heatmap').disabled")
        assert await page.ask("document.getElementById('lesion-count').textContent") == "not looked for"
        await page.press("h")
        await page.press("n")
        await page.go(server.url)
        await page.wait_for(
            "document.readyState === 'complete' && document.querySelector('#cards img')?.naturalWidth > 0"
        )
        assert await page.ask(names) == ["tumor 1", "größe & 50%"]
        await page.press("/")
        await page.press("5")
        assert await page.ask(names) == ["größe & 50%"]
        assert await page.ask("document.getElementById('count').textContent") == "1 of 2 slides"
        assert page.complaints == []

    browse(visit)
