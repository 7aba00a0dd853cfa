"""Files whose directories no library should be sent into are refused before one is."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
import tifffile

from slidepipe.errors import SlideFormatError
from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.risky_fields import find_risky_fields
from slidepipe.slides.tiff_directories import MOST_DIRECTORIES, check_directories

_SIDES = (256, 257, 322, 323)


def classic(
    directories: list[list[tuple[int, int, int, int]]], *, last_link: int = 0, order: str = "<"
) -> bytes:
    """A TIFF file of directories that follow the header and each other."""
    content = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    for number, tags in enumerate(directories, start=1):
        content += struct.pack(f"{order}H", len(tags))
        content += b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags)
        following = len(content) + 4 if number < len(directories) else last_link
        content += struct.pack(f"{order}I", following)
    return content


def tiled(width: int, height: int, n_tiles: int) -> list[tuple[int, int, int, int]]:
    """Tags of a directory with tiles of 256 px."""
    sides = [(code, 4, 1, side) for code, side in zip(_SIDES, (width, height, 256, 256), strict=True)]
    return [*sides, (324, 4, n_tiles, 8)]


def refused(content: bytes, match: str) -> None:
    with pytest.raises(SlideFormatError, match=match):
        check_directories(io.BytesIO(content), "a")


@pytest.mark.parametrize("target", [8, 26])
def test_a_circle_of_directories_is_refused(target: int):
    two = [[(256, 4, 1, 5)], [(256, 4, 1, 5)]]
    refused(
        classic(two, last_link=target), f"slide a: the TIFF directory at byte {target} comes again after 2"
    )


def test_more_directories_than_any_slide_has_are_refused():
    refused(classic([[]] * (MOST_DIRECTORIES + 1)), "more than 4096 directories")
    check_directories(io.BytesIO(classic([[]] * 5)), "a")


def test_tags_longer_than_the_file_are_refused_and_values_outside_of_it_are_left_to_others():
    many = [(700 + number, 1, 900, 8) for number in range(200)]
    refused(classic([many]), "hold 180000 bytes, more than the 2414 of the file")
    check_directories(io.BytesIO(classic([[(700, 1, 2**31, 8)]])), "a")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_size_without_tiles_to_fill_it_is_refused(order: str):
    room = b"\0" * 64
    check_directories(io.BytesIO(classic([tiled(512, 300, 4)], order=order) + room), "a")
    refused(classic([tiled(512, 2**20, 4)], order=order) + room, "8192 tiles, and the file lists 4")
    refused(
        classic([[*tiled(512, 300, 4)[:3], (323, 4, 1, 0), (324, 4, 4, 8)]], order=order) + room, "256 × 0 px"
    )


def test_short_numbers_are_read_in_both_byte_orders():
    for order, value in (("<", 512), (">", 512 << 16)):
        short = [(256, 3, 1, value), *tiled(0, 2**20, 4)[1:]]
        refused(classic([short], order=order) + b"\0" * 64, "512 × 1048576 px")


@pytest.mark.parametrize(
    "content", [b"", b"II", b"PK\3\4 no TIFF file", b"II*\0\xff\xff\xff\xff", classic([[]])[:-2]]
)
def test_what_is_no_whole_tiff_file_is_left_to_others(content: bytes):
    check_directories(io.BytesIO(content), "a")


def test_big_tiff_is_followed(tmp_path: Path):
    path = tmp_path / "big.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for _ in range(3):
            file.write(shape=(64, 64), dtype="uint8", data=iter([b"\0" * 4096]), tile=(64, 64))
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[2].aspage()
        link = last.offset + 8 + 20 * len(last.tags)
    content = bytearray(path.read_bytes())
    check_directories(io.BytesIO(content), "a")
    struct.pack_into("<Q", content, link, first)
    refused(bytes(content), "comes again after 3")


def test_slides_and_patient_checks_refuse_a_circle(tmp_path: Path):
    path = tmp_path / "a.tif"
    path.write_bytes(classic([tiled(256, 256, 1)], last_link=8) + b"\0" * 64)
    for reader in ("auto", "openslide", "tiffslide", "tiff"):
        with pytest.raises(SlideFormatError, match="comes again"):
            open_slide(SlideSource("a", str(path), reader))
    with pytest.raises(SlideFormatError, match="comes again"):
        find_risky_fields(SlideSource("a", str(path)))
