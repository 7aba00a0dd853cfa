"""Label images, names, dates and numbers are found in every format, and their values are never shown."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from rich.console import Console

from slidepipe.errors import SlideFormatError
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.risky_fields import RiskyField, find_risky_fields, print_risky_fields
from slidepipe.slides.risky_names import RISKY_NAMES, file_name_hint, is_risky
from slidepipe.slides.slide_writer import write_slide

_VALUE = "Planted^Value"


def _find(path: Path) -> list[RiskyField]:
    fields = find_risky_fields(SlideSource("s", str(path)))
    assert _VALUE not in repr(fields)
    return fields


def _names(path: Path) -> list[str]:
    return [field.name for field in _find(path)]


@pytest.fixture
def write_page(tmp_path: Path) -> Callable[..., Path]:
    """Write a small TIFF file with one page per set of options."""

    def write(*pages: dict[str, Any], name: str = "slide.tif") -> Path:
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            for options in pages:
                tiff.write(np.full((64, 48, 3), 200, np.uint8), photometric="rgb", metadata=None, **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize("container", ["asap", "philips"])
def test_a_slide_with_nothing_in_it_is_clean(tmp_path: Path, container: Any) -> None:
    write_slide(tmp_path / "tumor_001.tif", np.full((600, 700, 3), 240, np.uint8), container, 0.25)
    assert _find(tmp_path / "tumor_001.tif") == []


def test_tags_of_any_tiff_file_are_found(write_page: Callable[..., Path]) -> None:
    texts = [(269, "DocumentName"), (315, "Artist"), (316, "HostComputer"), (33432, "Copyright")]
    tags = [(code, "s", 0, _VALUE, True) for code, _ in texts]
    fields = _find(write_page({"extratags": tags, "datetime": "2015:03:04 05:06:07"}))
    assert sorted(field.name for field in fields) == sorted(
        ["tiff.DateTime", *(f"tiff.{name}" for _, name in texts)]
    )
    assert {field.extent for field in fields if field.name != "tiff.DateTime"} == {
        f"{len(_VALUE)} characters"
    }


def test_empty_fields_are_not_found(write_page: Callable[..., Path]) -> None:
    assert _names(write_page({"extratags": [(315, "s", 0, " ", True)]})) == []


@pytest.mark.parametrize("name", ["Filename", "Title", "ImageID", "User", "Date", "Time", "Time Zone", "Slide",
                                  "Barcode", "Rack", "ScanScope ID", "DSR ID", "Patient Name"])  # fmt: skip
def test_items_of_an_aperio_description_are_found(write_page: Callable[..., Path], name: str) -> None:
    description = (
        f"Aperio Image Library v1\r\n48x64|AppMag = 20|{name} = {_VALUE}|MPP = 0.5|Exposure Time = 45"
    )
    assert _names(write_page({"description": description})) == [f"aperio.{name}"]


def test_label_and_macro_pages_are_found_by_what_they_say(write_page: Callable[..., Path]) -> None:
    path = write_page(
        {"description": "Aperio Image Library v1\r\n48x64|MPP = 0.5"},
        {"description": "Aperio Image Library v1\r\nlabel 48x64"},
        {"description": "Macro -offset=(0,0)"},
    )
    assert [(field.kind, field.name, field.where) for field in _find(path)] == [
        ("image", "label image", "page 1"),
        ("image", "macro image", "page 2"),
    ]


def test_a_philips_description_tells_of_images_and_fields_inside_it(write_page: Callable[..., Path]) -> None:
    def attribute(name: str, value: str) -> str:
        return f'<Attribute Name="{name}" Group="0x1" Element="0x1" PMSVR="IString">{value}</Attribute>'

    image = '<DataObject ObjectType="DPScannedImage">{}</DataObject>'
    inside = attribute("PIM_DP_IMAGE_TYPE", "LABELIMAGE") + attribute("PIM_DP_IMAGE_DATA", "QUJD")
    fields = (
        attribute("PIM_DP_UFS_BARCODE", _VALUE)
        + attribute("DICOM_ACQUISITION_DATETIME", "20150304")
        + attribute("DICOM_DEVICE_SERIAL_NUMBER", "")
        + attribute("DICOM_MANUFACTURER", "PHILIPS")
    )
    content = fields + image.format(inside)
    xml = (
        f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{content}</DataObject>'
    )
    assert _names(write_page({"description": xml})) == [
        "label image",
        "philips.PIM_DP_UFS_BARCODE",
        "philips.DICOM_ACQUISITION_DATETIME",
    ]


def test_ome_xml_tells_of_people_and_files(write_page: Callable[..., Path]) -> None:
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Experimenter ID="E:0" LastName="{_VALUE}"/><Image ID="I:0"><AcquisitionDate>2015-03-04</AcquisitionDate>'
        f'<Pixels><TiffData><UUID FileName="{_VALUE}">u</UUID></TiffData></Pixels></Image></OME>'
    )
    assert sorted(_names(write_page({"description": xml}))) == [
        "ome.AcquisitionDate",
        "ome.FileName",
        "ome.LastName",
    ]


def test_a_text_that_follows_no_format_is_found(write_page: Callable[..., Path]) -> None:
    assert _names(write_page({"description": f"patient {_VALUE}"})) == ["tiff.ImageDescription (free text)"]
    assert _names(write_page({"description": f"<broken>{_VALUE}"})) == ["XML that cannot be parsed"]


def test_a_field_on_several_pages_is_one_field(write_page: Callable[..., Path]) -> None:
    page = {"extratags": [(315, "s", 0, _VALUE, True)]}
    assert [(one.name, one.where) for one in _find(write_page(page, page))] == [
        ("tiff.Artist", "page 0, page 1")
    ]


def test_real_slides_are_read_through_openslide(shared_data: Path) -> None:
    aperio = _find(shared_data / "slides" / "CMU-1-Small-Region.svs")
    assert [(one.name, one.extent) for one in aperio if one.kind == "image"] == [
        ("label image", "387 × 463 px"), ("macro image", "1280 × 431 px"),
    ]  # fmt: skip
    assert {"aperio.Date", "aperio.User", "aperio.ScanScope ID"} <= {one.name for one in aperio}
    philips = _names(shared_data / "slides" / "tumor_072_level7_philips.tif")
    assert philips == ["philips.PIM_DP_SOURCE_FILE", "philips.PIM_DP_UFS_BARCODE"]
    assert "dicom.StudyDate" in _names(shared_data / "slides" / "boxes_0.dcm")
    assert _names(shared_data / "slides" / "boxes.tiff") == []


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("hamamatsu", "NDP.S/N"), ("hamamatsu", "Reference"), ("mirax", "GENERAL.SLIDE_NAME"),
        ("ventana", "Barcode1D"), ("leica", "creation-date"), ("dicom", "PatientName"),
        ("dicom", "SpecimenDescriptionSequence[0].SpecimenIdentifier"), ("unheard-of", "Patient ID"),
        ("zeiss", "Information.Image.AcquisitionDateAndTime"), ("tiff", "Artist"),
    ],
)  # fmt: skip
def test_risky_names_are_known_in_every_format(vendor: str, name: str) -> None:
    assert is_risky(vendor, name)


@pytest.mark.parametrize(
    ("vendor", "name"),
    [("aperio", "MPP"), ("aperio", "Exposure Time"), ("hamamatsu", "SourceLens"), ("tiff", "XResolution"),
     ("philips", "DICOM_PIXEL_SPACING"), ("dicom", "Rows"), ("mirax", "GENERAL.IMAGENUMBER_X")],
)  # fmt: skip
def test_what_says_nothing_of_people_is_not_risky(vendor: str, name: str) -> None:
    assert not is_risky(vendor, name)


def test_names_are_compared_in_folded_case() -> None:
    assert all(name == name.casefold() for names in RISKY_NAMES.values() for name in names)


@pytest.mark.parametrize(
    ("name", "what"),
    [("scan_2015-03-04.svs", "a date"), ("20150304.tif", "a date"), ("S15-12345 A1.svs", "an accession number"),
     ("4711081512.svs", "a long number"), ("Doe, Jane.svs", "a name with a comma")],
)  # fmt: skip
def test_a_file_name_that_tells_is_pointed_out(name: str, what: str) -> None:
    assert file_name_hint(name) == what


@pytest.mark.parametrize("name", ["tumor_001.tif", "test_114.tif", "CMU-1-Small-Region.svs", "patient_017_node_2.tif",
                                  "TCGA-CR-7395-01A-01-TS1.9b5a2a1e-5b1c-4b7f-9d0a-1234567890ab.svs"])  # fmt: skip
def test_a_pseudonym_is_not(name: str) -> None:
    assert file_name_hint(name) is None


def _printed(*paths: Path) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    found = print_risky_fields([str(path) for path in paths], console)
    assert isinstance(console.file, io.StringIO)
    return found, console.file.getvalue()


def test_what_is_found_is_printed_without_the_values(write_page: Callable[..., Path]) -> None:
    risky = write_page({"extratags": [(315, "s", 0, _VALUE, True)]}, name="[red].tif")
    clean = write_page({}, name="clean.tif")
    found, text = _printed(clean, risky)
    assert found
    assert "✓ clean.tif: nothing found" in text
    assert "! [red].tif: 1 found" in text
    assert (
        "tiff.Artist: 13 characters (OpenSlide, page 0)" in text
        or "tiff.Artist: 13 characters (page 0)" in text
    )
    assert _VALUE not in text
    assert "1 of 2 files are conspicuous. Values are not shown." in text
    assert _printed(clean)[0] is False


def test_a_file_that_cannot_be_looked_at_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "notes.svs").write_text("no slide", encoding="utf-8")
    with pytest.raises(SlideFormatError, match="nothing can be said"):
        find_risky_fields(SlideSource("notes", str(tmp_path / "notes.svs")))
    with pytest.raises(FileNotFoundError):
        find_risky_fields(SlideSource("none", str(tmp_path / "none.svs")))
    with pytest.raises(SlideFormatError, match="URL"):
        find_risky_fields(SlideSource("far", "s3://bucket/far.svs"))
    found, text = _printed(tmp_path / "notes.svs", tmp_path / "none.svs")
    assert found
    assert "2 of 2 files are conspicuous" in text
