"""One command at a time works on a run, and no dead one keeps others from it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from slidepipe.errors import RunError
from slidepipe.runs import ownership
from slidepipe.runs.ownership import living_owner, living_sharers, own_run, share_run
from slidepipe.runs.processes import this_machine
from slidepipe.storage.publish import write_bytes

_HOLD = """
import sys, time
from pathlib import Path
from slidepipe.runs.ownership import own_run
with own_run(Path(sys.argv[1]), ("train",)):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are touched often, so that those whose age says nothing need not be watched for long."""
    monkeypatch.setattr(ownership, "HEARTBEAT_S", 0.05)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the run."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def elsewhere(root: Path, name: str = "1", **more: object) -> Path:
    """Make the file of a process on another machine."""
    path = root / "owner" / f"{name}.json"
    fields = {"host": "node7", "machine": "other", "pid": 1, "born": "5", "since": 0.0, "nonce": f"n{name}"}
    write_bytes(path, json.dumps(fields | more).encode(), durable=False)
    return path


@contextmanager
def beating(path: Path, skew_s: float) -> Iterator[None]:
    """Touch a file as a process does on a file system that goes by its machine's clock, which is wrong."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.02):
            os.utime(path, (time.time() + skew_s,) * 2)

    thread = threading.Thread(target=beat)
    os.utime(path, (time.time() + skew_s,) * 2)
    thread.start()
    yield
    over.set()
    thread.join()


def test_nothing_is_left_behind(tmp_path: Path):
    with own_run(tmp_path) as mine:
        owner = living_owner(tmp_path)
        assert owner == mine.owner
        assert owner.pid == os.getpid()
    assert living_owner(tmp_path) is None
    assert [*tmp_path.iterdir()] == []


def test_the_second_process_is_refused_with_who_and_where(tmp_path: Path, other: subprocess.Popen[str]):
    with pytest.raises(RunError, match=rf"worked on by process {other.pid} on .* since 20"):  # noqa: SIM117
        with own_run(tmp_path):
            pass
    assert files(tmp_path) == ["1.json"]


def test_a_killed_process_on_this_machine_keeps_nobody_out(tmp_path: Path, other: subprocess.Popen[str]):
    os.kill(other.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while living_owner(tmp_path) is not None and time.monotonic() < deadline:
        time.sleep(0.01)  # not waited for: a zombie is dead too
    with own_run(tmp_path):
        assert files(tmp_path) == ["2.json"]
    assert files(tmp_path) == []


def test_a_process_with_the_number_of_a_dead_one_is_another(tmp_path: Path):
    path = elsewhere(tmp_path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "machine": this_machine(), "pid": os.getpid(), "born": "1"}))
    assert living_owner(tmp_path) is None


@pytest.mark.parametrize("skew_s", [0.0, -86400.0, 86400.0])
def test_an_owner_elsewhere_lives_while_its_file_is_touched_whatever_the_clocks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew_s: float
):
    path = elsewhere(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + skew_s)
    with pytest.raises(RunError, match="process 1 on node7"):  # noqa: SIM117
        with own_run(tmp_path):
            pass
    os.utime(path, (now - 301, now - 301))
    with own_run(tmp_path):
        assert files(tmp_path) == ["2.json"]


def test_a_file_that_was_cut_off_counts_until_it_is_old(tmp_path: Path):
    path = elsewhere(tmp_path)
    path.write_text('{"host": "no')
    with pytest.raises(RunError, match="just begun by another process"):  # noqa: SIM117
        with own_run(tmp_path):
            pass
    os.utime(path, (time.time() - 301,) * 2)
    with own_run(tmp_path):
        pass
    assert files(tmp_path) == []


