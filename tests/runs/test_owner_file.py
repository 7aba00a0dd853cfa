"""One command at a time works on a run in an object store, by the clock of the store."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from slidepipe.errors import RunError
from slidepipe.runs import ownership
from slidepipe.runs.ownership import living_owner, living_sharers, own_run, share_run
from slidepipe.storage.conditional import create_object, object_age_s, renew_object
from slidepipe.storage.locations import as_remote, location
from slidepipe.storage.remote import RemotePath

from .test_ownership import elsewhere, files, own_run_refused, start_together


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "HEARTBEAT_S", 0.05)


@pytest.fixture
def root(bucket: Path) -> Path:
    return bucket / "run"


def place(path: Path) -> RemotePath:
    remote = as_remote(path)
    assert remote is not None
    return remote


def stored_ago(path: Path, seconds: float) -> None:
    """Have the store say that it got an object some time ago."""
    backends = pytest.importorskip("moto.s3.models").s3_backends
    bucket, _, key = str(path).removeprefix("s3://").partition("/")
    for account in backends.values():
        for backend in account.values():
            if bucket in backend.buckets:
                backend.get_object(bucket, key).last_modified -= timedelta(seconds=seconds)


def test_an_object_is_created_once_and_renewed_by_whoever_created_it(root: Path):
    path = place(root / "owner" / "1.json")
    assert object_age_s(path) is None
    assert not renew_object(path, b"mine")
    assert create_object(path, b"mine")
    assert not create_object(path, b"another's")
    assert path.read_bytes() == b"mine"
    stored_ago(root / "owner" / "1.json", 100)
    assert object_age_s(path) == pytest.approx(100, abs=30)
    assert renew_object(path, b"mine")
    assert object_age_s(path) == pytest.approx(0, abs=30)
    assert not renew_object(path, b"another's")


def test_the_second_is_refused_while_the_first_lives_and_nothing_is_left(root: Path):
    with own_run(root, ("tile",)) as first:
        assert living_owner(root) == first.owner
        with own_run_refused(root, rf"s3://.* worked on by process {os.getpid()} on .* since 20"):
            pass
        with pytest.raises(RunError, match="worked on by"), share_run(root, "tile", ["a"]):
            pass
        time.sleep(0.5)  # for some beats
        first.check()
    assert living_owner(root) is None
    assert files(root) == []


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_an_owner_elsewhere_lives_by_the_clock_of_the_store_alone(root: Path, skew_s: float):
    path = elsewhere(root, since=time.time() + skew_s)
    with own_run_refused(root, "process 1 on node7"):
        pass
    stored_ago(path, 301)
    assert living_owner(root) is None
    with own_run(root):
        assert files(root) == ["2.json"]


def test_of_many_that_start_at_once_never_two_own_the_run(root: Path):
    stored_ago(elsewhere(root), 301)
    assert set(start_together(root, 4, 0.2)) == {1}
    assert files(root) == []


def test_an_owner_that_slept_is_told_and_does_not_come_back(root: Path):
    with own_run(root) as slept:
        (root / "owner" / "1.json").unlink()
        successor = elsewhere(root)
        time.sleep(1)
        with pytest.raises(RunError, match="taken over"):
            slept.check()
    assert successor.exists()


def test_commands_about_slides_share_it(root: Path):
    with share_run(root, "tile", ["a"]) as one, share_run(root, "tile", ["b"]) as two:
        assert set(living_sharers(root)) == {one.owner, two.owner}
        with own_run_refused(root, "worked on by process", ("tile",)):
            pass
    assert files(root) == []


_CONDITIONS = ("If-None-Match", "If-Match")


@contextmanager
def a_store_that(answers: str) -> Iterator[None]:
    """Have the service pass conditions over, or refuse them, as others than Amazon's do."""
    from moto.s3.responses import S3Response

    put = S3Response.put_object

    def put_object(self: S3Response) -> object:
        if answers == "501" and any(name in self.headers for name in _CONDITIONS):
            return 501, {}, "<Error><Code>NotImplemented</Code><Message>no conditions</Message></Error>"
        self.headers = {name: value for name, value in self.headers.items() if name not in _CONDITIONS}
        return put(self)

    S3Response.put_object = put_object
    yield
    S3Response.put_object = put


@pytest.mark.parametrize("answer", ["501", "200"])
def test_a_store_without_conditional_writes_is_told_of_and_used(
    root: Path, caplog: pytest.LogCaptureFixture, answer: str
):
    with a_store_that(answer), caplog.at_level(logging.WARNING), own_run(root) as mine:
        assert "knows no conditional writes" in caplog.text
        with own_run_refused(root, "worked on by process"):
            pass
        time.sleep(0.5)
        mine.check()
    assert files(root) == []


def test_a_store_that_is_not_s3_is_told_of_and_used(caplog: pytest.LogCaptureFixture):
    root = location("memory://run")
    with caplog.at_level(logging.WARNING), own_run(root) as mine, share_run(root, "tile", None):
        mine.check()
    assert "nothing keeps two commands at once" in caplog.text
    assert living_owner(root) is None
