"""Nothing that a slide's file tells of a patient gets into anything that is written or served.

Slides are made with names, dates, barcodes and label images planted in every place where formats keep them, taken
through the whole chain under pseudonyms, and every byte that came out is searched, unpacked where it is packed.
"""

import base64
import binascii
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from slidepipe.export.qupath import ProjectSlide, write_qupath_project
from slidepipe.export.report import ReportInputs, SlideRow, write_report
from slidepipe.export.slide_files import ExportSettings, write_slide_files
from slidepipe.heatmaps.grid import HeatmapSettings, plan_cells
from slidepipe.heatmaps.store import open_heatmap, read_heatmap_plan
from slidepipe.heatmaps.store_making import begin_heatmap, finish_heatmap, write_block
from slidepipe.lesions.detection import LesionSettings, detect_lesions
from slidepipe.lesions.lesion import read_lesions, write_lesions
from slidepipe.provenance import software_versions
from slidepipe.slides.handles import borrow_slide, close_borrowed
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.risky_fields import find_risky_fields
from slidepipe.storage.publish import write_json
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.overview import write_overviews
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.store_plan import read_store_plan
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.viewer.answers import answer
from slidepipe.viewer.viewed_run import ViewedRun, ViewedSlide

_FIELDS = {
    name: f"PLANTED-{name.upper()}-7391"
    for name in ("user", "barcode", "title", "imageid", "rack", "artist", "host", "copyright", "document", "comment",
                 "label", "operator", "serial", "source")
}  # fmt: skip
_DATES = ("1961:02:03 04:05:06", "02/03/61", "19610203040506")
_FILE_NAME = "Plantedname^Jane S61-98765"
_PLANTED = (*_FIELDS.values(), *_DATES, _FILE_NAME)
_WIDTH, _HEIGHT, _TILE = 768, 640, 128
_ZSTD = b"\x28\xb5\x2f\xfd"
_BLOSC = b"\x02"


# ---- slides with planted fields ----


def _tissue() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    noise = np.random.default_rng(1).integers(-30, 30, (_HEIGHT, _WIDTH, 3))
    disc = ((x - 380) ** 2 + (y - 320) ** 2 < 230**2)[..., None]
    return np.clip(np.where(disc, np.array((190, 110, 170)) + noise, 243), 0, 255).astype(np.uint8)


