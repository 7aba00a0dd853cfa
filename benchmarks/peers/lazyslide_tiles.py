"""LazySlide: ``find_tissues``, ``tile_tissues``, and its tile images saved as JPEG."""

import json
import sys
import time
from pathlib import Path

import lazyslide as zs
from PIL import Image
from wsidata import open_wsi

slide, out, places = sys.argv[1:]
side = json.loads(Path(places).read_text())["tile_px"]
start = time.perf_counter()
wsi = open_wsi(slide, store=str(Path(out, "slide.zarr")))
zs.pp.find_tissues(wsi)
zs.pp.tile_tissues(wsi, side)
count = 0
for count, tile in enumerate(wsi.iter.tile_images("tiles"), start=1):
    Image.fromarray(tile.image).save(Path(out, f"{count}.jpg"), quality=80)
seconds = time.perf_counter() - start
print(json.dumps({"pixels": count * side * side, "seconds": seconds}))
