"""The heatmap as a pyramidal OME-TIFF, the one raster format that every QuPath opens.

Read by Bio-Formats as well as by tifffile. Deflate without a predictor, because Bio-Formats cannot open the
floating-point predictor; tiles, and smaller levels as SubIFDs; a cell's size in µm as the physical size of a pixel. A
smaller level holds the largest of each 2 × 2 cells, so that a lesion of one cell is still seen from far away.

Besides the probabilities there is a picture of them in colours, for viewers that can only show pictures.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from matplotlib import colormaps
from numpy.typing import NDArray

import slidepipe
from slidepipe.errors import ExportError
from slidepipe.export.geojson import PROBABILITY_NAME
from slidepipe.export.pyramid import heatmap_levels
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.provenance import fingerprint_bytes
from slidepipe.storage.publish import atomic_path

HeatmapPixels = Literal["float32", "uint8"]
"""``float32`` keeps every probability and NaN. ``uint8`` is an eighth of the size when packed and has 256 steps:
probability × 255, rounded, and 0 where nothing was looked at, which cannot be told from a probability below 0.002."""

_NAMESPACE = uuid.UUID("5b2d9c0e-3c1b-5f5e-8f43-6f5f1f0a7c27")
_TILE_PX = 256
_COLOUR_MAP = "inferno"
_WHITE = 255


def write_ome_tiff(path: Path, heatmap: Heatmap, pixels: HeatmapPixels = "float32") -> None:
    """Write the probabilities of a heatmap.

    Parameters
    ----------
    path
        File to write or replace. QuPath recognises the format by the name, ``.ome.tif`` or ``.ome.tiff``. Equal
        heatmaps give equal bytes; no date is written.
    heatmap
        Tumour probability of one slide. As float32, NaN stays NaN, which QuPath shows as transparent.
    pixels
        How a probability is stored.

    Raises
    ------
    ExportError
        If the name ends otherwise, or the heatmap has no cell.
    """
    levels: list[NDArray[Any]] = list(_levels(path, heatmap))
    if pixels == "uint8":
        levels = [np.rint(np.nan_to_num(level) * 255).astype(np.uint8) for level in levels]
    metadata = {"axes": "YX", "Channel": {"Name": [PROBABILITY_NAME]}}
    _write(path, heatmap, levels, "minisblack", metadata)


def write_colour_ome_tiff(path: Path, heatmap: Heatmap) -> None:
    """Write a heatmap as a picture: inferno colours on the fixed range 0 to 1, so that slides can be compared.

    Parameters
    ----------
    path
        File to write or replace, ``.ome.tif`` or ``.ome.tiff``.
    heatmap
        Tumour probability of one slide. Cells that nothing was looked at in are white, as the glass is.

    Raises
    ------
    ExportError
        If the name ends otherwise, or the heatmap has no cell.
    """
    levels = [_coloured(level) for level in _levels(path, heatmap)]
    _write(path, heatmap, levels, "rgb", {"axes": "YXS"})


def _coloured(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    looked_at = np.isfinite(probability)
    colours: NDArray[np.uint8] = colormaps[_COLOUR_MAP](np.nan_to_num(probability), bytes=True)[..., :3]
    return np.where(looked_at[..., np.newaxis], colours, np.uint8(_WHITE))


def _levels(path: Path, heatmap: Heatmap) -> tuple[NDArray[np.float32], ...]:
    if not path.name.endswith((".ome.tif", ".ome.tiff")):
        raise ExportError(
            f"{path.name}: QuPath only takes a file for OME-TIFF if its name ends in .ome.tif or .ome.tiff"
        )
    return heatmap_levels(heatmap, _TILE_PX)


def _write(
    path: Path, heatmap: Heatmap, levels: list[NDArray[Any]], photometric: str, metadata: dict[str, Any]
) -> None:
    content = f"{levels[0].dtype}/{photometric}/{fingerprint_bytes(levels[0].tobytes())}"
    metadata = {
        **metadata,
        "Name": f"{heatmap.slide_id} heatmap",
        "PhysicalSizeX": heatmap.cell_um.x_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": heatmap.cell_um.y_um,
        "PhysicalSizeYUnit": "µm",
        "Creator": f"slidepipe {slidepipe.__version__}",
        # tifffile would draw a random one.
        "UUID": str(uuid.uuid5(_NAMESPACE, f"{heatmap.slide_id}/{content}")),
    }
    options: dict[str, Any] = {
        "tile": (_TILE_PX, _TILE_PX),
        "compression": "zlib",
        "photometric": photometric,
        "software": False,
    }
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, metadata=None, **options)
