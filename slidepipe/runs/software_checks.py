"""The doctor on readers, codecs and Torch: whether they are there, and work.

Libraries are imported by name, one by one, and no room is imported that would need them, because the doctor has to
outlive the ones that are broken.
"""

from __future__ import annotations

import importlib
import time
from importlib import metadata
from types import ModuleType

import numpy as np

from slidepipe.classifier.settings import DeviceName
from slidepipe.errors import ModelError
from slidepipe.runs.check import Check

MIN_OPENSLIDE = (4, 0)
"""Before 3.4.1 OpenSlide places the levels of Philips slides wrongly, before 4.0 it reads no DICOM."""
SLOW_DECODE = 100.0
"""Mpx/s of JPEG decoding on one core; a server core of 2020 does about 230."""

_DECODE_S = 0.2


def check_software(device: DeviceName) -> list[Check]:
    """Check the libraries that read slides, code tiles and compute.

    Parameters
    ----------
    device
        Where the network would compute.

    Returns
    -------
    list of Check
        In the order in which a study needs them.
    """
    return [
        _check_openslide(),
        _check_library("tiffslide", advice="needed only for slides with `reader: tiffslide`"),
        _check_library("tifffile", advice="reads the slides that OpenSlide does not know"),
        _check_jpeg(),
        _check_jpeg2000(),
        _check_codec(),
        _check_device(device),
    ]


def load(module: str) -> ModuleType | str:
    """Import a module by name.

    Parameters
    ----------
    module
        Full name.

    Returns
    -------
    module or str
        The module; the reason as text if it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        return f"{module} cannot be imported: {error}"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _check_library(name: str, *, advice: str) -> Check:
    loaded = load(name)
    if isinstance(loaded, str):
        return Check(name, "fail", loaded, f"pip install {name} ({advice})")
    return Check(name, "ok", _version(name))


def _check_openslide() -> Check:
    name = "OpenSlide"
    openslide = load("openslide")
    if isinstance(openslide, str):
        advice = "pip install openslide-bin openslide-python (the reader of most slides)"
        return Check(name, "fail", openslide, advice)
    library = str(openslide.__library_version__)
    detail = f"library {library}, openslide-python {_version('openslide-python')}"
    if tuple(int(part) for part in library.split(".")[:2]) < MIN_OPENSLIDE:
        advice = "pip install --upgrade openslide-bin: older libraries read no DICOM, and some Philips levels wrongly"
        return Check(name, "fail", detail, advice)
    return Check(name, "ok", detail)


def _check_jpeg() -> Check:
    name = "JPEG"
    imagecodecs = load("imagecodecs")
    if isinstance(imagecodecs, str) or not imagecodecs.JPEG8.available:
        found = imagecodecs if isinstance(imagecodecs, str) else "imagecodecs was built without JPEG"
        return Check(name, "fail", found, "pip install --upgrade imagecodecs")
    # Noise of this strength is compressed to 45 kB, as a tile of stained tissue is, and as slow to decode.
    side = 512
    random = np.random.default_rng(0)
    noise = random.normal((200, 140, 180), 10, (side, side, 3)).clip(0, 255).astype(np.uint8)
    encoded = imagecodecs.jpeg8_encode(noise, level=80, subsampling="420")
    decoded, tiles, began = np.empty((side, side, 3), np.uint8), 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < _DECODE_S:
        imagecodecs.jpeg8_decode(encoded, out=decoded)
        tiles += 1
    rate = tiles * side**2 / spent / 1e6
    detail = f"imagecodecs {_version('imagecodecs')}, decodes {rate:.0f} Mpx/s on one core"
    if rate < SLOW_DECODE:
        advice = f"below {SLOW_DECODE:.0f} Mpx/s: the machine is busy or slow, and tiling will be"
        return Check(name, "warn", detail, advice)
    return Check(name, "ok", detail)


def _check_jpeg2000() -> Check:
    name, imagecodecs = "JPEG 2000", load("imagecodecs")
    if isinstance(imagecodecs, str) or not imagecodecs.JPEG2K.available:
        advice = "pip install --upgrade imagecodecs: some Aperio slides are JPEG 2000"
        return Check(name, "warn", "imagecodecs has no JPEG 2000", advice)
    return Check(name, "ok", f"imagecodecs {_version('imagecodecs')}")


def _check_codec() -> Check:
    name = "Zarr codec"
    codec = load("slidepipe.storage.jpeg_codec")
    if isinstance(codec, str):
        return Check(name, "fail", codec, "pip install --upgrade zarr imagecodecs")
    detail = f"{codec.CODEC_NAME} with Zarr {_version('zarr')}"
    if not metadata.entry_points(group="zarr.codecs", name=codec.CODEC_NAME):
        advice = (
            "install slidepipe with pip, or other programs of this environment cannot open the tile stores"
        )
        return Check(name, "warn", f"{detail}, without an entry point", advice)
    return Check(name, "ok", detail)


def _check_device(device: DeviceName) -> Check:
    name = "compute device"
    devices = load("slidepipe.classifier.devices")
    if isinstance(devices, str):
        return Check(name, "fail", devices, "pip install torch torchvision")
    try:
        chosen = devices.choose_device(device)
    except ModelError as error:
        return Check(name, "fail", str(error), "set device to auto, or install a Torch for this accelerator")
    detail = f"{devices.describe_device(chosen)}, Torch {_version('torch')}"
    if chosen.type == "cpu":
        advice = "level 0 of one slide takes hours without a GPU: use one, or the compact network at 0.972 µm"
        return Check(name, "warn", detail, advice)
    return Check(name, "ok", detail)
