"""wsic 0.8.2: ``wsic transcode``, the call behind it; compressed tiles into Zarr v2, one file a tile."""

import json
import sys
import time
from pathlib import Path

from wsic.readers import TIFFReader
from wsic.writers import ZarrWriter

slide, out, _ = sys.argv[1:]
start = time.perf_counter()
reader = TIFFReader(Path(slide))
writer = ZarrWriter(
    Path(out, "slide.zarr"), shape=reader.shape, tile_size=reader.tile_shape[::-1], dtype=reader.dtype
)
writer.transcode_from_reader(reader)
seconds = time.perf_counter() - start
# It copies the whole level, glass included.
height, width = reader.shape[:2]
print(json.dumps({"pixels": height * width, "seconds": seconds}))
