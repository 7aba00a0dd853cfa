"""wholeslidedata: ``WholeSlideImage.get_patch`` of each tile with tissue, saved as JPEG."""

import json
import sys
import time
from pathlib import Path

from PIL import Image
from wholeslidedata import WholeSlideImage

slide, out, places = sys.argv[1:]
tiles, side = json.loads(Path(places).read_text()).values()
image = WholeSlideImage(slide, backend="openslide")
spacing = image.spacings[0]
start = time.perf_counter()
for row, column in tiles:
    patch = image.get_patch(column * side + side // 2, row * side + side // 2, side, side, spacing)
    Image.fromarray(patch).save(Path(out, f"{row}_{column}.jpg"), quality=80)
seconds = time.perf_counter() - start
print(json.dumps({"pixels": len(tiles) * side * side, "seconds": seconds}))
