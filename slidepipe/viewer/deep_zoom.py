"""A slide as a Deep Zoom image: squares at every power of two, drawn when they are asked for.

Level 0 of Deep Zoom is a single pixel and the last level is the slide's level 0; each level is twice as large as the
one before, rounded up. Slides keep fewer levels, and some only one. Squares far from the slide's own levels would
have to be averaged from hundreds of millions of pixels each; those are cut from the run's picture of the whole slide,
coarse as it is, where there is one.

The format: https://learn.microsoft.com/previous-versions/windows/silverlight/dotnet-windows-silverlight/cc645077(v=vs.95)
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from slidepipe.geometry import ceil_div
from slidepipe.slides.reader import SlideInfo, SlideReader
from slidepipe.slides.resample import read_scaled

TILE_PX = 512
"""Side of a square: one tile of most slides, and few enough requests to fill a screen."""

MOST_SOURCE_PX = 4096**2
"""Most pixels that are read for one square: a second or two of decoding."""

_QUALITY = 85


@dataclass(frozen=True, slots=True)
class DeepZoom:
    """The levels and squares of an image."""

    size_px0: tuple[int, int]
    """Width and height of the image."""

    @property
    def last_level(self) -> int:
        """Number of the level that is the image itself."""
        return (max(self.size_px0) - 1).bit_length()

    def factor(self, level: int) -> int:
        """Return how many pixels of the image one of a level spans.

        Parameters
        ----------
        level
            0 to `last_level`.

        Returns
        -------
        int
            A power of two.
        """
        return 1 << (self.last_level - level)

    def box(self, level: int, column: int, row: int) -> tuple[int, int, int, int] | None:
        """Place a square on its level.

        Parameters
        ----------
        level, column, row
            Numbers of the level and the square.

        Returns
        -------
        tuple of int or None
            Left, top, width and height in pixels of the level; smaller at the right and lower edge. None if there is
            no such square.
        """
        if not 0 <= level <= self.last_level or column < 0 or row < 0:
            return None
        width, height = (ceil_div(side, self.factor(level)) for side in self.size_px0)
        left, top = column * TILE_PX, row * TILE_PX
        if left >= width or top >= height:
            return None
        return left, top, min(TILE_PX, width - left), min(TILE_PX, height - top)

    def descriptor(self) -> str:
        """Return the XML that tells a viewer all this."""
        width, height = self.size_px0
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
            f'Format="jpeg" Overlap="0" TileSize="{TILE_PX}"><Size Width="{width}" Height="{height}"/></Image>\n'
        )


def is_too_coarse(info: SlideInfo, factor: int) -> bool:
    """Tell whether one square of a level would take too many pixels of the slide.

    Parameters
    ----------
    info
        The slide.
    factor
        Level-0 pixels per pixel of the square.

    Returns
    -------
    bool
        Whether more than `MOST_SOURCE_PX` pixels of the slide's best level lie under it.
    """
    source = max((level for level in info.levels if level.factor <= factor), key=lambda level: level.factor)
    sides = (min(side, TILE_PX * factor / source.factor) for side in source.size_px)
    width, height = sides
    return width * height > MOST_SOURCE_PX


def draw_tile(
    reader: SlideReader, square: tuple[int, int, int], overview: Image.Image | None
) -> bytes | None:
    """Draw one square of a slide.

    Parameters
    ----------
    reader
        The slide.
    square
        Level, column and row.
    overview
        Picture of the whole slide, for levels that the slide's own are too far from.

    Returns
    -------
    bytes or None
        A JPEG without metadata; white beyond the slide's edge. None if there is no such square.

    Raises
    ------
    RegionReadError
        If the slide is damaged here.
    """
    zoom = DeepZoom(reader.info.size_px0)
    box = zoom.box(*square)
    if box is None:
        return None
    left, top, width, height = box
    factor = zoom.factor(square[0])
    if overview is not None and is_too_coarse(reader.info, factor):
        across, down = (
            small / large for small, large in zip(overview.size, reader.info.size_px0, strict=True)
        )
        part = (
            left * factor * across,
            top * factor * down,
            min((left + width) * factor * across, overview.width),
            min((top + height) * factor * down, overview.height),
        )
        image = overview.resize((width, height), Image.Resampling.BILINEAR, box=part)
    else:
        image = Image.fromarray(read_scaled(reader, (left, top), (width, height), (factor, factor)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
