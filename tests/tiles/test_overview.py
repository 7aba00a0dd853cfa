"""Overviews show what will be cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from slidepipe.geometry import PixelSize
from slidepipe.tiles.grid import TileSettings, plan_tile_grid
from slidepipe.tiles.overview import write_overviews
from slidepipe.tiles.tissue import TissueSettings, detect_tissue

from .conftest import MPP, PictureReader, draw_tissue


def _pictures(folder: Path, reader: PictureReader, **settings: int) -> tuple[np.ndarray, np.ndarray]:
    mask = detect_tissue(reader, TissueSettings())
    grid = plan_tile_grid(reader.info, mask, TileSettings(**settings))  # type: ignore[arg-type]
    write_overviews(reader, mask, grid, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["picture.jpg", "picture_thumbnail.jpg"]
    with Image.open(folder / "picture.jpg") as marked, Image.open(folder / "picture_thumbnail.jpg") as plain:
        assert marked.format == plain.format == "JPEG"
        assert marked.size == plain.size
        return np.asarray(marked).astype(int), np.asarray(plain).astype(int)


def _is_green(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 1] - picture[..., 0] > 40) & (picture[..., 1] - picture[..., 2] > 20)


def test_the_outline_of_the_tissue_and_the_tiles_are_drawn(tmp_path: Path) -> None:
    marked, plain = _pictures(tmp_path / "new", PictureReader(draw_tissue(), MPP), tile_px=64, shard_tiles=4)
    assert max(plain.shape) <= 1024
    assert max(plain.shape) > 1000
    assert not _is_green(plain).any()
    scale = 1300 / plain.shape[1]
    rows, columns = np.nonzero(_is_green(marked))
    radius = np.hypot(columns * scale - 420, rows * scale - 400)
    on_disc = columns * scale < 750
    assert on_disc.sum() > 500
    assert np.abs(radius[on_disc] - 260).max() < 25
    middle = marked[int(420 / scale) - 40 : int(420 / scale) + 40, int(420 / scale)]
    assert (np.abs(np.diff(middle.sum(axis=1))) > 60).any()


def test_small_slides_are_not_enlarged_and_pixels_need_not_be_square(tmp_path: Path) -> None:
    reader = PictureReader(draw_tissue()[:500, :600], MPP)
    reader._info = replace(reader.info, pixel_size=PixelSize(2.0, 2.5))
    marked, _ = _pictures(tmp_path, reader, tile_px=128)
    assert marked.shape[1] <= 600


def test_tiles_too_small_to_see_leave_the_picture_visible(tmp_path: Path) -> None:
    marked, plain = _pictures(tmp_path, PictureReader(draw_tissue(), MPP), tile_px=16, shard_tiles=64)
    fine = np.abs(marked - plain).max(axis=2) > 60
    assert fine.mean() < 0.5


def test_a_slide_without_tissue_has_pictures_too(tmp_path: Path) -> None:
    reader = PictureReader(np.full((300, 400, 3), 244, np.uint8), 2.0)
    marked, plain = _pictures(tmp_path, reader)
    np.testing.assert_array_equal(marked, plain)
