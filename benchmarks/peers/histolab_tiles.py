"""histolab: ``GridTiler`` with its own tissue mask, PNG files as it writes them."""

import json
import sys
import time
from pathlib import Path

from histolab.masks import TissueMask
from histolab.slide import Slide
from histolab.tiler import GridTiler

slide, out, places = sys.argv[1:]
side = json.loads(Path(places).read_text())["tile_px"]
start = time.perf_counter()
tiler = GridTiler((side, side), level=0, check_tissue=False)
tiler.extract(Slide(slide, out), extraction_mask=TissueMask(), log_level="ERROR")
seconds = time.perf_counter() - start
count = sum(1 for _ in Path(out).glob("*.png"))
print(json.dumps({"pixels": count * side * side, "seconds": seconds}))
