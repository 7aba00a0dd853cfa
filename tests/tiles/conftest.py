"""Slides drawn on the disk for the tests of this room, and readers of pictures in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.geometry import PixelSize
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import ReaderName, SlideInfo, SlideLevel, SlideSource
from slidepipe.slides.slide_writer import write_slide
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.tiling import TileJob
from slidepipe.tiles.tissue import TissueSettings

GLASS = (243, 241, 244)
MPP = 2.0


def draw_tissue() -> NDArray[np.uint8]:
    """Draw two pieces of stained tissue, a disc and a bar, on glass: 1300 × 1100 px, to be changed at will."""
    return _tissue().copy()


@cache
def _tissue() -> NDArray[np.uint8]:
    width, height = 1300, 1100
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:height, 0:width]
    tissue = ((x - 420) ** 2 + (y - 400) ** 2 < 260**2) | ((abs(x - 980) < 90) & (abs(y - 640) < 330))
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GLASS
    pixels[tissue] = (190, 110, 170)
    coarse = random.integers(-25, 25, (height // 4 + 1, width // 4 + 1, 3)).repeat(4, 0).repeat(4, 1)
    noise = np.where(tissue[..., None], coarse[:height, :width], random.integers(-3, 4, pixels.shape))
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


class PictureReader:
    """A slide with one level in memory; see `SlideReader`."""

    def __init__(self, pixels: NDArray[np.uint8], mpp: float) -> None:
        self._pixels = pixels
        size = (pixels.shape[1], pixels.shape[0])
        self._info = SlideInfo(
            "picture", size, PixelSize(mpp, mpp), (SlideLevel(size, 1.0),), None, "none", "tiff"
        )

    @property
    def info(self) -> SlideInfo:
        return self._info

    def read_region(
        self, origin_px0: tuple[int, int], level: int, size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        (x, y), (width, height) = origin_px0, size_px
        region = np.full((height, width, 3), 255, np.uint8)
        part = self._pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        top, left = max(-y, 0), max(-x, 0)
        region[top : top + part.shape[0], left : left + part.shape[1]] = part
        return region

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@pytest.fixture(scope="session")
def drawn_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramidal TIFF slide of 1300 × 1100 px at 2 µm with two pieces of tissue. Not to be changed."""
    path = tmp_path_factory.mktemp("slides") / "drawn.tif"
    write_slide(path, draw_tissue(), "asap", MPP)
    return path


@pytest.fixture
def make_job(drawn_slide: Path, tmp_path: Path) -> Callable[..., TileJob]:
    """Make a job over the drawn slide, or a copy of it, with small tiles and shards."""

    def make(slide: Path = drawn_slide, *, reader: ReaderName = "tiff", **changes: object) -> TileJob:
        source = SlideSource("drawn", str(slide), reader)
        settings = TileSettings(tile_px=128, shard_tiles=4)
        tissue = TissueSettings(margin_um=20)
        job = TileJob(
            source, str(tmp_path / "drawn.zarr"), settings, tissue, "token", fingerprint_slide(source)
        )
        return replace(job, **changes)  # type: ignore[arg-type]

    return make
