"""Pictures of a slide for a person who checks what will be cut: the outline of the tissue, and the tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from slidepipe.geometry import Scale
from slidepipe.slides.reader import SlideReader
from slidepipe.slides.resample import read_overview
from slidepipe.storage.publish import atomic_path
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.tissue import TissueMask

_LONGEST_PX = 1024
_QUALITY = 85
_TILE_COLOUR = (0, 0, 0, 70)
_SHARD_COLOUR = (0, 70, 160, 200)
_OUTLINE_COLOUR = (0, 150, 60)
_SMALLEST_TILE_PX = 4
"""Tiles that are smaller than this on the picture are not drawn one by one: there would be nothing else to
see."""


def write_overviews(reader: SlideReader, mask: TissueMask, grid: TileGrid, folder: Path) -> None:
    """Write two JPEG pictures of a slide, at most 1024 px wide and high.

    ``<slide_id>.jpg`` shows the outline of the tissue in green, the tiles to be stored as a light grid and
    shards in blue; ``<slide_id>_thumbnail.jpg`` shows the slide as it is.

    Parameters
    ----------
    reader
        The slide, open.
    mask
        Where it has tissue.
    grid
        The tiles to be stored.
    folder
        Where the pictures go; made if missing.

    Raises
    ------
    RegionReadError
        If the slide cannot be read.
    OSError
        If the pictures cannot be written.
    """
    info = reader.info
    width_um, height_um = info.size_px0[0] * info.pixel_size.x_um, info.size_px0[1] * info.pixel_size.y_um
    finest = max(info.pixel_size.x_um, info.pixel_size.y_um)
    rgb, scale = read_overview(reader, max(finest, max(width_um, height_um) / (_LONGEST_PX - 1)))
    _save(Image.fromarray(rgb), folder / f"{info.slide_id}_thumbnail.jpg")
    picture = _draw_grid(Image.fromarray(rgb), grid, scale)
    marked = np.array(picture)
    marked[_outline(mask, rgb.shape[:2], scale)] = _OUTLINE_COLOUR
    _save(Image.fromarray(marked), folder / f"{info.slide_id}.jpg")


def _outline(mask: TissueMask, shape: tuple[int, ...], scale: Scale) -> NDArray[np.bool_]:
    rows, columns = (
        np.minimum((np.arange(length) + 0.5) * s / m, limit - 1).astype(np.int64)
        for length, s, m, limit in zip(shape, scale[::-1], mask.scale_px0[::-1], mask.mask.shape, strict=True)
    )
    tissue = mask.mask[np.ix_(rows, columns)]
    return np.asarray(ndimage.binary_dilation(tissue) & ~ndimage.binary_erosion(tissue, border_value=1))


def _draw_grid(picture: Image.Image, grid: TileGrid, scale: Scale) -> Image.Image:
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    step = (grid.tile_px * grid.scale_px0[0] / scale[0], grid.tile_px * grid.scale_px0[1] / scale[1])
    if min(step) >= _SMALLEST_TILE_PX:
        for row, column in np.argwhere(grid.is_tissue):
            draw.rectangle(_box(row, column, step, 1), outline=_TILE_COLOUR)
    for block in grid.blocks:
        draw.rectangle(_box(*grid.shard_of(block), step, grid.shard_tiles), outline=_SHARD_COLOUR, width=2)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _box(row: int, column: int, step: tuple[float, float], tiles: int) -> tuple[float, float, float, float]:
    left, top = column * tiles * step[0], row * tiles * step[1]
    return left, top, left + tiles * step[0], top + tiles * step[1]


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="JPEG", quality=_QUALITY)
