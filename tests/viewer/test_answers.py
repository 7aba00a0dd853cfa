"""The viewer answers for its run, and for nothing else."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from PIL import Image

from slidepipe.viewer.answers import Answer, answer
from slidepipe.viewer.pages import STATIC_FILES, read_static
from slidepipe.viewer.viewed_run import ViewedRun

_FIRST = "/slides/tumor%201/"
_SECOND = "/slides/gr%C3%B6%C3%9Fe%20%26%2050%25/"
_PLACES = (
    "/",
    "/report.html",
    _FIRST,
    _SECOND,
    *(f"/static/{name}" for name in STATIC_FILES),
    *(f"{_FIRST}{name}" for name in ("image.dzi", "slide.json", "heatmap.png", "thumbnail.jpg")),
    f"{_FIRST}image_files/11/0_0.jpeg",
)


class _Links(HTMLParser):
    def __init__(self, page: Answer) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"href", "src"} and value]
        assert not {name for name, _ in attrs} & {"style", "onclick", "onload"}, "the policy forbids it"


@pytest.mark.parametrize("place", _PLACES)
def test_every_place_answers(run: ViewedRun, place: str) -> None:
    found = answer(run, place)
    assert found.status == HTTPStatus.OK
    assert found.content
    assert answer(run, place + "?a=1").content == found.content


@pytest.mark.parametrize("place", ["/", _FIRST, _SECOND])
def test_every_link_of_a_page_leads_somewhere_on_this_server(run: ViewedRun, place: str) -> None:
    links = _Links(answer(run, place)).found
    assert links
    for link in links:
        target = urljoin(f"http://here{place}", link)
        assert target.startswith("http://here/")
        assert answer(run, target.removeprefix("http://here")).status == HTTPStatus.OK


def test_the_description_tells_all_that_is_drawn(run: ViewedRun) -> None:
    about = json.loads(answer(run, _FIRST + "slide.json").content)
    assert about["size"] == [1299, 1100]
    assert about["um_per_px"] == pytest.approx([2.0, 2.0])
    assert about["heatmap"] == {"extent": [1312.0, 1120.0], "cells": 1, "cell_um": pytest.approx(64.0)}
    assert [one["number"] for one in about["lesions"]] == [1, 2]
    assert sorted(one["lesions"] for one in about["regions"]) == [[1], [2]]
    assert about["reference"].startswith("M300 300l200 0")
    assert about["notes"] == []
    bare = json.loads(answer(run, _SECOND + "slide.json").content)
    assert (bare["heatmap"], bare["lesions"], bare["reference"], bare["regions"]) == (None, None, "", [])


def test_the_heatmap_is_a_picture_of_its_cells(run: ViewedRun) -> None:
    found = answer(run, _FIRST + "heatmap.png")
    with Image.open(io.BytesIO(found.content)) as opened:
        assert (opened.format, opened.size, opened.mode) == ("PNG", (41, 35), "RGBA")


def test_a_slide_without_pyramid_says_that_it_is_coarse_from_afar(
    run: ViewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidepipe.viewer.deep_zoom.MOST_SOURCE_PX", 0)
    assert "too few levels" in json.loads(answer(run, _FIRST + "slide.json").content)["notes"][0]
    assert json.loads(answer(run, _SECOND + "slide.json").content)["notes"] == []


def test_names_are_text_and_never_markup(run: ViewedRun) -> None:
    page = answer(run, "/").content.decode()
    assert "<small>" not in page
    assert "A &lt;small&gt; run" in page
    assert "größe &amp; 50%" in page


def test_nothing_that_is_sent_names_a_file(run: ViewedRun) -> None:
    folder = run.root.parent
    for place in (*_PLACES, _SECOND + "slide.json"):
        sent = answer(run, place).content
        assert b"Secret" not in sent
        assert str(folder).encode() not in sent


_ELSEWHERE = (
    "", "x", "//", "/..", "/../", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd",
    "/static", "/static/", "/static/../viewer.py", "/static/..%2fpages.py", "/static/%2e%2e/pages.py",
    "/static//etc/passwd", "/static/viewer.css/", "/static/viewer.css%00", "/static/VIEWER.css", "/slides",
    "/slides/", "/slides/..", "/slides/../report.html", "/slides/unknown/", "/slides/tumor 2/",
    "/slides/tumor%201", "/slides/tumor%25201/", "/slides/TUMOR%201/", "/slides/./tumor%201/",
    _FIRST + "..", _FIRST + "../../report.html", _FIRST + "..%2f..%2freport.html", _FIRST + "cohort.csv",
    _FIRST + "heatmap.png/", _FIRST + "image_files", _FIRST + "image_files/11", _FIRST + "image_files/11/",
    _FIRST + "image_files/11/0_0.png", _FIRST + "image_files/11/0_0.jpeg/", _FIRST + "image_files/11/-1_0.jpeg",
    _FIRST + "image_files/-1/0_0.jpeg", _FIRST + "image_files/12/0_0.jpeg", _FIRST + "image_files/99/0_0.jpeg",
    _FIRST + "image_files/11/3_0.jpeg", _FIRST + "image_files/11/9999999_0.jpeg", _FIRST + "image_files/٣/0_0.jpeg",
    _FIRST + "image_files/11/../11/0_0.jpeg", _SECOND + "heatmap.png", _SECOND + "thumbnail.jpg", "/run.json",
    "/config.yaml", "/journal/", "/slides/%ff%fe/", "http://127.0.0.1/",
)  # fmt: skip


@pytest.mark.parametrize("target", _ELSEWHERE)
def test_there_is_nothing_else(run: ViewedRun, target: str) -> None:
    found = answer(run, target)
    assert found.status == HTTPStatus.NOT_FOUND
    assert found.media_type.startswith("text/plain")


def test_slide_names_that_look_like_paths_are_only_names(run: ViewedRun) -> None:
    slides = {"..": run.slides["tumor 1"], **run.slides}
    assert answer(replace(run, slides=slides), "/slides/../thumbnail.jpg").media_type == "image/jpeg"
    assert answer(replace(run, slides=slides), "/slides/../../report.html").status == HTTPStatus.NOT_FOUND


def test_a_run_without_a_report_shows_none(run: ViewedRun) -> None:
    bare = replace(run, report=None)
    assert answer(bare, "/report.html").status == HTTPStatus.NOT_FOUND
    assert b"report.html" not in answer(bare, "/").content


@pytest.mark.parametrize(("field", "place"), [("thumbnail", "thumbnail.jpg"), ("heatmap", "heatmap.png")])
def test_a_link_that_leads_out_of_the_run_is_not_followed(
    run: ViewedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, field: str, place: str
) -> None:
    first = run.slides["tumor 1"]
    (tmp_path / "link").symlink_to(getattr(first, field))
    changes: dict[str, Any] = {field: tmp_path / "link"}
    linked = replace(run, root=tmp_path, slides={"tumor 1": replace(first, **changes)})
    found = answer(linked, _FIRST + place)
    assert found.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert str(tmp_path).encode() not in found.content
    assert "is a link to" in caplog.text
    inside = replace(linked, root=run.root.parent, slides={"tumor 1": replace(first, **changes)})
    assert answer(inside, _FIRST + place).status == HTTPStatus.OK


def test_a_run_that_is_itself_behind_a_link_is_shown(run: ViewedRun, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(run.root)
    linked = replace(run, root=tmp_path / "run", report=tmp_path / "run" / "report.html")
    assert answer(linked, "/report.html").status == HTTPStatus.OK


def test_a_slide_that_is_gone_is_told_to_the_terminal_only(
    run: ViewedRun, caplog: pytest.LogCaptureFixture
) -> None:
    first = run.slides["tumor 1"]
    gone = replace(first, source=replace(first.source, path="/nowhere/Smith.svs"))
    found = answer(replace(run, slides={"tumor 1": gone}), _FIRST + "image.dzi")
    assert found.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert b"Smith" not in found.content
    assert "Smith" in caplog.text


def test_openseadragon_is_as_published_and_has_its_licence() -> None:
    script = read_static("openseadragon.min.js")
    assert script.startswith(b"//! openseadragon 6.1.1\n")
    assert b"Redistribution and use in source and binary forms" in read_static("openseadragon.LICENSE.txt")


def test_the_style_has_the_colours_of_the_report() -> None:
    style = read_static("viewer.css").decode()
    assert "var(--stops)" not in style
    assert re.search(r"linear-gradient\(to right, #000003, #[0-9a-f]{6}, .*#fcfea4\)", style)
