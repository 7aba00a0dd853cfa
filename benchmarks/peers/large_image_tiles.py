"""large_image: ``getRegion`` of each tile with tissue, encoded as JPEG by large_image itself."""

import json
import sys
import time
from pathlib import Path

import large_image

slide, out, places = sys.argv[1:]
tiles, side = json.loads(Path(places).read_text()).values()
source = large_image.open(slide)
start = time.perf_counter()
for row, column in tiles:
    region = {"left": column * side, "top": row * side, "width": side, "height": side}
    data, _ = source.getRegion(region=region, encoding="JPEG", jpegQuality=80)
    Path(out, f"{row}_{column}.jpg").write_bytes(data)
seconds = time.perf_counter() - start
print(json.dumps({"pixels": len(tiles) * side * side, "seconds": seconds}))
