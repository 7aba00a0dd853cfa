"""Attributes of OME-NGFF 0.5 for axes, units and pixel size: https://ngff.openmicroscopy.org/0.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VERSION = "0.5"
_AXES = {
    "c": {"name": "c", "type": "channel"},
    "y": {"name": "y", "type": "space", "unit": "micrometer"},
    "x": {"name": "x", "type": "space", "unit": "micrometer"},
}


def multiscales(name: str, axes: Sequence[str], pixel_sizes_um: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Describe an image pyramid whose levels are the arrays ``0``, ``1`` and so on.

    Parameters
    ----------
    name
        Name of the image.
    axes
        Names of the axes in the order of the arrays: ``c``, ``y``, ``x``.
    pixel_sizes_um
        For each level, sharpest first, the size of a pixel along each axis: µm along ``y`` and ``x``, 1 along
        ``c``.

    Returns
    -------
    dict
        Value of the group's attribute ``ome``.

    Raises
    ------
    ValueError
        If an axis is unknown, or a level does not have one size per axis.
    """
    unknown = [axis for axis in axes if axis not in _AXES]
    if unknown:
        raise ValueError(f"axes are {', '.join(_AXES)}; got {', '.join(unknown)}")
    datasets = []
    for level, sizes in enumerate(pixel_sizes_um):
        if len(sizes) != len(axes):
            raise ValueError(f"level {level} has {len(sizes)} pixel sizes for {len(axes)} axes")
        scale = {"type": "scale", "scale": [float(size) for size in sizes]}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
    image = {"name": name, "axes": [dict(_AXES[axis]) for axis in axes], "datasets": datasets}
    return {"version": _VERSION, "multiscales": [image]}


def rgb_channels() -> dict[str, Any]:
    """Tell viewers to show three channels as red, green and blue.

    Returns
    -------
    dict
        Value of ``omero`` within the attribute ``ome``.
    """
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    colours = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    channels = [
        {"label": label, "color": colour, "active": True, "window": window} for label, colour in colours
    ]
    return {"channels": channels, "rdefs": {"model": "color"}}
