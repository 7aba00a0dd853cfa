"""Other tools that cut slides into tiles, each in an environment of its own and by its own documented call.

What each does stands in its script in ``peers/``: it gets the slide, a folder to write to and a file with the tiles
that hold tissue, and prints how many pixels it kept and how long that took, imports not counted. Tools that bring a
tissue detector of their own use it. A tool that does not install is reported with the last line of the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_INSTALL_S = 1800
_RUN_S = 900


@dataclass(frozen=True)
class Peer:
    """A tool, and how it is installed so that it works."""

    name: str
    script: str
    """In ``peers/``; empty for tools that have not been seen to install."""
    installs: tuple[tuple[str, ...], ...]
    """Arguments of ``pip install``, one call after the other."""
    python: str = "python3"
    """Interpreter that the environment is made with."""


PEERS = (
    Peer(
        "wsic 0.8.2, transcode",
        "wsic_transcode.py",
        (
            (
                "wsic==0.8.2", "xarray<2024", "zarr==2.14.2", "numcodecs<0.12", "numpy<2", "tifffile<2023.9",
                "imagecodecs<2024", "openslide-python<1.4", "dask<2024", "distributed<2024", "tqdm", "click",
                "opencv-python-headless<4.10",
            ),
        ),
        python="python3.10",
    ),
    Peer("large_image", "large_image_tiles.py", (("large_image", "large-image-source-tiff", "pillow"),)),
    Peer("dlup", "dlup_tiles.py", (("dlup", "openslide-python", "openslide-bin"),)),
    Peer(
        "wholeslidedata",
        "wholeslidedata_tiles.py",
        (
            ("--no-deps", "wholeslidedata"),
            (
                "numpy", "openslide-python", "openslide-bin", "shapely", "scikit-image", "opencv-python-headless",
                "pyyaml", "jsonschema", "dicfg", "creationism", "sourcelib", "concurrentbuffer", "rtree", "tifffile",
                "pillow", "matplotlib", "tqdm", "scipy", "pandas", "lxml", "h5py",
            ),
        ),
    ),
    Peer(
        "histolab",
        "histolab_tiles.py",
        (("histolab", "openslide-bin"), ("--no-deps", "openslide-python>=1.4")),
        python="python3.10",
    ),
    Peer("TIAToolbox", "tiatoolbox_tiles.py", (("tiatoolbox", "openslide-bin"),)),
    Peer("LazySlide", "lazyslide_tiles.py", (("lazyslide", "openslide-python", "openslide-bin"),)),
    Peer(
        "PathML",
        "pathml_tiles.py",
        (("pathml", "openslide-bin"), ("--no-deps", "openslide-python>=1.4")),
    ),
    Peer("slideflow", "", (("slideflow",),)),
)  # fmt: skip


@dataclass(frozen=True)
class PeerOutcome:
    """What a tool did."""

    name: str
    pixels: int = 0
    seconds: float = 0.0
    failure: str = ""
    """Why there are no numbers; empty if there are."""


def prepare(peer: Peer, folder: Path) -> str:
    """Make the environment of a tool, unless it is there; return why that failed, or nothing.

    What came of it is written into the environment, so that a second benchmark need not try again.
    """
    home = folder / peer.script.removesuffix(".py") if peer.script else folder / peer.name
    outcome = home / "outcome.txt"
    if not outcome.is_file():
        reason = _install(peer, home)
        home.mkdir(parents=True, exist_ok=True)
        outcome.write_text(reason)
    return outcome.read_text() or ("" if peer.script else "installs, but no call of it is known here")


def _install(peer: Peer, home: Path) -> str:
    if shutil.which(peer.python) is None:
        return f"{peer.python} is not here"
    shutil.rmtree(home, ignore_errors=True)
    calls = [[peer.python, "-m", "venv", str(home)]]
    calls += [[str(home / "bin" / "pip"), "install", "--quiet", *arguments] for arguments in peer.installs]
    for call in calls:
        try:
            done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
        except subprocess.TimeoutExpired:
            return f"does not install within {_INSTALL_S} s"
        if done.returncode:
            return f"does not install: {_last_line(done.stderr)}"
    return ""


def run(
    peer: Peer, environments: Path, slide: str, scratch: Path, places: Sequence[tuple[int, int]], tile_px: int
) -> PeerOutcome:
    """Let a tool cut the slide once."""
    out = scratch / "peer"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    wanted = scratch / "places.json"
    wanted.write_text(json.dumps({"tiles": list(places), "tile_px": tile_px}))
    python = environments / peer.script.removesuffix(".py") / "bin" / "python"
    script = Path(__file__).parent / "peers" / peer.script
    try:
        done = subprocess.run(
            [str(python), str(script), slide, str(out), str(wanted)],
            capture_output=True, text=True, check=False, timeout=_RUN_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return PeerOutcome(peer.name, failure=f"is not done within {_RUN_S} s")
    finally:
        shutil.rmtree(out, ignore_errors=True)
    if done.returncode:
        return PeerOutcome(peer.name, failure=f"fails: {_last_line(done.stderr)}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if not found["pixels"]:
        return PeerOutcome(peer.name, failure="keeps no tile of this slide")
    return PeerOutcome(peer.name, found["pixels"], found["seconds"])


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else "no reason given"
