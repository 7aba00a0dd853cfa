"""One copy of a slide per machine, whole and checked, shared while it is used, gone afterwards."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from slidepipe.errors import ConfigError, SlideChangedError, SlideFormatError
from slidepipe.slides import staging
from slidepipe.slides.handles import borrow_slide
from slidepipe.slides.opening import fingerprint_slide
from slidepipe.slides.reader import SlideSource
from slidepipe.slides.staging import KEPT_SLIDES, leave_stage, remove_staged, staged_slide

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")

_SPAWN = multiprocessing.get_context("spawn")
_Usage = namedtuple("_Usage", "total used free")


@pytest.fixture
def source(tmp_path: Path) -> SlideSource:
    return _write_slide(tmp_path, "slide")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def _write_slide(folder: Path, name: str) -> SlideSource:
    path = folder / "storage" / f"{name}.tif"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(name.encode() * 1000)
    return SlideSource(name, str(path))


def _stage(source: SlideSource, scratch: Path) -> tuple[str, int]:
    """Use a copy for a moment: its path and which file it is."""
    with staged_slide(source, scratch, fingerprint_slide(source)) as staged:
        return staged.path, Path(staged.path).stat().st_ino


def _files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


def test_a_slide_is_copied_once_and_kept_for_the_next_task(source: SlideSource, scratch: Path) -> None:
    with staged_slide(source, scratch, fingerprint_slide(source)) as staged:
        assert staged == SlideSource("slide", staged.path)
        assert Path(staged.path).is_relative_to(scratch)
        assert Path(staged.path).read_bytes() == Path(source.path).read_bytes()
        assert Path(staged.path).parent.stat().st_mode & 0o077 == 0
    assert (
        _stage(source, scratch) == _stage(source, scratch) == (staged.path, Path(staged.path).stat().st_ino)
    )


def test_a_slide_that_is_done_leaves_nothing(source: SlideSource, scratch: Path) -> None:
    _stage(source, scratch)
    remove_staged(source, scratch, fingerprint_slide(source))
    assert list(scratch.iterdir()) == []
    remove_staged(source, scratch, fingerprint_slide(source))


def test_the_end_of_the_stage_leaves_nothing_but_what_is_in_use(tmp_path: Path, scratch: Path) -> None:
    leave_stage(scratch)
    one, two = _write_slide(tmp_path, "one"), _write_slide(tmp_path, "two")
    _stage(one, scratch)
    with staged_slide(two, scratch, fingerprint_slide(two)) as staged:
        leave_stage(scratch)
        assert _files(scratch) == sorted([f"{Path(staged.path).parent.name}.lock", "two.tif"])
    leave_stage(scratch)
    assert list(scratch.iterdir()) == []


def test_a_process_keeps_the_copies_that_it_used_last(tmp_path: Path, scratch: Path) -> None:
    sources = [_write_slide(tmp_path, f"slide{n}") for n in range(KEPT_SLIDES + 2)]
    for source in sources:
        _stage(source, scratch)
    kept = [file for file in _files(scratch) if file.endswith(".tif")]
    assert kept == [f"slide{n}.tif" for n in range(2, KEPT_SLIDES + 2)]


def test_readers_of_a_copy_are_closed_before_it_is_removed(shared_data: Path, scratch: Path) -> None:
    source = SlideSource("cmu", str(shared_data / "slides" / "CMU-1-Small-Region.svs"), "tiff")
    fingerprint = fingerprint_slide(source)
    with staged_slide(source, scratch, fingerprint) as staged, borrow_slide(staged) as copy:
        with borrow_slide(source) as original:
            expected = original.read_region((100, 200), 0, (300, 200))
        np.testing.assert_array_equal(copy.read_region((100, 200), 0, (300, 200)), expected)
        assert _open_files(scratch)
    assert _open_files(scratch)
    remove_staged(source, scratch, fingerprint)
    assert not _open_files(scratch)


def _open_files(folder: Path) -> list[str]:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list open files")
    links = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return [name for name in links if name.startswith(str(folder)) and ".lock" not in name]


def test_companion_files_come_along(tmp_path: Path, scratch: Path, shared_data: Path) -> None:
    folder = tmp_path / "storage"
    (folder / "a").mkdir(parents=True)
    (folder / "a.mrxs").write_bytes(b"index")
    for name in ("Data0000.dat", "Slidedat.ini"):
        (folder / "a" / name).write_bytes(name.encode())
    (folder / "b.tif").write_bytes(b"another slide")
    path, _ = _stage(SlideSource("a", str(folder / "a.mrxs")), scratch)
    copied = {
        str(file.relative_to(Path(path).parent)) for file in Path(path).parent.rglob("*") if file.is_file()
    }
    assert copied == {"a.mrxs", "a/Data0000.dat", "a/Slidedat.ini"}

    series = folder / "series"
    series.mkdir()
    for name in ("boxes_0.dcm", "boxes_1.dcm"):
        shutil.copy(shared_data / "slides" / name, series)
    dicom = SlideSource("boxes", str(series / "boxes_0.dcm"))
    with staged_slide(dicom, scratch, fingerprint_slide(dicom)) as staged:
        assert fingerprint_slide(staged) == fingerprint_slide(dicom)


def test_a_slide_whose_files_lie_elsewhere_cannot_be_copied(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "picture.jpg").write_bytes(b"picture")
    slide = tmp_path / "storage" / "a.vms"
    slide.write_text("[Virtual Microscope Specimen]\nImageFile=../picture.jpg\n")
    with pytest.raises(SlideFormatError, match=r"its file .*picture\.jpg does not lie below"):
        _stage(SlideSource("a", str(slide)), scratch)


def test_urls_are_read_where_they_lie(scratch: Path) -> None:
    source = SlideSource("far", "https://example.org/slide.tif", "tiffslide")
    with staged_slide(source, scratch, "fingerprint") as staged:
        assert staged is source
    assert not scratch.exists()


def test_a_changed_slide_is_another_copy(source: SlideSource, scratch: Path) -> None:
    before, _ = _stage(source, scratch)
    Path(source.path).write_bytes(b"changed")
    after, _ = _stage(source, scratch)
    assert before != after
    assert Path(after).read_bytes() == b"changed"


def test_a_slide_that_changes_while_it_is_copied_is_refused(source: SlideSource, scratch: Path) -> None:
    fingerprint = fingerprint_slide(source)
    Path(source.path).write_bytes(b"changed")
    with (
        pytest.raises(SlideChangedError, match="has another content"),
        staged_slide(source, scratch, fingerprint),
    ):
        pass
    assert _files(scratch) == [file for file in _files(scratch) if file.endswith(".lock")]
    leave_stage(scratch)
    assert list(scratch.iterdir()) == []


def test_the_folder_may_name_a_variable_of_the_machine(
    source: SlideSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_SCRATCH", str(tmp_path / "node"))
    path, _ = _stage(source, Path("$NODE_SCRATCH/slides"))
    assert Path(path).is_relative_to(tmp_path / "node" / "slides")
    monkeypatch.delenv("NODE_SCRATCH")
    with pytest.raises(ConfigError, match="names a variable that is not set"):
        _stage(source, Path("$NODE_SCRATCH/slides"))


# ---- room ----


def test_too_little_room_is_said_before_anything_is_copied(
    source: SlideSource, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: _Usage(10**9, 10**9, 4999))
    with pytest.raises(
        ConfigError, match=r"slide slide has 0\.00 GB, and tiles\.stage_dir .* has room for 0\.00 GB"
    ):
        _stage(source, scratch)
    assert [file for file in _files(scratch) if file.endswith(".tif")] == []


def test_copies_that_nobody_uses_make_room(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (_write_slide(tmp_path, name) for name in ("one", "two", "three"))

    def room_for_two(folder: Path) -> _Usage:
        n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return _Usage(8000, n_bytes, 8000 - n_bytes)

    monkeypatch.setattr(staging.shutil, "disk_usage", room_for_two)
    _stage(one, scratch)
    with staged_slide(two, scratch, fingerprint_slide(two)):
        _stage(three, scratch)
        assert [file for file in _files(scratch) if file.endswith(".tif")] == ["three.tif", "two.tif"]


def test_a_disk_that_fills_up_meanwhile_leaves_no_half_copy(
    source: SlideSource, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging.shutil, "copyfile", fill)
    with pytest.raises(ConfigError, match="make room"):
        _stage(source, scratch)
    assert [file for file in _files(scratch) if not file.endswith(".lock")] == []


# ---- several processes ----


def test_processes_that_ask_at_the_same_time_share_one_copy(source: SlideSource, scratch: Path) -> None:
    Path(source.path).write_bytes(np.random.default_rng(0).bytes(30 * 2**20))
    with ProcessPoolExecutor(2, mp_context=_SPAWN) as pool:
        copies = [each.result() for each in [pool.submit(_stage, source, scratch) for _ in range(4)]]
    assert len(set(copies)) == 1
    assert _files(scratch) == sorted([f"{Path(copies[0][0]).parent.name}.lock", "slide.tif"])


def _hold(source: SlideSource, scratch: Path, line: Connection) -> None:
    with staged_slide(source, scratch, fingerprint_slide(source)) as staged:
        line.send(staged.path)
        line.recv()


def test_a_copy_that_another_process_uses_stays_until_that_is_killed(
    source: SlideSource, scratch: Path
) -> None:
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_hold, args=(source, scratch, there))
    process.start()
    assert here.poll(30)
    path = Path(here.recv())
    inode = path.stat().st_ino
    leave_stage(scratch)
    remove_staged(source, scratch, fingerprint_slide(source))
    assert path.is_file()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    # The next run uses what the killed one left, and removes it.
    assert _stage(source, scratch) == (str(path), inode)
    leave_stage(scratch)
    assert list(scratch.iterdir()) == []


def _die_while_copying(source: SlideSource, scratch: Path) -> None:
    def die(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    staging.shutil.copyfile = die  # type: ignore[assignment, attr-defined]
    _stage(source, scratch)


def test_half_a_copy_of_a_killed_process_is_never_used(source: SlideSource, scratch: Path) -> None:
    process = _SPAWN.Process(target=_die_while_copying, args=(source, scratch))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert "slide.tif" in _files(scratch)
    path, _ = _stage(source, scratch)
    assert Path(path).read_bytes() == Path(source.path).read_bytes()
    remove_staged(source, scratch, fingerprint_slide(source))
    assert list(scratch.iterdir()) == []