def start_together(root: Path, count: int, pause_s: float) -> list[int]:
    """Try to own a run from several threads at once, and tell how many owned it whenever one did."""
    inside: list[int] = []
    most: list[int] = []
    start = threading.Barrier(count)

    def take(number: int) -> None:
        start.wait()
        with suppress(RunError), own_run(root):
            inside.append(number)
            most.append(len(inside))
            time.sleep(pause_s)
            inside.remove(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_of_many_that_start_at_once_never_two_own_the_run(tmp_path: Path):
    elsewhere(tmp_path)
    os.utime(tmp_path / "owner" / "1.json", (0, 0))
    assert set(start_together(tmp_path, 8, 0.05)) == {1}
    assert files(tmp_path) == []


def test_an_owner_whose_run_was_taken_over_is_told(tmp_path: Path):
    with own_run(tmp_path) as mine:
        mine.check()
        (tmp_path / "owner" / "1.json").unlink()
        time.sleep(0.3)
        with pytest.raises(RunError, match="taken over by another process"):
            mine.check()


def test_commands_about_single_slides_share_a_run_but_not_with_its_owner(
    tmp_path: Path, other: subprocess.Popen[str]
):
    with (
        pytest.raises(RunError, match=f"worked on by process {other.pid}"),
        share_run(tmp_path, "heatmap", ["a"]),
    ):
        pass
    with share_run(tmp_path, "tile", ["a"]):  # training changes nothing that cutting reads
        pass
    other.kill()
    other.wait()
    with share_run(tmp_path, "tile", ["a"]) as one, share_run(tmp_path, "tile", ["b"]) as two:
        assert set(living_sharers(tmp_path)) == {one.owner, two.owner}
        with own_run(tmp_path, ("train",)), own_run_refused(tmp_path, f"process {os.getpid()}"):
            pass
        with own_run_refused(tmp_path, f"process {os.getpid()}", ("tile", "train")):
            pass
    assert files(tmp_path) == []


@contextmanager
def own_run_refused(root: Path, match: str, stages: tuple[str, ...] = ()) -> Iterator[None]:
    with pytest.raises(RunError, match=match):  # noqa: SIM117
        with own_run(root, stages):
            pass
    yield


def test_what_a_killed_command_about_a_slide_left_stands_in_nobodys_way(tmp_path: Path):
    path = elsewhere(tmp_path, "beside-n1", stages=["tile"], slides=["a"])
    with own_run_refused(tmp_path, "process 1 on node7", ("tile",)):
        assert files(tmp_path) == ["beside-n1.json"]
    with share_run(tmp_path, "tile", ["b"]):
        pass
    os.utime(path, (time.time() - 301,) * 2)
    with own_run(tmp_path, ("tile",)):
        assert files(tmp_path) == ["1.json"]


@pytest.mark.parametrize("name", ["1", "beside-n1"])
@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_a_living_one_is_left_alone_where_the_file_system_goes_by_wrong_clocks(
    tmp_path: Path, skew_s: float, name: str
):
    path = elsewhere(tmp_path, name, stages=["tile"])
    with beating(path, skew_s), own_run_refused(tmp_path, "process 1 on node7", ("tile",)):
        pass
    assert files(tmp_path) == [f"{name}.json"]


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_a_dead_one_is_not_waited_for_where_the_file_system_goes_by_wrong_clocks(
    tmp_path: Path, skew_s: float
):
    path = elsewhere(tmp_path)
    os.utime(path, (time.time() + skew_s,) * 2)
    began = time.monotonic()
    with own_run(tmp_path, ("tile",)):
        assert files(tmp_path) == ["2.json"]
    assert time.monotonic() - began < 10


def test_one_that_slept_leaves_the_file_of_its_successor_alone(tmp_path: Path):
    with own_run(tmp_path) as slept:
        successor = elsewhere(tmp_path)  # it took over, went, and another one has the same number
        time.sleep(0.5)
        with pytest.raises(RunError, match="taken over"):
            slept.check()
    assert successor.exists()


def test_a_run_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "owner").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"cannot be written: .*File exists"):  # noqa: SIM117
        with own_run(tmp_path):
            pass


def test_the_file_is_touched_while_the_work_goes_on(tmp_path: Path):
    with own_run(tmp_path):
        path = tmp_path / "owner" / "1.json"
        os.utime(path, (0, 0))
        time.sleep(0.3)
        assert path.stat().st_mtime > 0
