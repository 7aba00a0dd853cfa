"""TIAToolbox: ``SlidingWindowPatchExtractor`` with its own Otsu mask, each patch saved as JPEG."""

import json
import sys
import time
from pathlib import Path

from PIL import Image
from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor
from tiatoolbox.wsicore.wsireader import WSIReader

slide, out, places = sys.argv[1:]
side = json.loads(Path(places).read_text())["tile_px"]
start = time.perf_counter()
patches = SlidingWindowPatchExtractor(
    WSIReader.open(slide), patch_size=(side, side), resolution=0, units="level", input_mask="otsu"
)
count = 0
for count, patch in enumerate(patches, start=1):
    Image.fromarray(patch).save(Path(out, f"{count}.jpg"), quality=80)
seconds = time.perf_counter() - start
print(json.dumps({"pixels": count * side * side, "seconds": seconds}))
