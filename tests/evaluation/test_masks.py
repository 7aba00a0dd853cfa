"""Reference masks from images and outlines."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.masks import MaskFile, nearest_level, paint_mask, read_mask
from slidepipe.slides.annotations import Outline, SlideAnnotation


def square_mask(value: int) -> np.ndarray:
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[10:30, 20:50] = value
    return mask


def saved(path: Path, mask: np.ndarray) -> str:
    Image.fromarray(mask).save(path)
    return str(path)


@pytest.mark.parametrize("value", [255, 1, 2])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_with_the_stated_value_is_read(tmp_path: Path, value: int, suffix: str) -> None:
    path = saved(tmp_path / f"slide{suffix}", square_mask(value))
    mask = read_mask(MaskFile(path, value), "slide")
    assert mask.is_tumour.sum() == 600
    assert (mask.level, mask.step_px0, mask.is_bounded) == (5, 32.0, True)


@pytest.mark.parametrize(("value", "stated"), [(1, 255), (2, 255), (255, 1), (2, 1), (255, 2), (1, 2)])
def test_a_mask_with_another_value_is_refused(tmp_path: Path, value: int, stated: int) -> None:
    path = saved(tmp_path / "slide.png", square_mask(value))
    with pytest.raises(EvaluationError, match=rf"slide_9.*{value}.*{stated}|slide_9.*{stated}"):
        read_mask(MaskFile(path, stated), "slide_9")


def test_value_1_of_the_open_release_is_no_tumour(tmp_path: Path) -> None:
    mask = square_mask(2)
    mask[40:50, :] = 1
    assert read_mask(MaskFile(saved(tmp_path / "slide.png", mask), 2), "slide").is_tumour.sum() == 600


def test_of_colour_images_the_first_channel_counts_and_bits_are_tumour(tmp_path: Path) -> None:
    mask = square_mask(255)
    colour = np.stack([mask, np.full_like(mask, 7), mask], axis=-1)
    assert read_mask(MaskFile(saved(tmp_path / "a.png", colour)), "slide").is_tumour.sum() == 600
    Image.fromarray(mask).convert("1").save(tmp_path / "b.png")
    assert read_mask(MaskFile(str(tmp_path / "b.png"), 1), "slide").is_tumour.sum() == 600


def test_the_wanted_level_of_a_pyramid_is_read_and_its_pixel_size_known(tmp_path: Path) -> None:
    path = tmp_path / "slide_mask.tif"
    base = np.zeros((512, 768), dtype=np.uint8)
    base[128:256, 256:512] = 2
    with tifffile.TiffWriter(path) as writer:
        for level in range(4):
            # 10,000 µm of a centimetre / 0.243 µm
            writer.write(
                base[:: 2**level, :: 2**level],
                tile=(64, 64),
                compression="lzw",
                subfiletype=1 if level else 0,
                resolution=(10_000 / 0.243, 10_000 / 0.243) if level == 0 else None,
                resolutionunit="CENTIMETER",
            )
    mask = read_mask(MaskFile(str(path), 2, 3), "slide")
    assert mask.is_tumour.shape == (64, 96)
    assert mask.is_tumour.sum() == 16 * 32
    assert mask.spacing_um == pytest.approx(0.243, rel=1e-6)
    with pytest.raises(EvaluationError, match="0 to 3, and level 5"):
        read_mask(MaskFile(str(path), 2), "slide")


def test_the_real_mask_of_tumor_072_is_read_and_its_pixel_size_known(shared_data: Path) -> None:
    path = shared_data / "slides" / "tumor_072_level7_mask.tif"
    mask = read_mask(MaskFile(str(path), 1, 0), "tumor_072")
    assert mask.is_tumour.sum() == 7580
    assert mask.spacing_um == pytest.approx(28.97, abs=0.01)


def test_a_resolution_for_printers_is_no_pixel_size(tmp_path: Path) -> None:
    Image.fromarray(square_mask(255)).save(tmp_path / "slide.tif", dpi=(300, 300))
    assert read_mask(MaskFile(str(tmp_path / "slide.tif")), "slide").spacing_um is None


def test_a_page_that_is_not_the_level_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        for size in (64, 48):
            writer.write(np.zeros((size, size), dtype=np.uint8))
    with pytest.raises(EvaluationError, match="48 × 48"):
        read_mask(MaskFile(str(path), 255, 1), "slide")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slide.png").write_text("no image")
    with pytest.raises(EvaluationError, match=r"slide_3: mask slide\.png cannot be read"):
        read_mask(MaskFile(str(tmp_path / "slide.png")), "slide_3")


@pytest.mark.parametrize(
    ("spacing", "level"), [(0.243, 5), (0.226, 5), (0.972, 3), (0.5, 4), (None, 5), (30.0, 0)]
)
def test_the_level_nearest_to_the_official_pixel_is_chosen(spacing: float | None, level: int) -> None:
    assert nearest_level(spacing) == level


def test_a_painted_mask_covers_the_slide_or_all_that_can_grow() -> None:
    corners = np.array([[100.0, 200.0], [900.0, 200.0], [900.0, 700.0], [100.0, 700.0]])
    annotation = SlideAnnotation("slide", (Outline(corners, True, "_0"),))
    whole = paint_mask(annotation, 5, (1001, 900), 0.243)
    assert (whole.is_tumour.shape, whole.is_bounded) == ((29, 32), True)
    loose = paint_mask(annotation, 5, None, None)
    assert not loose.is_bounded
    assert loose.is_tumour.shape[0] >= 700 / 32 + 5
    np.testing.assert_array_equal(loose.is_tumour[:29, :32], whole.is_tumour[: loose.is_tumour.shape[0], :32])
    assert not paint_mask(SlideAnnotation("slide", ()), 5, None, None).is_tumour.any()