def _tiles(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    """JPEG tiles, each with a planted comment."""
    comment = _FIELDS["comment"].encode()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    for y in range(0, _HEIGHT, _TILE):
        for x in range(0, _WIDTH, _TILE):
            tile = np.ascontiguousarray(pixels[y : y + _TILE, x : x + _TILE])
            jpeg = imagecodecs.jpeg8_encode(tile, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")
            yield jpeg[:2] + segment + jpeg[2:]


def _write_level(tiff: tifffile.TiffWriter, description: str | None, **options: Any) -> None:
    options = {"resolution": (5000, 5000), "resolutionunit": "CENTIMETER", **options}
    tiff.write(
        _tiles(_tissue()), shape=(_HEIGHT, _WIDTH, 3), dtype="uint8", tile=(_TILE, _TILE), photometric="ycbcr",
        subsampling=(2, 2), compression="jpeg", metadata=None, description=description, datetime=_DATES[0], **options,
    )  # fmt: skip


def _write_aperio(path: Path) -> None:
    head = "Aperio Image Library v12.0.16 \r\n"
    items = (
        f"AppMag = 20|MPP = 2.0|Filename = {_FILE_NAME}|Title = {_FIELDS['title']}|User = {_FIELDS['user']}"
        f"|ImageID = {_FIELDS['imageid']}|Date = {_DATES[1]}|Time = {_DATES[2]}|Barcode = {_FIELDS['barcode']}"
        f"|Rack = {_FIELDS['rack']}"
    )
    glass = np.full((200, 180, 3), 255, np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        _write_level(tiff, f"{head}{_WIDTH}x{_HEIGHT} ({_TILE}x{_TILE}) JPEG/RGB Q=70|{items}")
        small = np.ascontiguousarray(_tissue()[::4, ::4])
        tiff.write(small, photometric="rgb", metadata=None, description=f"{head}thumbnail|{items}")
        for name in ("label", "macro"):
            said = f"{head}{name} 180x200|{_FIELDS['label']}"
            tiff.write(glass, photometric="rgb", metadata=None, description=said, subfiletype=1)


def _write_philips(path: Path) -> None:
    def attribute(name: str, value: str) -> str:
        return f'<Attribute Name="{name}" Group="0x0008" Element="0x0070" PMSVR="IString">{value}</Attribute>'

    def image(kind: str, more: str) -> str:
        return f'<DataObject ObjectType="DPScannedImage">{attribute("PIM_DP_IMAGE_TYPE", kind)}{more}</DataObject>'

    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(buffer, "JPEG", comment=_FIELDS["label"].encode())
    label = attribute("PIM_DP_IMAGE_DATA", base64.b64encode(buffer.getvalue()).decode())
    spacing = attribute("DICOM_PIXEL_SPACING", "&quot;0.002&quot; &quot;0.002&quot;")
    number = attribute("PIIM_PIXEL_DATA_REPRESENTATION_NUMBER", "0")
    level = f'<Array><DataObject ObjectType="PixelDataRepresentation">{spacing}{number}</DataObject></Array>'
    levels = spacing + attribute("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", level)
    fields = (
        attribute("PIM_DP_UFS_BARCODE", base64.b64encode(_FIELDS["barcode"].encode()).decode())
        + attribute("DICOM_ACQUISITION_DATETIME", _DATES[2])
        + attribute("DICOM_DEVICE_SERIAL_NUMBER", _FIELDS["serial"])
        + attribute("PIIM_DP_SCANNER_OPERATOR_ID", _FIELDS["operator"])
        + attribute("PIM_DP_SOURCE_FILE", _FIELDS["source"])
    )
    images = f"<Array>{image('WSI', levels)}{image('LABELIMAGE', label)}{image('MACROIMAGE', label)}</Array>"
    scanned = f'<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003">{images}</Attribute>'
    root = f'<DataObject ObjectType="DPUfsImport">{fields}{scanned}</DataObject>'
    with tifffile.TiffWriter(path) as tiff:
        _write_level(tiff, f'<?xml version="1.0" encoding="UTF-8" ?>{root}', software="Philips DP v1.0")


def _write_generic(path: Path) -> None:
    texts = {269: "document", 315: "artist", 316: "host", 33432: "copyright"}
    tags = [(code, "s", 0, _FIELDS[name], True) for code, name in texts.items()]
    with tifffile.TiffWriter(path) as tiff:
        _write_level(tiff, f"patient {_FIELDS['user']}", extratags=tags)


# ---- the chain ----


def _write_results(root: Path, source: SlideSource) -> tuple[SlideRow, ProjectSlide, ViewedSlide]:
    slide_id = source.slide_id
    store, heatmap = root / "tiles" / f"{slide_id}.zarr", root / "heatmaps" / f"{slide_id}.zarr"
    settings = TileSettings(tile_px=128, shard_tiles=2)
    job = TileJob(source, str(store), settings, TissueSettings(margin_um=20), "t", fingerprint_slide(source))
    for block in begin_tiling(job):
        tile_block(job, block)
    write_json(root / "journal" / f"{slide_id}.json", finish_tiling(job))
    plan = read_store_plan(store)
    with borrow_slide(source) as reader:
        write_overviews(reader, plan.tissue, plan.grid, root / "overviews")
    with open_tile_store(store) as tiles:
        grid = plan_cells(tiles, 64, HeatmapSettings(stride_px=32))
        random = np.random.default_rng(5)
        for block in begin_heatmap(heatmap, tiles, grid, "t", {"software": software_versions()}):
            heatmap_plan = read_heatmap_plan(heatmap, "t")
            cells = heatmap_plan.grid.cells_of(block)
            write_block(heatmap_plan, block, random.random(len(cells), dtype=np.float32))
        finish_heatmap(read_heatmap_plan(heatmap, "t"))
        facts = (tiles.size_px0, tiles.scale_px0)
    found = open_heatmap(heatmap)
    write_lesions(root / "lesions" / f"{slide_id}.csv", detect_lesions(found, LesionSettings()))
    lesions = read_lesions(root / "lesions" / f"{slide_id}.csv")
    assert lesions
    everything = ExportSettings(pictures=True, ome_zarr=True)
    write_slide_files(root / "export", found, lesions, threshold=0.5, settings=everything)
    thumbnail = root / "overviews" / f"{slide_id}_thumbnail.jpg"
    return (
        SlideRow(slide_id=slide_id, size_px0=facts[0], lesions=lesions, thumbnail=thumbnail, heatmap=heatmap),
        ProjectSlide(slide_id=slide_id, path=source.path, cell_px0=found.cell_px0),
        ViewedSlide(source=source, lesions=lesions, thumbnail=thumbnail, heatmap=heatmap),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of the planted slides and folder of everything that was made of them."""
    slides, root = tmp_path_factory.mktemp("slides"), tmp_path_factory.mktemp("run")
    for number, write in enumerate((_write_aperio, _write_philips, _write_generic)):
        write(slides / f"{_FILE_NAME} {number}.{'svs' if number == 0 else 'tif'}")
    sources = [
        SlideSource(f"case_{number}", str(path)) for number, path in enumerate(sorted(slides.iterdir()))
    ]
    rows, projects, viewed = zip(*(_write_results(root, source) for source in sources), strict=True)
    write_report(ReportInputs(title="study", created="today", slides=rows), root / "report.html")
    write_qupath_project(root / "export", projects, timestamp_ms=0)
    _write_views(root, {one.source.slide_id: one for one in viewed})
    close_borrowed()
    return slides, root


def _write_views(root: Path, slides: dict[str, ViewedSlide]) -> None:
    """Keep what the viewer sends of every slide."""
    run = ViewedRun(title="study", root=root, slides=slides, threshold=0.5, report=root / "report.html")
    squares = [f"image_files/{level}/0_0.jpeg" for level in range(11)] + ["image_files/10/1_1.jpeg"]
    (root / "viewer").mkdir()
    (root / "viewer" / "index").write_bytes(answer(run, "/").content)
    for slide_id in slides:
        for place in ("", "image.dzi", "slide.json", "heatmap.png", "thumbnail.jpg", *squares):
            sent = answer(run, f"/slides/{slide_id}/{place}")
            assert sent.status == 200, place
            (root / "viewer" / f"{slide_id} {place.replace('/', ' ')}").write_bytes(sent.content)


# ---- the search ----


def _unpacked(content: bytes) -> Iterator[bytes]:
    """The content itself, and whatever is packed in it: gzip, zlib, zstd, blosc, base64."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield from _unpacked(gzip.decompress(content))
    if content.startswith(_BLOSC):
        with contextlib.suppress(imagecodecs.BloscError):
            yield bytes(imagecodecs.blosc_decode(content))
    for at in (found.start() for found in re.finditer(re.escape(_ZSTD), content)):
        try:
            yield bytes(imagecodecs.zstd_decode(content[at:]))
        except imagecodecs.ZstdError:
            continue
    for at in (found.start() for found in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content)):
        try:
            yield zlib.decompressobj().decompress(content[at:])
        except zlib.error:
            continue
    for found in re.finditer(rb"[A-Za-z0-9+/]{16,}={0,2}", content):
        try:
            yield base64.b64decode(found[0])
        except binascii.Error:
            continue


def _hits(folder: Path) -> dict[str, set[str]]:
    """Planted texts to the files that hold them, in contents or names, in any case and coding."""
    hits: dict[str, set[str]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        content = b"\n".join([name.encode(), *_unpacked(path.read_bytes())]).lower()
        for text in _PLANTED:
            codings = (
                text.encode(),
                text.encode("utf-16-le"),
                text.replace("^", "%5e").replace(" ", "%20").encode(),
            )
            if any(coding.lower() in content for coding in codings):
                hits.setdefault(text, set()).add(name)
    return hits


def test_the_search_finds_everything_in_the_slides(folders: tuple[Path, Path]) -> None:
    assert set(_hits(folders[0])) == set(_PLANTED)


def test_the_slides_are_slides_of_their_kinds_and_conspicuous(folders: tuple[Path, Path]) -> None:
    found = []
    for path in sorted(folders[0].iterdir()):
        with borrow_slide(SlideSource("s", str(path))) as reader:
            found.append((reader.info.vendor, reader.info.reader))
        fields = find_risky_fields(SlideSource("s", str(path)))
        assert len(fields) >= 5
        assert any(field.kind == "file name" for field in fields)
        assert not [text for text in _PLANTED if text in repr(fields)]
    assert found == [("aperio", "openslide"), ("philips", "openslide"), ("generic-tiff", "openslide")]


def test_the_search_unpacks_what_is_packed(tmp_path: Path) -> None:
    text = b"before " + _FIELDS["user"].encode() + b" after" * 20
    (tmp_path / "a.gz").write_bytes(gzip.compress(text))
    (tmp_path / "b").write_bytes(b"head" + zlib.compress(text) + b"tail")
    (tmp_path / "c").write_bytes(b"head" + imagecodecs.zstd_encode(text) + b"tail")
    (tmp_path / "0.0").write_bytes(imagecodecs.blosc_encode(text, compressor="lz4", shuffle=0))
    (tmp_path / "d").write_bytes(b"src=" + base64.b64encode(text))
    (tmp_path / f"{_FILE_NAME}.txt").write_bytes(b"")
    assert _hits(tmp_path) == {
        _FIELDS["user"]: {"a.gz", "b", "c", "0.0", "d"},
        _FILE_NAME: {f"{_FILE_NAME}.txt"},
    }


def test_nothing_planted_comes_out(folders: tuple[Path, Path]) -> None:
    root = folders[1]
    kinds = {path.suffix for path in root.rglob("*") if path.is_file()}
    assert kinds >= {".json", ".csv", ".jpg", ".gz", ".tif", ".html", ".qpproj", ".xml"}
    assert list(root.glob("export/**/.zattrs"))
    assert len([path for path in root.rglob("*") if path.is_file()]) > 60
    # The QuPath project is the one place that has to name the slide's file; it does not know more than its name.
    assert _hits(root) == {_FILE_NAME: {"export/project.qpproj"}}


def test_no_output_keeps_where_the_slides_lie(folders: tuple[Path, Path]) -> None:
    slides, root = folders
    holders = {
        path.name
        for path in root.rglob("*")
        if path.is_file() and any(str(slides).encode() in content for content in _unpacked(path.read_bytes()))
    }
    assert holders == {"project.qpproj"}
