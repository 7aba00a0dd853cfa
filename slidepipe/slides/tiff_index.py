"""Where the JPEG tiles of a TIFF slide lie in the file, read once.

A tile is found by two numbers, its offset and its length; a length of zero says that the scanner saw nothing there.
Tiles are abbreviated JPEG streams: the quantisation and Huffman tables that all of them share stand once, in a tag of
the page. What the three components mean is told by the page as well, and the page is right where a marker inside the
stream says otherwise: Aperio writes RGB without any marker, which a decoder left to itself takes for YCbCr.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from slidepipe.errors import SlideFormatError
from slidepipe.geometry import ceil_div
from slidepipe.slides.levels import pyramid
from slidepipe.slides.reader import SlideLevel
from slidepipe.slides.tiff_metadata import TiffFacts, read_tiff_facts
from slidepipe.storage.locations import as_remote

ColourSpace = Literal["YCBCR", "RGB", "GRAYSCALE"]
"""What the components of a tile's JPEG stream mean, in the words of imagecodecs."""

_COLOUR_SPACES: dict[tuple[int, int], ColourSpace] = {(6, 3): "YCBCR", (2, 3): "RGB", (1, 1): "GRAYSCALE"}
_JPEG = 7
_REDUCED_IMAGE = 1


@dataclass(frozen=True, slots=True, eq=False)
class JpegLevel:
    """The tiles of one level."""

    size_px: tuple[int, int]
    """Width and height without padding."""
    factor: float
    """Level-0 pixels per pixel."""
    tile_px: tuple[int, int]
    """Width and height of every tile; those at the right and bottom edge are padded to it."""
    offsets: NDArray[np.int64]
    """Position of each tile in the file, shape (tile rows, tile columns)."""
    byte_counts: NDArray[np.int64]
    """Length of each tile, same shape; 0 where the file has none."""
    tables: bytes | None
    """JPEG tables shared by all tiles; None where each tile has its own."""
    colour_space: ColourSpace
    """What the components mean, whatever markers in the stream say."""

    @property
    def components(self) -> int:
        """Number of components."""
        return 1 if self.colour_space == "GRAYSCALE" else 3


@dataclass(frozen=True, slots=True, eq=False)
class TiffIndex:
    """All levels of a TIFF slide."""

    facts: TiffFacts
    """What the file says besides."""
    levels: tuple[JpegLevel, ...]
    """Sharpest first."""


def read_tiff_index(path: Path, slide_id: str) -> TiffIndex:
    """Read where the tiles of a slide lie.

    Parameters
    ----------
    path
        A TIFF file, on a disk or in an object store.
    slide_id
        Named in messages.

    Returns
    -------
    TiffIndex
        Its levels, their factors exact: 2^level in Philips files, whose levels are cropped to the size of level 0
        divided by it and rounded down; see `slidepipe.slides.levels.pyramid` for the others.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ObjectStoreError
        If the object store cannot be reached, or refuses.
    SlideFormatError
        If it is not a TIFF file, or a level is not stored in JPEG tiles of 8-bit RGB, YCbCr or grey.
    """
    try:
        with _opened(path) as name_or_file, tifffile.TiffFile(name_or_file) as file:
            first = file.pages.first
            facts = read_tiff_facts(first)
            pages = _level_pages([page.aspage() for page in file.pages], facts.vendor)
            if not pages:
                raise SlideFormatError(f"slide {slide_id}: the TIFF file is not tiled, as slides are")
            geometry = _geometry(slide_id, pages, facts.vendor)
            return TiffIndex(
                facts,
                tuple(
                    _jpeg_level(slide_id, page, level) for page, level in zip(pages, geometry, strict=True)
                ),
            )
    except SlideFormatError:
        raise
    except (
        tifffile.TiffFileError,
        struct.error,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        raise SlideFormatError(f"slide {slide_id}: not a TIFF file that can be read: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Path | IO[bytes]]:
    """Give what tifffile opens: a name, or for an object store, whose names it does not know, an open file."""
    if as_remote(path) is None:
        yield path
        return
    with path.open("rb") as file:
        yield file


def _level_pages(pages: list[tifffile.TiffPage], vendor: str) -> list[tifffile.TiffPage]:
    """Pages that are levels: the first tiled one and its reduced versions, not the label nor the overview."""
    tiled = [page for page in pages if page.is_tiled]
    if vendor == "philips":
        return [page for page in tiled if not page.description.startswith(("Macro", "Label"))]
    if vendor == "aperio":
        return tiled
    return [page for index, page in enumerate(tiled) if index == 0 or page.subfiletype & _REDUCED_IMAGE]


def _geometry(slide_id: str, pages: list[tifffile.TiffPage], vendor: str) -> tuple[SlideLevel, ...]:
    stored = [(page.imagewidth, page.imagelength) for page in pages]
    if vendor != "philips":
        return pyramid(slide_id, stored)
    levels = []
    for number, (page, size) in enumerate(zip(pages, stored, strict=True)):
        width, height = stored[0][0] >> number, stored[0][1] >> number
        padding = size[0] - width, size[1] - height
        if min(width, height) < 1 or not (
            0 <= padding[0] < page.tilewidth and 0 <= padding[1] < page.tilelength
        ):
            raise SlideFormatError(
                f"slide {slide_id}: level {number} of the Philips file is stored as {size[0]} × {size[1]} px, which is "
                f"not {width} × {height} px and less than one tile of padding"
            )
        levels.append(SlideLevel((width, height), float(2**number)))
    return tuple(levels)


def _jpeg_level(slide_id: str, page: tifffile.TiffPage, level: SlideLevel) -> JpegLevel:
    colour_space = _COLOUR_SPACES.get((int(page.photometric), page.samplesperpixel))
    is_usable = colour_space and page.bitspersample == 8 and page.planarconfig == 1 and page.imagedepth == 1
    if page.compression != _JPEG or colour_space is None or not is_usable:
        raise SlideFormatError(
            f"slide {slide_id}: the TIFF reader reads JPEG tiles of 8-bit RGB, YCbCr or grey; this file has "
            f"compression {_name(page.compression)}, colours {_name(page.photometric)}, {page.samplesperpixel} × "
            f"{page.bitspersample} bits: use the reader openslide or tiffslide"
        )
    if min(page.tilewidth, page.tilelength) < 1:
        raise SlideFormatError(
            f"slide {slide_id}: the file has tiles of {page.tilewidth} × {page.tilelength} px: it is damaged"
        )
    shape = (ceil_div(page.imagelength, page.tilelength), ceil_div(page.imagewidth, page.tilewidth))
    offsets = np.array(page.dataoffsets, dtype=np.int64)
    byte_counts = np.array(page.databytecounts, dtype=np.int64)
    if len(offsets) != shape[0] * shape[1] or len(byte_counts) != len(offsets):
        raise SlideFormatError(
            f"slide {slide_id}: a level of {shape[0]} × {shape[1]} tiles lists {len(offsets)} tile offsets and "
            f"{len(byte_counts)} tile lengths"
        )
    byte_counts[offsets == 0] = 0
    return JpegLevel(
        size_px=level.size_px,
        factor=level.factor,
        tile_px=(page.tilewidth, page.tilelength),
        offsets=offsets.reshape(shape),
        byte_counts=byte_counts.reshape(shape),
        tables=page.jpegtables,
        colour_space=colour_space,
    )


def _name(value: object) -> str:
    return str(getattr(value, "name", value))
