"""Tile stores of drawn slides: pink tissue with a violet square of tumour, on white."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.points import TrainingSlide
from slidepipe.geometry import PixelSize
from slidepipe.slides.outlines import Outline, SlideAnnotation
from slidepipe.slides.reader import SlideInfo, SlideLevel
from slidepipe.storage.shards import write_shard
from slidepipe.storage.tile_codec import TileCodec, ZstdCodec, encode_tile
from slidepipe.tiles.grid import TileGrid
from slidepipe.tiles.store import TileStore, open_tile_store
from slidepipe.tiles.store_making import StoreFacts, complete_store, create_tile_store
from slidepipe.tiles.store_plan import PIXELS, read_store_plan
from slidepipe.tiles.tissue import TissueMask

TILE_PX = 128
SIDE_PX = 640
TISSUE = slice(64, 576)
TUMOUR = slice(200, 360)
MASK_PX = 16


def plain_card(architecture: str, patch_px: int) -> ModelCard:
    """Make the card of a network that was never trained."""
    return ModelCard(
        architecture=architecture,
        patch_px=patch_px,
        mpp=0.5,
        mpp_range=(0.5, 0.5),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        weights_sha256="",
        training={},
        metrics={},
        software={},
    )


def draw_slide(seed: int, has_tumour: bool) -> NDArray[np.uint8]:
    """Draw 640 × 640 px: tissue from 64 to 576, tumour from 200 to 360, along both axes."""
    random = np.random.default_rng(seed)
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 255, dtype=np.int64)
    pixels[TISSUE, TISSUE] = (225, 150, 195)
    if has_tumour:
        pixels[TUMOUR, TUMOUR] = (130, 80, 160)
    noise = random.integers(-20, 21, (SIDE_PX, SIDE_PX, 1))
    pixels[TISSUE, TISSUE] += noise[TISSUE, TISSUE]
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    def make(
        slide_id: str = "drawn",
        *,
        seed: int = 0,
        has_tumour: bool = False,
        pixel_um: float = 0.5,
        damaged: Sequence[tuple[int, int]] = (),
        codec: TileCodec | None = None,
    ) -> Path:
        pixels = draw_slide(seed, has_tumour)
        info = SlideInfo(
            slide_id=slide_id,
            size_px0=(SIDE_PX, SIDE_PX),
            pixel_size=PixelSize(pixel_um, pixel_um),
            levels=(SlideLevel((SIDE_PX, SIDE_PX), 1.0),),
            tile_px=None,
            vendor="drawn",
            reader="drawn",
        )
        mask = np.zeros((SIDE_PX // MASK_PX, SIDE_PX // MASK_PX), dtype=np.bool_)
        mask[4:36, 4:36] = True
        tiles = SIDE_PX // TILE_PX
        grid = TileGrid((SIDE_PX, SIDE_PX), TILE_PX, (1.0, 1.0), 2, np.ones((tiles, tiles), dtype=np.bool_))
        path = tmp_path / f"{slide_id}.zarr"
        codec = codec or ZstdCodec()
        facts = StoreFacts(info=info, fingerprint="f", token="t", settings={}, software={})
        create_tile_store(path, facts, grid, TissueMask(mask, (MASK_PX, MASK_PX)), codec)
        plan = read_store_plan(path)
        for block in grid.blocks:
            chunks = []
            for row, column in grid.tiles_of(block).tolist():
                tile = pixels[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
                if (row, column) not in damaged:
                    chunks.append(((0, row % 2, column % 2), encode_tile(codec, tile)))
            write_shard(path / PIXELS, plan.shard_index(block), chunks, plan.shard_shape)
        complete_store(plan, np.array(damaged, dtype=np.int64).reshape(-1, 2), {})
        return path

    return make


@pytest.fixture
def store(make_store: Callable[..., Path]) -> TileStore:
    return open_tile_store(make_store(has_tumour=True))


@pytest.fixture
def make_slide(make_store: Callable[..., Path]) -> Callable[..., TrainingSlide]:
    """A training slide; those called tumor_* are annotated."""

    def make(
        slide_id: str, *, centre: str | None = None, exhaustive: bool = True, **drawn: object
    ) -> TrainingSlide:
        has_tumour = slide_id.startswith("tumor")
        return TrainingSlide(
            slide_id,
            str(make_store(slide_id, has_tumour=has_tumour, **drawn)),
            square_annotation(slide_id) if has_tumour else None,
            "tumor" if has_tumour else "normal",
            centre,
            exhaustive,
        )

    return make


def square_annotation(slide_id: str, start: int = TUMOUR.start, stop: int = TUMOUR.stop) -> SlideAnnotation:
    corners = np.array([(start, start), (stop, start), (stop, stop), (start, stop)], dtype=np.float64)
    return SlideAnnotation(slide_id, (Outline(corners, True, "_0"),))


@pytest.fixture(scope="session")
def tumour_mask() -> NDArray[np.bool_]:
    """Where the drawn tumour is, padded by 200 px on all sides so that every patch lies within."""
    mask = np.zeros((SIDE_PX, SIDE_PX), dtype=np.bool_)
    mask[TUMOUR, TUMOUR] = True
    return np.pad(mask, 200)


@pytest.fixture
def annotate() -> Callable[..., SlideAnnotation]:
    return square_annotation
