from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from slidepipe.slides.slide_writer import Container, write_slide


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:700, :1100]
    return np.stack([rows // 4, columns // 5, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("container", ["asap", "philips"])
def test_every_level_shows_the_picture(
    tmp_path: Path, picture: NDArray[np.uint8], container: Container
) -> None:
    write_slide(tmp_path / "a.tif", picture, container, 0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        levels = [page.asarray().astype(int) for page in tiff.pages]
    assert len(levels) == 3
    for index, level in enumerate(levels):
        expected = picture[: 512 : 2**index, : 1024 : 2**index].astype(int)
        assert np.abs(level[: expected.shape[0], : expected.shape[1]] - expected).mean() < 3


def test_asap_levels_keep_their_size_and_carry_the_pixel_size(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    write_slide(tmp_path / "a.tif", picture[:699], "asap", 0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert [page.shape[:2] for page in tiff.pages] == [(699, 1100), (349, 550), (174, 275)]
        resolutions = [page.tags["XResolution"].value for page in tiff.pages]
        assert [1e4 * d / n for n, d in resolutions] == pytest.approx([0.5, 1.0, 2.0])
        assert [page.tags["ResolutionUnit"].value for page in tiff.pages] == [3, 3, 3]


def test_philips_pads_each_level_with_white_and_leaves_white_tiles_out(tmp_path: Path) -> None:
    pixels = np.full((700, 1100, 3), 255, np.uint8)
    pixels[:100, :100] = 60
    write_slide(tmp_path / "a.tif", pixels, "philips", 0.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert [page.shape[:2] for page in tiff.pages] == [(1024, 1536), (512, 1024), (512, 512)]
        present = [[count > 0 for count in page.databytecounts] for page in tiff.pages]
        assert present == [[True] + 5 * [False], [True, False], [True]]
        assert "&quot;0.000500000&quot; &quot;0.000500000&quot;" in tiff.pages[0].description
        assert tiff.pages[1].description.startswith("level=1 ")
