"""What in a slide's file may say who the patient is: label images, names, dates, numbers. Values are never shown.

Nothing is removed here. A file is cleaned by a tool made for it (wsi-anon, DSA WSI DeID), on a copy. slidepipe itself
carries none of these fields on; this list is for those who pass the slides on, or name their studies after them.
What is written on the glass inside the scanned area, no program finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import openslide
import tifffile
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from rich.console import Console
from rich.markup import escape

from slidepipe.errors import SlideError, SlideFormatError
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.risky_names import (
    HARMLESS_IMAGES,
    RISKY_NDPI_TAGS,
    RISKY_TAGS,
    file_name_hint,
    is_risky,
)
from slidepipe.slides.tiff_directories import check_directories
from slidepipe.storage.locations import is_url

RiskyKind = Literal["image", "field", "file name"]

_DESCRIPTION, _XMP, _SOURCE_LENS = 270, 700, 65421
_MACRO_LENS = -1
_NAMED_IMAGE = re.compile(r"^\s*(label|macro)\b", re.IGNORECASE | re.MULTILINE)
_PHILIPS_IMAGES = {"LABELIMAGE": "label", "MACROIMAGE": "macro"}
_HARMLESS_TEXT = re.compile(r'\{"shape":|level=\d+|ImageJ=')
_VENDOR_OF_XML = {"DataObject": "philips", "OME": "ome", "scn": "leica"}


@dataclass(frozen=True, slots=True)
class RiskyField:
    """One place of a file that may say who, when or where. Its value is not kept."""

    kind: RiskyKind
    """``image``: label, macro or another picture besides the scan; ``field``: a text; ``file name``: the name."""
    name: str
    """Name of the image or field, as OpenSlide writes it where it knows it: ``aperio.Barcode``."""
    where: str
    """Where it was found: ``OpenSlide``, ``page 2``."""
    extent: str
    """How much there is: ``387 × 463 px``, ``14 characters``; of a file name, what it looks like."""


def find_risky_fields(source: SlideSource) -> list[RiskyField]:
    """List what a slide's file may tell about the patient, as far as the formats are known.

    Parameters
    ----------
    source
        The slide; a local path.

    Returns
    -------
    list of RiskyField
        Fields that hold something, images first. Empty if nothing is known to be risky, which is no proof.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    SlideFormatError
        If it is neither a slide that OpenSlide knows nor a TIFF file, or is damaged, so that nothing can be said.
    """
    if is_url(source.path):
        raise SlideFormatError(f"slide {source.slide_id} is a URL: fetch the file and check it here")
    path = Path(source.path)
    if not path.is_file():
        raise FileNotFoundError(f"slide {source.slide_id}: there is no file {path}")
    with path.open("rb") as file:
        check_directories(file, source.slide_id)
    try:
        found = [*_found_by_openslide(path), *_found_in_tiff(path)]
    except tifffile.TiffFileError as error:
        raise SlideFormatError(f"slide {source.slide_id}: the TIFF file is damaged: {error}") from error
    if not _is_known(path):
        raise SlideFormatError(
            f"slide {source.slide_id}: neither OpenSlide nor a TIFF reader knows the file, so nothing can be said of it"
        )
    hint = file_name_hint(path.name)
    if hint is not None:
        found.append(RiskyField("file name", "file name", "the file's own name", f"looks like {hint}"))
    order: tuple[RiskyKind, ...] = ("image", "field", "file name")
    return sorted(_merged(found), key=lambda field: order.index(field.kind))


def print_risky_fields(paths: Sequence[str], console: Console) -> bool:
    """Print what slide files may tell about patients, without the values.

    Parameters
    ----------
    paths
        Slide files.
    console
        Where to.

    Returns
    -------
    bool
        Whether anything was found, or a file could not be looked at.
    """
    conspicuous = 0
    for path in paths:
        name = Path(path).name
        try:
            fields = find_risky_fields(SlideSource(name, path))
        except (SlideError, OSError) as error:
            console.print(f"[red]?[/red] {escape(str(error))}", soft_wrap=True)
            conspicuous += 1
            continue
        mark = "[yellow]![/yellow]" if fields else "[green]✓[/green]"
        console.print(f"{mark} {escape(name)}: {len(fields) or 'nothing'} found", soft_wrap=True)
        for field in fields:
            about = f"{field.name}: {field.extent} ({field.where})"
            console.print(f"    {field.kind:<10}{escape(about)}", soft_wrap=True)
        conspicuous += bool(fields)
    console.print(
        f"{conspicuous} of {len(paths)} files are conspicuous. Values are not shown. Handwriting on the glass is not "
        "looked for."
    )
    return conspicuous > 0


def _is_known(path: Path) -> bool:
    if openslide.OpenSlide.detect_format(str(path)) is not None:
        return True
    try:
        with tifffile.TiffFile(path):
            return True
    except tifffile.TiffFileError:
        return False


def _merged(fields: list[RiskyField]) -> Iterator[RiskyField]:
    """Name each field once, with all the places where it was found and the extent at the first."""
    by_name: dict[tuple[RiskyKind, str], list[RiskyField]] = {}
    for field in fields:
        by_name.setdefault((field.kind, field.name), []).append(field)
    for (kind, name), same in by_name.items():
        places = ", ".join(dict.fromkeys(field.where for field in same))
        yield RiskyField(kind, name, places, same[0].extent)


def _text_field(name: str, value: str, where: str) -> Iterator[RiskyField]:
    text = value.strip("\0 \t\r\n")
    if text:
        yield RiskyField("field", name, where, f"{len(text)} characters")


def _found_by_openslide(path: Path) -> Iterator[RiskyField]:
    if openslide.OpenSlide.detect_format(str(path)) is None:
        return
    try:
        slide = openslide.OpenSlide(str(path))
    except openslide.OpenSlideError as error:
        raise SlideFormatError(f"slide {path.name}: OpenSlide cannot open it: {error}") from error
    with closing(slide):
        for name in slide.associated_images:
            if name not in HARMLESS_IMAGES:
                size = slide.properties.get(f"openslide.associated.{name}.width", "?")
                height = slide.properties.get(f"openslide.associated.{name}.height", "?")
                yield RiskyField("image", f"{name} image", "OpenSlide", f"{size} × {height} px")
        for key, value in slide.properties.items():
            vendor, _, name = key.partition(".")
            if vendor != "openslide" and is_risky(vendor, name):
                yield from _text_field(key, value, "OpenSlide")


def _found_in_tiff(path: Path) -> Iterator[RiskyField]:
    try:
        tiff = tifffile.TiffFile(path)
    except tifffile.TiffFileError:
        return
    with tiff:
        for number, series_page in enumerate(tiff.pages):
            page = series_page.aspage()
            for one in (page, *(sub.aspage() for sub in page.pages or ())):
                yield from _found_in_page(one, f"page {number}", is_ndpi=tiff.is_ndpi)


def _found_in_page(page: tifffile.TiffPage, where: str, *, is_ndpi: bool) -> Iterator[RiskyField]:
    tags = RISKY_TAGS | (RISKY_NDPI_TAGS if is_ndpi else {})
    for code, name in tags.items():
        if code in page.tags:
            vendor = "hamamatsu" if code in RISKY_NDPI_TAGS else "tiff"
            yield from _text_field(f"{vendor}.{name}", str(page.tags[code].value), where)
    text = _text(page, _DESCRIPTION)
    named = _NAMED_IMAGE.search(text) or _NAMED_IMAGE.search(_text(page, 285))
    size = f"{page.imagewidth} × {page.imagelength} px"
    if named:
        yield RiskyField("image", f"{named[1].lower()} image", where, size)
    if is_ndpi and page.tags.valueof(_SOURCE_LENS) == _MACRO_LENS:
        yield RiskyField("image", "macro image", where, size)
    yield from _found_in_text(text, where, is_image=named is not None)
    yield from _found_in_text(_text(page, _XMP), where, is_image=False)


def _text(page: tifffile.TiffPage, code: int) -> str:
    value = page.tags.valueof(code, "")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _found_in_text(text: str, where: str, *, is_image: bool) -> Iterator[RiskyField]:
    text = text.strip("\ufeff\0 \t\r\n")
    if text.startswith("Aperio"):
        for item in text.split("|")[1:]:
            name, _, value = item.partition("=")
            if is_risky("aperio", name.strip()):
                yield from _text_field(f"aperio.{name.strip()}", value, where)
    elif text.startswith("<"):
        yield from _found_in_xml(text, where)
    elif not is_image and not _HARMLESS_TEXT.match(text):
        yield from _text_field("tiff.ImageDescription (free text)", text, where)


def _found_in_xml(text: str, where: str) -> Iterator[RiskyField]:
    try:
        root = fromstring(re.sub(r"^<\?xml[^>]*\?>", "", text))  # the text is decoded, whatever its head says
    except (ParseError, DefusedXmlException):
        yield from _text_field("XML that cannot be parsed", text, where)
        return
    vendor = _VENDOR_OF_XML.get(_local(root.tag), "ventana")
    for element in root.iter():
        name = element.get("Name", "") if vendor == "philips" else _local(element.tag)
        value = element.text or ""
        if name == "PIM_DP_IMAGE_TYPE" and value.strip() in _PHILIPS_IMAGES:
            yield RiskyField(
                "image", f"{_PHILIPS_IMAGES[value.strip()]} image", f"XML of {where}", "embedded"
            )
        elif is_risky(vendor, name):
            yield from _text_field(f"{vendor}.{name}", value, f"XML of {where}")
        for attribute, content in element.attrib.items():
            if vendor != "philips" and is_risky(vendor, _local(attribute)):
                yield from _text_field(f"{vendor}.{_local(attribute)}", content, f"XML of {where}")


def _local(name: str) -> str:
    """Name without its namespace."""
    return name.rpartition("}")[2]
