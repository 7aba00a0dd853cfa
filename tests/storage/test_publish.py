"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from slidepipe.storage.publish import (
    atomic_folder,
    atomic_path,
    flush_tree,
    read_json,
    remove_leftovers,
    remove_strays,
    remove_tree,
    start_flush,
    write_bytes,
    write_json,
    write_text,
)


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_bytes() == b"half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"new, but cut sh")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_that_need_not_survive_a_power_cut_appears_whole_all_the_same(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with atomic_path(tmp_path / "a", durable) as temporary:
        temporary.write_bytes(b"whole")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert bool(flushed) == durable


def test_a_tree_is_flushed_with_all_its_files_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b/c", "b/d/e"):
        write_bytes(tmp_path / name, b"content", durable=False)
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino))
    flush_tree(tmp_path)
    everything = [tmp_path, *tmp_path.rglob("*")]
    assert len(everything) == 6
    wanted = everything if os.name != "nt" else [path for path in everything if path.is_file()]
    assert sorted(flushed) == sorted(path.stat().st_ino for path in wanted)
    flush_tree(tmp_path / "missing")


def test_beginning_to_flush_changes_nothing(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"content")
        file.flush()
        start_flush(file.fileno())
        file.write(b" and more")
    assert (tmp_path / "a").read_bytes() == b"content and more"


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "store") as folder:
            (folder / "a").write_text("1")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_text_is_written_in_utf_8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "t.csv", "µm\nx\n")
    assert (tmp_path / "t.csv").read_bytes() == b"\xc2\xb5m\nx\n"


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"b": 1, "a": [1.5, None, "µm"]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert list(json.loads((tmp_path / "x.json").read_text("utf-8"))) == ["b", "a"]


def test_what_is_not_json_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))
    assert read_json(tmp_path / "x.json") == 1


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.json", b'{"cut sh')
    with pytest.raises(ValueError, match=r"x\.json is not a JSON file"):
        read_json(tmp_path / "x.json")


def test_a_tree_is_removed_whole_and_a_missing_one_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "store" / "deep" / "file").write_text("x")
    remove_tree(tmp_path / "store")
    remove_tree(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [
        tmp_path / "a" / "x" / "data",
        tmp_path / "a.work" / "1.json",
        tmp_path / ".ab.01234567.tmp" / "z",
    ]
    left = [
        tmp_path / "a" / "x" / ".data.01234567.tmp",
        tmp_path / ".a.01234567.tmp" / "y",
        tmp_path / ".a.01234567.deleting" / "y",
    ]
    for path in [*kept, *left]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    remove_leftovers(tmp_path / "a")
    remove_leftovers(tmp_path / "missing")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_strays_are_removed_at_any_depth_but_not_from_stores_nor_files_that_only_look_alike(tmp_path: Path):
    strays = [
        tmp_path / name
        for name in (".a.json.01234567.tmp", "x/.b.csv.89abcdef.tmp", ".c.01234567.deleting/d")
    ]
    others = [tmp_path / name for name in ("a.tmp", ".a.tmp", "x/b.csv", "s.zarr/.0.01234567.tmp")]
    for path in (*strays, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "s.zarr")
    remove_strays(tmp_path, (".zarr",))
    assert all(path.exists() for path in strays), "what is young may be another process's"
    for path in (*strays, *others, tmp_path / ".c.01234567.deleting"):
        os.utime(path, (0, 0))
    remove_strays(tmp_path, (".zarr",))
    assert not any(path.exists() for path in strays)
    assert all(path.exists() for path in others)
    remove_strays(tmp_path / "missing")


@pytest.mark.parametrize("skew_s", [-7200.0, 7200.0])
def test_what_is_young_is_kept_whatever_this_machine_takes_the_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew_s: float
):
    stray = tmp_path / ".a.json.01234567.tmp"
    stray.write_bytes(b"x")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew_s)
    remove_strays(tmp_path)
    assert [*tmp_path.iterdir()] == [stray]
    os.utime(stray, (now() - 3700,) * 2)
    remove_strays(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_links_out_of_a_tree_are_removed_and_not_followed(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x")
    (outside / ".kept.01234567.tmp").write_bytes(b"x")
    tree = tmp_path / "tree"
    tree.mkdir()
    os.utime(outside / ".kept.01234567.tmp", (0, 0))
    (tree / "folder").symlink_to(outside)
    (tree / "file").symlink_to(outside / "kept")
    remove_strays(tree)
    remove_leftovers(tree)
    remove_tree(tree)
    assert not tree.exists()
    assert sorted(path.name for path in outside.iterdir()) == [".kept.01234567.tmp", "kept"]
