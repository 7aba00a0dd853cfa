"""The heatmap as OME-Zarr 0.4, for QuPath from 0.6 on, napari, vizarr and Neuroglancer.

The format is OME-NGFF 0.4 (https://ngff.openmicroscopy.org/0.4), because QuPath reads nothing newer. QuPath takes the
size of a pixel and the name of the channel from ``OME/METADATA.ome.xml`` alone, the others from ``.zattrs``, so both
are written. A file per chunk makes many files; on shared drives the OME-TIFF is kinder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import slidepipe
from slidepipe.errors import ExportError
from slidepipe.export.geojson import PROBABILITY_NAME
from slidepipe.export.pyramid import heatmap_levels
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.storage.publish import atomic_folder, remove_tree, write_bytes
from slidepipe.storage.zarr_v2 import write_v2_array, write_v2_group

_CHUNK = (256, 256)
_VERSION = "0.4"
_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def write_ome_zarr(path: Path, heatmap: Heatmap) -> None:
    """Write a heatmap as a float32 pyramid.

    Parameters
    ----------
    path
        Folder to write or replace. Viewers recognise the format by the name, which ends in ``.ome.zarr``. Equal
        heatmaps give equal bytes.
    heatmap
        Tumour probability of one slide. NaN stays NaN.

    Raises
    ------
    ExportError
        If the name ends otherwise, or the heatmap has no cell.
    """
    if not path.name.endswith(".ome.zarr"):
        raise ExportError(
            f"{path.name}: viewers only take a folder for OME-Zarr if its name ends in .ome.zarr"
        )
    levels = heatmap_levels(heatmap, _CHUNK[0])
    with atomic_folder(path) as folder:
        for number, level in enumerate(levels):
            write_v2_array(folder / str(number), level, _CHUNK)
        write_bytes(folder / "OME" / "METADATA.ome.xml", _xml(heatmap))
        write_v2_group(folder, _attributes(heatmap, len(levels)))
        remove_tree(path)


def _attributes(heatmap: Heatmap, levels: int) -> dict[str, Any]:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in ("y", "x")]
    channel = {
        "label": PROBABILITY_NAME,
        "color": "FF0000",
        "active": True,
        "window": {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0},
    }
    image = {
        "version": _VERSION,
        "name": f"{heatmap.slide_id} heatmap",
        "axes": axes,
        "datasets": [_dataset(heatmap, level) for level in range(levels)],
        "type": "max",
        "metadata": {"description": "each pixel of a smaller level is the largest of 2 x 2 pixels"},
    }
    return {"multiscales": [image], "omero": {"version": _VERSION, "channels": [channel]}}


def _dataset(heatmap: Heatmap, level: int) -> dict[str, Any]:
    factor = 2**level
    pixel, cell = heatmap.pixel_size0, heatmap.cell_um
    scale = [cell.y_um * factor, cell.x_um * factor]
    # The transformation places centres: that of the first cell as seen from that of the slide's first pixel.
    translation = [(scale[0] - pixel.y_um) / 2, (scale[1] - pixel.x_um) / 2]
    return {
        "path": str(level),
        "coordinateTransformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": translation},
        ],
    }


def _xml(heatmap: Heatmap) -> bytes:
    rows, columns = heatmap.probability.shape
    root = ElementTree.Element("OME", xmlns=_NAMESPACE, Creator=f"slidepipe {slidepipe.__version__}")
    image = ElementTree.SubElement(root, "Image", ID="Image:0", Name=f"{heatmap.slide_id} heatmap")
    attributes = {
        "ID": "Pixels:0",
        "DimensionOrder": "XYZCT",
        "Type": "float",
        "SizeX": str(columns),
        "SizeY": str(rows),
        "SizeZ": "1",
        "SizeC": "1",
        "SizeT": "1",
        "PhysicalSizeX": repr(heatmap.cell_um.x_um),
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": repr(heatmap.cell_um.y_um),
        "PhysicalSizeYUnit": "µm",
    }
    pixels = ElementTree.SubElement(image, "Pixels", attributes)
    ElementTree.SubElement(pixels, "Channel", ID="Channel:0:0", Name=PROBABILITY_NAME, SamplesPerPixel="1")
    ElementTree.SubElement(pixels, "MetadataOnly")
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
