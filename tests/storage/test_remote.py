"""Objects in a store answer as paths on a disk do, as far as the package asks."""

import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from slidepipe.errors import ObjectStoreError
from slidepipe.storage.access import StoreAccess
from slidepipe.storage.locations import as_remote, location
from slidepipe.storage.publish import write_bytes
from slidepipe.storage.remote import RemotePath


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> Path:
    """An empty place in a store: one in memory, one behind the API of S3."""
    if request.param == "memory":
        return location(f"memory://{request.node.originalname}")
    bucket: Path = request.getfixturevalue("bucket")
    return bucket


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are made to S3, by name."""
    s3fs = pytest.importorskip("s3fs")
    made: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def noting(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        made.append(method)
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", noting)
    return made


def remote(path: Path) -> RemotePath:
    found = as_remote(path)
    assert found is not None
    return found


def test_a_text_with_a_scheme_is_an_address_and_any_other_a_path():
    assert as_remote(location("/data/s3:/slide.tif")) is None
    assert isinstance(location("C:\\slides"), Path)
    assert str(location("s3://bucket/run/")) == "s3://bucket/run"


def test_names_are_taken_apart_as_on_a_disk():
    path = location("s3://bucket/run/tiles/tumor_001.zarr")
    assert (path.name, path.stem, path.suffix) == ("tumor_001.zarr", "tumor_001", ".zarr")
    assert str(path.parent) == "s3://bucket/run/tiles"
    assert str(path.with_name("a") / "b") == "s3://bucket/run/tiles/a/b"
    assert str(path.joinpath("c", "0", "1")) == "s3://bucket/run/tiles/tumor_001.zarr/c/0/1"
    assert path.relative_to(location("s3://bucket/run")).as_posix() == "tiles/tumor_001.zarr"
    assert [str(above) for above in path.parents][-1] == "s3://bucket"
    bucket = location("s3://bucket")
    assert bucket.parent == bucket
    with pytest.raises(ValueError, match="does not lie in"):
        path.relative_to(location("s3://bucket/run/til"))


def test_an_address_travels_to_a_worker_with_the_way_to_reach_it():
    path = location("s3://bucket/a", StoreAccess(anonymous=True, region="us-west-2"))
    copy = pickle.loads(pickle.dumps(path))
    assert copy == path
    assert remote(copy).access.region == "us-west-2"
    assert copy != location("s3://bucket/a")


def test_objects_and_what_they_lie_in_are_told_apart(place: Path):
    write_bytes(place / "run" / "a.json", b"{}")
    write_bytes(place / "run" / "empty", b"")
    write_bytes(place / "run" / "deep" / "b.json", b"{}")
    assert (place / "run" / "a.json").is_file()
    assert not (place / "run").is_file()
    assert (place / "run").is_dir()
    assert not (place / "ru").exists()
    assert sorted(path.name for path in (place / "run").iterdir()) == ["a.json", "deep", "empty"]
    assert [path.name for path in (place / "run").glob("*.json")] == ["a.json"]
    assert [path.name for path in (place / "run").rglob("*.json")] == ["a.json", "b.json"]
    assert all(path.read_bytes() == b"{}" for path in place.rglob("*.json"))
    assert list((place / "nothing").glob("*")) == list((place / "nothing").rglob("*")) == []
    assert (place / "run" / "empty").read_bytes() == b""
    assert (place / "run" / "empty").open("rb").read() == b""


def test_what_is_not_there_is_no_trouble_with_the_store(place: Path):
    for read in (Path.read_bytes, Path.stat):
        with pytest.raises(FileNotFoundError) as caught:
            getattr(place / "missing", read.__name__)()
        assert caught.value.filename == str(place / "missing")
    (place / "missing").unlink(missing_ok=True)
    remote(place / "missing").remove_tree()
    with pytest.raises(FileNotFoundError):
        (place / "missing").unlink()


def test_ranges_come_back_in_order_and_end_where_the_object_ends(place: Path):
    content = random.Random(1).randbytes(3_000_000)
    write_bytes(place / "object", content)
    ranges = [
        (2_999_990, 100),
        (0, 10),
        (1_000_000, 5),
        (5, 0),
        (3_000_000, 5),
        (2, 20),
        (900_000, 1_500_000),
    ]
    expected = [content[offset : offset + length] for offset, length in ranges]
    assert remote(place / "object").read_ranges(ranges) == expected
    assert remote(place / "object").read_ranges([]) == []


def test_an_object_is_read_like_a_file(place: Path):
    content = random.Random(2).randbytes(2_500_000)
    write_bytes(place / "object", content)
    with (place / "object").open("rb") as file:
        file.seek(100)
        assert file.read(50) == content[100:150]
        assert file.read() == content[150:]
        file.seek(-5, 2)
        assert file.read() == content[-5:]
    write_bytes(place / "table.csv", "\ufeffa,b\r\n1,2\r\n".encode())
    with (place / "table.csv").open(encoding="utf-8-sig", newline="") as file:
        assert file.read() == "a,b\r\n1,2\r\n"
    with pytest.raises(ValueError, match="written whole"):
        (place / "object").open("w")


def test_neighbours_are_fetched_with_one_request(bucket: Path, calls: list[str]):
    write_bytes(bucket / "object", bytes(4_000_000))
    calls.clear()
    remote(bucket / "object").read_ranges([(1000, 500), (2000, 500), (2_000_000, 500)])
    assert calls == ["get_object", "get_object"]


def test_a_small_object_is_read_with_one_request(bucket: Path, calls: list[str]):
    write_bytes(bucket / "object", b"abc")
    calls.clear()
    assert (bucket / "object").read_bytes() == b"abc"
    with (bucket / "object").open() as file:
        assert file.read() == "abc"
    assert calls == ["get_object", "get_object"]


def test_another_process_is_seen_at_once(bucket: Path):
    assert not (bucket / "run" / "a").exists()
    assert list((bucket / "run").glob("*")) == []
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).pipe_file(f"{bucket.name}/run/a", b"1")
    assert (bucket / "run" / "a").is_file()
    assert [path.name for path in (bucket / "run").glob("*")] == ["a"]


def test_a_missing_bucket_is_named_when_it_is_written_to(s3_environment: None):
    with pytest.raises(ObjectStoreError, match=r"s3://no-such-bucket/a cannot be written.*Make the bucket"):
        write_bytes(location("s3://no-such-bucket/a"), b"1")
