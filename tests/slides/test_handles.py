import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slidepipe.errors import RegionReadError, SlideFormatError
from slidepipe.slides.handles import OPEN_SLIDES, borrow_slide, close_borrowed
from slidepipe.slides.reader import SlideReader, SlideSource

WriteTiff = Callable[..., Path]


@pytest.fixture
def sources(tmp_path: Path, pixels: NDArray[np.uint8], write_tiff: WriteTiff) -> list[SlideSource]:
    first = write_tiff(tmp_path / "0.tif", pixels, levels=1)
    paths = [first, *(Path(shutil.copy(first, tmp_path / f"{n}.tif")) for n in range(1, OPEN_SLIDES + 2))]
    return [SlideSource(path.stem, str(path), "tiff") for path in paths]


def _borrow(source: SlideSource) -> SlideReader:
    with borrow_slide(source) as reader:
        return reader


def _is_open(reader: SlideReader) -> bool:
    try:
        reader.read_region((0, 0), 0, (1, 1))
    except RegionReadError:
        return False
    return True


def test_a_slide_is_opened_once_for_many_borrowers(sources: list[SlideSource]) -> None:
    assert _borrow(sources[0]) is _borrow(sources[0])
    assert _is_open(_borrow(sources[0]))


def test_another_pixel_size_is_another_slide(sources: list[SlideSource]) -> None:
    other = SlideSource("0", sources[0].path, "tiff", 1.5)
    assert _borrow(other).info.pixel_size.x_um == 1.5
    assert _borrow(sources[0]).info.pixel_size.x_um == 0.5


def test_the_slide_used_longest_ago_is_closed_first(sources: list[SlideSource]) -> None:
    readers = [_borrow(source) for source in sources[:OPEN_SLIDES]]
    _borrow(sources[0])
    _borrow(sources[OPEN_SLIDES])
    assert [_is_open(reader) for reader in readers] == [True, False] + [True] * (OPEN_SLIDES - 2)


def test_a_slide_in_use_is_never_closed(sources: list[SlideSource]) -> None:
    with borrow_slide(sources[0]) as held:
        for source in sources[1:]:
            _borrow(source)
        close_borrowed()
        assert _is_open(held)
    close_borrowed()
    assert not _is_open(held)


def test_more_slides_than_are_kept_can_be_in_use_at_once(sources: list[SlideSource]) -> None:
    with ExitStack() as blocks:
        readers = [blocks.enter_context(borrow_slide(source)) for source in sources]
        assert len(readers) > OPEN_SLIDES
        assert all(_is_open(reader) for reader in readers)


def test_after_an_error_the_slide_is_opened_afresh(sources: list[SlideSource]) -> None:
    with pytest.raises(ZeroDivisionError), borrow_slide(sources[0]) as before:
        raise ZeroDivisionError
    assert not _is_open(before)
    after = _borrow(sources[0])
    assert after is not before
    assert _is_open(after)


def test_an_error_in_an_inner_block_leaves_the_outer_one_its_reader(sources: list[SlideSource]) -> None:
    with borrow_slide(sources[0]) as outer:
        with pytest.raises(ZeroDivisionError), borrow_slide(sources[0]):
            raise ZeroDivisionError
        assert _is_open(outer)
    assert not _is_open(outer)


def test_a_slide_that_was_replaced_is_opened_again(
    sources: list[SlideSource], pixels: NDArray[np.uint8], write_tiff: WriteTiff
) -> None:
    before = _borrow(sources[0])
    write_tiff(Path(sources[0].path), pixels[:200], levels=1)
    after = _borrow(sources[0])
    assert (before.info.size_px0, after.info.size_px0) == ((500, 300), (500, 200))


def test_every_thread_has_its_own_reader(sources: list[SlideSource]) -> None:
    readers = [_borrow(sources[0])]
    thread = threading.Thread(target=lambda: readers.append(_borrow(sources[0])))
    thread.start()
    thread.join()
    assert readers[0] is not readers[1]


def test_a_slide_that_cannot_be_opened_is_tried_again_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"not yet")
    for _ in range(2):
        with pytest.raises(SlideFormatError), borrow_slide(SlideSource("a", str(path))):
            pass
    path.unlink()
    with pytest.raises(FileNotFoundError), borrow_slide(SlideSource("a", str(path))):
        pass
