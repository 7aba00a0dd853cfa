"""Overviews of damaged slides show what is whole and remember what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from slidepipe.errors import RegionReadError
from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.tiles.tolerant_reader import TolerantReader

from .conftest import MPP, draw_tissue


@pytest.fixture
def slide(tmp_path: Path) -> SlideSource:
    """A slide with one level in tiles of 256 px, 6 across and 5 down."""
    path = tmp_path / "single.tif"
    tifffile.imwrite(
        path, draw_tissue(), tile=(256, 256), compression="jpeg", photometric="rgb", metadata=None
    )
    return SlideSource("single", str(path), "tiff", MPP)


def _damage(slide: SlideSource, tiles: list[int]) -> None:
    with tifffile.TiffFile(slide.path) as tiff:
        offsets = [tiff.pages.first.dataoffsets[tile] for tile in tiles]
    with Path(slide.path).open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(bytes(100))


def test_a_whole_slide_reads_as_ever(slide: SlideSource) -> None:
    with TolerantReader(slide) as tolerant, open_slide(slide) as plain:
        window = (-20, 300), 0, (900, 500)
        np.testing.assert_array_equal(tolerant.read_region(*window), plain.read_region(*window))
        assert tolerant.info == plain.info
        assert tolerant.damaged_px0 == ()


def test_damage_is_white_and_remembered_and_everything_else_is_read(slide: SlideSource) -> None:
    with open_slide(slide) as plain:
        expected = plain.read_region((0, 0), 0, (1300, 1100))
    _damage(slide, [8])  # second row, third column
    with TolerantReader(slide) as tolerant:
        picture = tolerant.read_region((0, 0), 0, (1300, 1100))
    damaged = np.zeros((1100, 1300), bool)
    for left, top, right, bottom in tolerant.damaged_px0:
        damaged[top:bottom, left:right] = True
    assert damaged[256:512, 512:768].all()
    assert damaged.sum() < 9 * 256 * 256
    assert (picture[damaged] == 255).all()
    np.testing.assert_array_equal(picture[~damaged], expected[~damaged])


def test_a_slide_in_ruins_is_given_up(slide: SlideSource) -> None:
    _damage(slide, list(range(30)))
    with TolerantReader(slide) as tolerant:

        def read_piece_by_piece() -> None:
            for left in range(0, 1300, 50):
                for top in range(0, 1100, 50):
                    tolerant.read_region((left, top), 0, (50, 50))

        with pytest.raises(RegionReadError, match="more than 256 pieces"):
            read_piece_by_piece()
