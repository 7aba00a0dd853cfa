"""Slides may lie on storage that cannot be written: nothing is opened for writing there, and nothing appears."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own, because an audit hook stays until its process ends.
_PROGRAM = """
import os, sys
from pathlib import Path
slide, store, mode, reader = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
changes = []

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(str(slide.parent)):
        path, how, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (how and set(how) & set("wax+")):
            changes.append((path, how, flags))

sys.addaudithook(note)
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.tiles.grid import TileSettings
from slidepipe.tiles.store import open_tile_store
from slidepipe.tiles.tiling import TileJob, begin_tiling, finish_tiling, tile_block
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.tiles.verification import verify_tiles

source = SlideSource("slide", str(slide), reader)
settings = TileSettings(mode=mode, tile_px=None if mode != "encode" else 256)
job = TileJob(source, str(store), settings, TissueSettings(), "token", fingerprint_slide(source))
for block in begin_tiling(job):
    tile_block(job, block)
assert finish_tiling(job)["n_stored"] > 0
with open_tile_store(store) as tiles:
    tiles.read_window(0, 0, *tiles.size_px)
assert verify_tiles(job, "token", decode=True) == []
assert changes == [], changes
"""


def _state(folder: Path) -> dict[str, tuple[int, ...]]:
    """When anything in a folder, itself included, was changed last."""
    paths = [folder, *folder.rglob("*")]
    return {
        str(path): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
        for path in paths
    }


@pytest.mark.parametrize(
    ("mode", "reader"),
    [("copy", "auto"), ("reference", "auto"), ("encode", "openslide"), ("encode", "tiffslide")],
)
def test_nothing_is_written_where_the_slide_lies(
    drawn_slide: Path, tmp_path: Path, mode: str, reader: str
) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    slide = storage / "slide.tif"
    shutil.copy(drawn_slide, slide)
    slide.chmod(0o444)
    storage.chmod(0o555)
    before = _state(storage)
    arguments = [str(slide), str(tmp_path / "run" / "slide.zarr"), mode, reader]
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert _state(storage) == before
    storage.chmod(0o755)
