"""The report's page, read as a browser would read it, without one."""

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slidepipe.errors import ExportError, StoreError
from slidepipe.export.report import (
    FailureRow,
    ReportInputs,
    SlideRow,
    StageRow,
    TrainingRow,
    render_report,
    write_report,
)
from slidepipe.export.report_inputs import SHOWN_LESIONS
from slidepipe.export.report_slides import picture_budget
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion

SIZE_PX0 = (8000, 4000)
HOSTILE = """</script></template><script>alert(1)</script>"' onmouseover="alert(2)" x='&amp;{{ 7 * 7 }}"""
VOID = {"meta", "link", "input", "img", "br", "path", "line", "circle"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            return
        self.text.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        names = {name.replace("_", "-").strip("-"): value for name, value in wanted.items()}
        return [
            attributes
            for found, attributes in self.elements
            if found == tag and all(attributes.get(name) == value for name, value in names.items())
        ]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def thumbnail(shape: tuple[int, int] = (100, 200)) -> bytes:
    pixels = (np.random.default_rng(0).random((*shape, 3)) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def heatmap(shape: tuple[int, int] = (21, 41), cell_px0: float = 200.0) -> Heatmap:
    probability = np.random.default_rng(1).random(shape).astype(np.float32)
    probability[:3] = np.nan
    return Heatmap("slide_1", probability, (cell_px0, cell_px0), PixelSize(0.25, 0.25), SIZE_PX0)


def lesions(count: int) -> tuple[Lesion, ...]:
    return tuple(
        Lesion("slide_1", number, 1 - number / 1000, 80 * number, 40 * number, 25_000.0, 310.0)
        for number in range(1, count + 1)
    )


def full_row(**changes: object) -> SlideRow:
    row = SlideRow(
        slide_id="slide_1",
        size_px0=SIZE_PX0,
        split="test",
        label="tumor",
        size_class="micro",
        centre="1",
        n_tiles=400,
        tissue_mm2=12.345,
        probability=0.875,
        n_lesions=3,
        lesions=lesions(3),
        thumbnail=thumbnail(),
        heatmap=heatmap(),
        reference_rings=[[(0, 0), (4000, 0), (4000, 4000), (0, 4000)]],
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def page_of(*rows: SlideRow, **more: object) -> Page:
    return Page(render_report(inputs_of(*rows, **more)))


def inputs_of(*rows: SlideRow, **more: object) -> ReportInputs:
    inputs = ReportInputs(title="Study", created="1 May 2026", slides=rows)
    return replace(inputs, **more)  # type: ignore[arg-type]


def content_of(url: str) -> bytes:
    return base64.b64decode(url.partition(";base64,")[2], validate=True)


def test_a_report_of_nothing_says_so() -> None:
    words = page_of().words
    assert "0 slides" in words
    assert "None: no slide failed and no tile is damaged." in words
    assert "Nothing was evaluated" in words
    assert "No times were recorded." in words


def test_the_file_holds_the_page_and_equal_inputs_make_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "report" / "report.html"
    write_report(inputs_of(full_row()), path)
    first = path.read_bytes()
    write_report(inputs_of(full_row()), path)
    assert path.read_bytes() == first == render_report(inputs_of(full_row())).encode()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_problems_come_first_and_provenance_last() -> None:
    page = page_of(full_row())
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == ["problems", "results", "slides", "stages", "provenance"]


def test_failed_slides_are_named_with_stage_message_and_traceback() -> None:
    failures = (
        FailureRow(
            slide_id="slide_7", stage="tile", message="the file is cut short", traceback="Traceback: line 7"
        ),
        FailureRow(slide_id="slide_8", stage="heatmap", message="the disk is full"),
        FailureRow(slide_id="slide_8", stage="export", message="no heatmap"),
    )
    words = page_of(full_row(), failures=failures).words
    assert "2 slides failed" in words
    assert "slide_7 tile the file is cut short Traceback Traceback: line 7" in words
    assert "slide_8 heatmap the disk is full slide_8 export no heatmap" in words


def test_a_stage_that_fails_for_the_whole_cohort_is_not_counted_as_a_slide() -> None:
    words = page_of(failures=(FailureRow(slide_id=None, stage="train", message="no tumour slide"),)).words
    assert "A stage failed whole cohort train no tumour slide" in words
    assert "slides failed" not in words


def test_damaged_tissue_is_listed_with_the_share_lost() -> None:
    words = page_of(full_row(n_damaged=5), full_row(slide_id="slide_2")).words
    assert "1 slide with damaged tissue" in words
    assert "slide_1 5 400 1.25 %" in words
    assert "None: no slide failed" not in words


def test_nothing_is_loaded_from_anywhere() -> None:
    html = render_report(inputs_of(full_row()))
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), f"{tag} {name}"
        assert tag not in {"iframe", "object", "embed", "base", "form-action"}
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|import\(", html)


def test_only_the_script_of_this_package_may_run() -> None:
    html = render_report(inputs_of(full_row()))
    (policy,) = [each["content"] for each in Page(html).all("meta", http_equiv="Content-Security-Policy")]
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def hostile_inputs() -> ReportInputs:
    row = full_row(
        slide_id=HOSTILE, split=HOSTILE, label=HOSTILE, size_class=HOSTILE, centre=HOSTILE, n_damaged=1
    )
    provenance: Mapping[str, object] = {
        HOSTILE: {HOSTILE: HOSTILE},
        "nested": {"a": [HOSTILE]},
        "text": HOSTILE,
    }
    return ReportInputs(
        title=HOSTILE,
        created=HOSTILE,
        slides=[row, full_row()],
        evaluation={
            "notes": [HOSTILE],
            "froc": {
                "rule": HOSTILE,
                "score": 0.5,
                "curve": {"false_positives_per_slide": [0, 1], "sensitivity": [0, 1]},
                "excluded": [{"slide_id": HOSTILE, "reason": HOSTILE}],
            },
            "centres": [{"name": HOSTILE, "n_slides": 1}],
        },
        stages=[StageRow(name=HOSTILE, work=HOSTILE)],
        failures=[FailureRow(slide_id=HOSTILE, stage=HOSTILE, message=HOSTILE, traceback=HOSTILE)],
        provenance=provenance,
    )


def test_markup_in_names_messages_and_settings_stays_text() -> None:
    page = Page(render_report(hostile_inputs()))
    assert len(page.all("script")) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.words.count("<script>alert(1)</script>") >= 20
    assert "49" not in page.words
    assert len(page.all("th", data_value=HOSTILE)) == 1
    assert (
        len(page.all("tr", data_split=HOSTILE, data_label=HOSTILE, data_size=HOSTILE, data_centre=HOSTILE))
        == 1
    )


def test_every_picture_is_inside_the_page_and_has_words_for_those_who_cannot_see_it() -> None:
    page = page_of(full_row())
    slide, cells = page.all("img")
    assert slide["alt"] == "Slide slide_1"
    assert cells["alt"] == "Heatmap of slide_1"
    assert Image.open(io.BytesIO(content_of(slide["src"]))).size == (200, 100)
    assert Image.open(io.BytesIO(content_of(cells["src"]))).size == (41, 21)
    assert page.all("button", aria_label="Enlarge slide_1")


def test_a_heatmap_that_reaches_beyond_the_slide_is_laid_on_it_in_scale() -> None:
    (cells,) = page_of(full_row()).all("img", alt="Heatmap of slide_1")
    assert cells["style"] == "width:102.500%;height:105.000%"


def test_a_slide_without_pictures_numbers_and_labels_still_has_its_row() -> None:
    page = page_of(SlideRow(slide_id="bare", size_px0=SIZE_PX0))
    assert "no picture no heatmap" in page.words
    assert "Not tiled. No lesions were looked for. No heatmap." in page.words
    (row,) = [
        index for index, (tag, each) in enumerate(page.elements) if tag == "tr" and "data-split" in each
    ]
    values = [each["data-value"] for tag, each in page.elements[row:] if "data-value" in each]
    assert values == ["bare", "", "", "", "", "", "", "", "", "", "0"]


def test_a_row_has_a_value_for_every_column_that_sorts() -> None:
    page = page_of(full_row())
    headings = page.all("th", aria_sort="none")
    (row,) = [
        index for index, (tag, each) in enumerate(page.elements) if tag == "tr" and "data-split" in each
    ]
    values = [each["data-value"] for _, each in page.elements[row:] if "data-value" in each]
    assert len(headings) == len(values)
    for heading, value in zip(headings, values, strict=True):
        assert heading["data-kind"] in {"text", "number"}
        if heading["data-kind"] == "number" and value:
            float(value)


def test_a_filter_is_offered_only_where_there_is_a_choice() -> None:
    page = page_of(full_row(), full_row(slide_id="slide_2", label="normal", centre=None))
    assert [each["data-filter"] for each in page.all("select")] == ["label"]
    assert {"normal", "tumor"} <= set(page.text)


def test_what_the_evaluation_says_of_a_slide_stands_in_its_row() -> None:
    evaluation = {"slides": [{"slide_id": "slide_1", "n_targets": 5, "n_found": 3, "n_false_positives": 7}]}
    page = page_of(full_row(), evaluation=evaluation)
    values = [each["data-value"] for _, each in page.elements if "data-value" in each]
    assert values == ["slide_1", "0.875", "tumor", "micro", "1", "test", "3", "2", "7", "12.345", "0"]


def test_lesions_are_drawn_numbered_and_listed() -> None:
    page = page_of(full_row())
    assert page.all("path", d="M40 20h0M80 40h0M120 60h0")
    assert (
        "400 tiles with tissue. 3 lesions. A pixel of the heatmap shows one cell, 50 µm wide." in page.words
    )
    assert "1 0.999 0.025 310 80 40 2 0.998" in page.words


def test_lesions_beyond_those_drawn_are_counted_and_the_page_says_so() -> None:
    page = page_of(full_row(lesions=lesions(SHOWN_LESIONS + 10), n_lesions=300))
    assert f"300 lesions; the {SHOWN_LESIONS} most probable are drawn and listed." in page.words
    (drawn, _) = [each["d"] for each in page.all("path") if each["d"].endswith("h0")]
    assert drawn.count("M") == SHOWN_LESIONS


def test_reference_outlines_are_drawn_and_can_be_switched_off() -> None:
    page = page_of(full_row())
    assert [each["class"] for each in page.all("path", d="M0 0l2000 0l0 2000l-2000 0z")] == [
        "reference casing",
        "reference",
    ]
    assert {each["data-toggle"] for each in page.all("input") if "data-toggle" in each} == {
        "reference",
        "lesion",
    }


def test_a_heatmap_of_another_slide_is_refused() -> None:
    with pytest.raises(ExportError, match=r"slide_1.*\(8000, 4000\).*\(8000, 4001\)"):
        page_of(full_row(size_px0=(8000, 4001)))


def test_a_heatmap_store_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        page_of(full_row(heatmap=tmp_path / "missing.zarr"))


def test_stages_tell_time_share_and_how_busy_they_were() -> None:
    stages = (
        StageRow(
            name="tile",
            wall_s=75,
            busy_s=120,
            workers=2,
            n_slides=16,
            n_failed=1,
            peak_memory_bytes=3 * 2**29,
        ),
        StageRow(name="train", wall_s=3725, busy_s=3725, work="9 epochs"),
        StageRow(name="export"),
    )
    words = page_of(stages=stages).words
    assert "tile 1 min 15 s 2 % 16 1 1.6 of 2 (80 %) 1.5 GiB –" in words
    assert "train 1 h 02 min 98 % – 0 1.0 – 9 epochs" in words
    assert "export – – – 0 – – –" in words


def test_the_curves_of_a_training_are_inside_the_page() -> None:
    plot = b"\x89PNG curves"
    page = render_report(
        ReportInputs(
            title="t", created="c", slides=(), training=TrainingRow(summary="Epoch 2 & best.", plot=plot)
        )
    )
    assert f'src="data:image/png;base64,{base64.b64encode(plot).decode()}"' in page
    assert page.count("Epoch 2 &amp; best.") == 2
    assert "Training of the patch" not in render_report(ReportInputs(title="t", created="c", slides=()))


def test_provenance_is_shown_as_pairs_as_json_or_as_text() -> None:
    provenance = {
        "Versions": {"zarr": "3.1", "seed": 1},
        "Settings": {"tiles": {"mpp": 0.5}},
        "Plain": "a\nb",
    }
    page = page_of(provenance=provenance)
    assert "Versions zarr 3.1 seed 1 Settings" in page.words
    assert '{\n  "tiles": {\n    "mpp": 0.5\n  }\n}' in page.text
    assert "a\nb" in page.text


def test_400_slides_with_the_worst_pictures_stay_under_30_megabytes() -> None:
    noise = Heatmap(
        "slide_1",
        np.random.default_rng(2).random((400, 800)).astype(np.float32),
        (10.0, 10.0),
        PixelSize(0.25, 0.25),
        SIZE_PX0,
    )
    ring = np.random.default_rng(3).random((400, 2)) * SIZE_PX0
    row = full_row(
        lesions=lesions(60), thumbnail=thumbnail((640, 640)), heatmap=noise, reference_rings=[ring]
    )
    bare = len(render_report(inputs_of()).encode())
    per_slide = len(render_report(inputs_of(row)).encode()) - bare
    assert picture_budget(400) == picture_budget(1)
    assert bare + 400 * per_slide < 30e6


def test_pictures_get_smaller_where_there_are_more_slides() -> None:
    for n_slides in (1, 400, 1000, 2500):
        assert sum(picture_budget(n_slides)) * n_slides <= 15_000_000
    assert picture_budget(0) == picture_budget(1)
    assert min(picture_budget(10**6)) >= 1024
