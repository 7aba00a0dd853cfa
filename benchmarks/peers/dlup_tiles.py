"""dlup: ``SlideDataset.from_standard_tiling`` over a mask of the tissue, each tile saved as JPEG."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from dlup.data.dataset import MaskConfig, SlideDataset, TilingConfig
from openslide import OpenSlide
from PIL import Image

FINER = 16
slide, out, places = sys.argv[1:]
tiles, side = json.loads(Path(places).read_text()).values()
with OpenSlide(slide) as opened:
    width, height = opened.dimensions
mask = np.zeros((-(-height // side), -(-width // side)), dtype=np.uint8)
mask[tuple(np.array(tiles).T)] = 1
# dlup scales the mask to the slide, so it has to end where the slide ends.
mask = np.kron(mask, np.ones((FINER, FINER), dtype=np.uint8))[
    : height * FINER // side, : width * FINER // side
]
start = time.perf_counter()
dataset = SlideDataset.from_standard_tiling(
    slide,
    TilingConfig(mpp=None, tile_size=(side, side)),
    MaskConfig(mask=mask, mask_threshold=0.5),
)
for number, sample in enumerate(dataset):
    tile = sample.image
    image = tile if isinstance(tile, Image.Image) else Image.fromarray(np.asarray(tile))
    image.convert("RGB").save(Path(out, f"{number}.jpg"), quality=80)
seconds = time.perf_counter() - start
print(json.dumps({"pixels": len(dataset) * side * side, "seconds": seconds}))
