"""PathML: ``SlideData.run`` with its tissue detection, which drops no tile; all are kept in its HDF5 file."""

import json
import sys
import time
from pathlib import Path

from pathml.core import HESlide
from pathml.preprocessing import Pipeline, TissueDetectionHE

slide, out, places = sys.argv[1:]
side = json.loads(Path(places).read_text())["tile_px"]
start = time.perf_counter()
data = HESlide(slide, backend="openslide")
pipeline = Pipeline([TissueDetectionHE(mask_name="tissue")])
data.run(pipeline, distributed=False, tile_size=side)
data.write(Path(out, "slide.h5path"))
seconds = time.perf_counter() - start
print(json.dumps({"pixels": len(data.tiles) * side * side, "seconds": seconds}))
