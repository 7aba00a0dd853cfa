import csv
import hashlib
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from slidepipe.errors import CohortError, ConfigError
from slidepipe.slides.annotations import read_annotation
from slidepipe.slides.cohort import CohortSettings, find_cohort
from slidepipe.slides.drawing import MACRO_UM, DrawingSettings, SlidePlan, draw_cohort, plan_cohort
from slidepipe.slides.drawing_anatomy import Anatomy, plan_anatomy
from slidepipe.slides.drawing_cells import CELLS, draw_stamps, stamp_cells
from slidepipe.slides.drawing_picture import TISSUES, Look, paint
from slidepipe.slides.drawing_texture import STAINS, Sheets, colour, draw_sheets, smooth_noise, vary_stain
from slidepipe.slides.rasterise import rasterise

SMALL = DrawingSettings(train_normal=1, train_tumour=1, test=2, size_px=1536)
ITC_UM = 200.0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_cohort(tmp_path_factory.mktemp("drawn"), SMALL)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "reference.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module", params=[4, 5], ids=["macro", "micro"])
def tumour_slide(request: pytest.FixtureRequest) -> tuple[SlidePlan, Anatomy]:
    plan = plan_cohort(DrawingSettings())[request.param]
    rng = np.random.default_rng(0)
    return plan, plan_anatomy(rng, plan.size_px, plan.look.mpp, plan.lesion_lengths_um)


@pytest.fixture(scope="module")
def sheets() -> Sheets:
    return draw_sheets(np.random.default_rng(0))


@pytest.fixture(scope="module")
def disc() -> Anatomy:
    """One disc of lymphoid tissue, 320 px wide, in the middle of a slide of 1600 × 1200 px."""
    rows, columns = np.mgrid[:150, :200]
    edge_px = (160 - 8 * np.hypot(rows - 75, columns - 100)).astype(np.float32)
    shares = {name: np.zeros_like(edge_px) for name in TISSUES}
    shares["lymphoid"] = (edge_px > 0).astype(np.float32)
    return Anatomy(edge_px, shares, edge_px, ())


class TestFolder:
    def test_it_has_the_layout_of_the_open_release(self, cohort: Path) -> None:
        assert sorted(_digests(cohort)) == [
            "annotations/test_001.xml",
            "annotations/tumor_001.xml",
            "images/normal_001.tif",
            "images/test_001.tif",
            "images/test_002.tif",
            "images/tumor_001.tif",
            "reference.csv",
        ]

    def test_reference_csv_names_label_size_and_centre(self, cohort: Path) -> None:
        rows = _rows(cohort)
        assert list(rows[0]) == ["image", "type", "class", "center"]
        assert [(row["image"], row["type"], row["center"]) for row in rows] == [
            ("normal_001.tif", "normal", "0"),
            ("tumor_001.tif", "tumor", "1"),
            ("test_001.tif", "tumor", "0"),
            ("test_002.tif", "normal", "0"),
        ]
        assert [row["class"] for row in rows] == ["negative", "micro", "micro", "negative"]

    def test_our_own_cohort_reader_understands_it(self, cohort: Path) -> None:
        found = find_cohort(CohortSettings(folder=str(cohort)))
        assert {slide.source.slide_id: (slide.label, slide.split) for slide in found.slides} == {
            "normal_001": ("normal", "train"),
            "tumor_001": ("tumor", "train"),
            "test_001": ("tumor", "test"),
            "test_002": ("normal", "test"),
        }

    def test_drawing_twice_gives_the_same_bytes_and_says_each_slide(
        self, cohort: Path, tmp_path: Path
    ) -> None:
        seen: list[str] = []
        draw_cohort(tmp_path, SMALL, seen.append)
        assert _digests(tmp_path) == _digests(cohort)
        assert seen == ["normal_001", "tumor_001", "test_001", "test_002"]

    def test_another_seed_draws_another_slide(self, cohort: Path, tmp_path: Path) -> None:
        draw_cohort(tmp_path, DrawingSettings(train_normal=1, train_tumour=0, test=0, size_px=1536, seed=1))
        assert _digests(tmp_path)["images/normal_001.tif"] != _digests(cohort)["images/normal_001.tif"]

    def test_a_folder_with_other_slides_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        stranger = tmp_path / "images" / "normal_099.tif"
        stranger.parent.mkdir()
        stranger.write_bytes(b"not ours")
        with pytest.raises(CohortError, match=r"holds 1 files.*normal_099\.tif first"):
            draw_cohort(tmp_path, SMALL)
        assert list(_digests(tmp_path)) == ["images/normal_099.tif"]

    def test_a_cohort_without_slides_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="all 0"):
            DrawingSettings(train_normal=0, train_tumour=0, test=0)


class TestContainers:
    def test_openslide_knows_the_first_centre_as_generic_tiff(self, cohort: Path) -> None:
        with openslide.OpenSlide(cohort / "images" / "normal_001.tif") as slide:
            assert slide.properties["openslide.vendor"] == "generic-tiff"
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.972, abs=1e-6)
            assert slide.dimensions == plan_cohort(SMALL)[0].size_px
            assert slide.level_downsamples == pytest.approx(
                [2.0**level for level in range(slide.level_count)]
            )
            assert slide.properties["openslide.level[0].tile-width"] == "512"

    def test_openslide_knows_the_second_centre_as_philips(self, cohort: Path) -> None:
        with openslide.OpenSlide(cohort / "images" / "tumor_001.tif") as slide:
            assert slide.properties["openslide.vendor"] == "philips"
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.905, abs=1e-6)
            assert slide.level_count >= 2
            assert slide.level_downsamples == pytest.approx(
                [2.0**level for level in range(slide.level_count)]
            )

    def test_philips_levels_are_padded_to_whole_tiles(self, cohort: Path) -> None:
        with tifffile.TiffFile(cohort / "images" / "tumor_001.tif") as tiff:
            pages = list(tiff.pages)
            assert tiff.is_bigtiff
            assert pages[0].tags["Software"].value == "Philips DP v1.0"
            assert all(size % 512 == 0 for page in pages for size in page.shape[:2])
            assert pages[1].shape[0] * 2 > pages[0].shape[0]

    def test_the_generic_tiff_has_every_tile_and_no_text(self, cohort: Path) -> None:
        with tifffile.TiffFile(cohort / "images" / "normal_001.tif") as tiff:
            assert all(count > 0 for page in tiff.pages for count in page.databytecounts)
            assert not {"Software", "ImageDescription", "DateTime"} & set(tiff.pages[0].tags.keys())


class TestLesions:
    @pytest.mark.parametrize(
        ("slide_id", "groups"), [("tumor_001", {"_0", "_2"}), ("test_001", {"Tumor", "Exclusion"})]
    )
    def test_annotations_are_read_back_with_both_kinds_of_groups(
        self, cohort: Path, slide_id: str, groups: set[str]
    ) -> None:
        annotation = read_annotation(cohort / "annotations" / f"{slide_id}.xml", slide_id)
        assert {outline.group for outline in annotation.outlines} == groups
        with openslide.OpenSlide(cohort / "images" / f"{slide_id}.tif") as slide:
            points = np.concatenate([outline.points_px0 for outline in annotation.outlines])
            assert (points > 0).all()
            assert (points < slide.dimensions).all()

    def test_the_annotated_tissue_looks_unlike_the_island_cut_out_of_it(self, cohort: Path) -> None:
        """Nuclei of tumour are farther apart than those of lymphocytes, so that less of the area is dark."""
        annotation = read_annotation(cohort / "annotations" / "tumor_001.xml", "tumor_001")
        pixels = tifffile.imread(cohort / "images" / "tumor_001.tif", key=0)
        shape = (pixels.shape[0] // 4, pixels.shape[1] // 4)
        is_tumour = rasterise(annotation, shape, (4.0, 4.0))
        red = pixels[: shape[0] * 4 : 4, : shape[1] * 4 : 4, 0].astype(float)
        filled = np.asarray(ndimage.binary_fill_holes(is_tumour))
        inner = ndimage.binary_erosion(is_tumour, iterations=4)
        ring = ndimage.binary_dilation(filled, iterations=12) & ~ndimage.binary_dilation(filled, iterations=3)
        assert (filled & ~is_tumour).sum() > 20
        assert np.mean(red[inner] < 110) < 0.7 * np.mean(red[ring] < 110)

    def test_lesions_get_the_planned_length(self, tumour_slide: tuple[SlidePlan, Anatomy]) -> None:
        plan, anatomy = tumour_slide
        lengths = [lesion.length_um for lesion in anatomy.lesions]
        assert lengths == pytest.approx(plan.lesion_lengths_um, rel=0.15)
        assert min(lengths) < ITC_UM

    def test_lesions_keep_their_distance_and_stay_inside_the_tissue(
        self, tumour_slide: tuple[SlidePlan, Anatomy]
    ) -> None:
        plan, anatomy = tumour_slide
        outlines = [lesion.outline_px0 for lesion in anatomy.lesions]
        for number, outline in enumerate(outlines):
            steps = (outline // 8).astype(int)
            assert (anatomy.edge_px[steps[:, 1], steps[:, 0]] > 0).all()
            for other in outlines[:number]:
                nearest, _ = cKDTree(other).query(outline)
                assert nearest.min() * plan.look.mpp > 150

    def test_the_first_lesion_has_an_island_inside(self, tumour_slide: tuple[SlidePlan, Anatomy]) -> None:
        first, *others = tumour_slide[1].lesions
        assert len(first.holes_px0) == 1
        assert not any(lesion.holes_px0 for lesion in others)
        assert (first.holes_px0[0].min(0) > first.outline_px0.min(0)).all()
        assert (first.holes_px0[0].max(0) < first.outline_px0.max(0)).all()

    def test_the_shares_of_the_tissues_never_exceed_one(
        self, tumour_slide: tuple[SlidePlan, Anatomy]
    ) -> None:
        anatomy = tumour_slide[1]
        total = np.sum(list(anatomy.shares.values()), axis=0)
        assert total.max() <= 1 + 1e-5
        assert total[anatomy.edge_px < -16].max() == 0
        assert np.median(total[anatomy.edge_px > 100]) == pytest.approx(1)


class TestPlan:
    def test_the_default_cohort_balances_centres_and_sizes(self) -> None:
        plans = plan_cohort(DrawingSettings())
        assert len(plans) == 16
        macro = {
            (plan.slide_id[:4], plan.look.centre)
            for plan in plans
            if max(plan.lesion_lengths_um, default=0) > MACRO_UM
        }
        assert macro == {("tumo", 0), ("tumo", 1), ("test", 0), ("test", 1)}
        for has_tumour in (False, True):
            chosen = [plan for plan in plans if bool(plan.lesion_lengths_um) == has_tumour]
            assert len(chosen) == 8
            assert sum(plan.look.centre for plan in chosen) == 4
            assert any(plan.look.pen for plan in chosen)
            assert any(plan.look.has_blurred_spot for plan in chosen)

    def test_sizes_stay_near_the_setting(self) -> None:
        sizes = np.array([plan.size_px for plan in plan_cohort(DrawingSettings())])
        assert sizes.min() >= 4096
        assert sizes.max() <= 5120
        assert len(np.unique(sizes)) > 4


class TestPicture:
    @staticmethod
    def _paint(disc: Anatomy, sheets: Sheets, look: Look) -> NDArray[np.uint8]:
        return paint(np.random.default_rng(0), disc, look, (1600, 1200), sheets)

    def test_tissue_is_stained_and_the_rest_is_nearly_white(self, disc: Anatomy, sheets: Sheets) -> None:
        picture = self._paint(disc, sheets, Look(centre=0, mpp=0.972))
        assert picture.shape == (1200, 1600, 3)
        assert picture[500:700, 700:900].mean() < 150
        assert picture[:200].mean() > 225
        assert picture[:200].std() > 0.5

    def test_a_cropped_slide_is_pure_white_away_from_the_tissue(self, disc: Anatomy, sheets: Sheets) -> None:
        whole = self._paint(disc, sheets, Look(centre=1, mpp=0.905))
        cropped = self._paint(disc, sheets, Look(centre=1, mpp=0.905, is_cropped=True))
        assert (cropped[:200] == 255).all()
        assert (cropped[:, :400] == 255).all()
        assert (cropped[400:800, 600:1000] == whole[400:800, 600:1000]).all()

    def test_a_pen_mark_only_darkens_and_not_the_middle(self, disc: Anatomy, sheets: Sheets) -> None:
        clean = self._paint(disc, sheets, Look(centre=0, mpp=0.972)).astype(int)
        marked = self._paint(disc, sheets, Look(centre=0, mpp=0.972, pen=(1.3, 0.6, 0.1))).astype(int)
        darker = clean - marked
        assert darker.min() >= 0
        assert darker[..., 0].max() > 100
        assert darker[560:640, 760:840].max() == 0

    def test_an_unsharp_spot_loses_contrast(self, disc: Anatomy, sheets: Sheets) -> None:
        clean = self._paint(disc, sheets, Look(centre=0, mpp=0.972)).astype(int)
        blurred = self._paint(disc, sheets, Look(centre=0, mpp=0.972, has_blurred_spot=True)).astype(int)
        changed = (clean != blurred).any(-1)
        assert 0.001 < changed.mean() < 0.2
        assert blurred[changed].std() < 0.9 * clean[changed].std()


class TestTexture:
    def test_no_stain_is_white_and_more_stain_follows_beer_and_lambert(self) -> None:
        stain = STAINS[1]
        amounts = np.array([[[0, 100]], [[0, 40]]], np.uint8)
        expected = np.array(stain.white) * np.exp(-np.array(stain.haematoxylin) - 0.4 * np.array(stain.eosin))
        picture = colour(amounts, stain)
        assert picture[0, 0].tolist() == list(stain.white)
        assert picture[0, 1] == pytest.approx(expected, abs=0.5)

    def test_a_slide_is_stained_a_little_unlike_the_next(self) -> None:
        rng = np.random.default_rng(0)
        first, second = (vary_stain(rng, STAINS[0]) for _ in range(2))
        assert first != second
        assert first.eosin == pytest.approx(STAINS[0].eosin, rel=0.3)

    def test_noise_wraps_around_and_is_standardised(self) -> None:
        noise = smooth_noise(np.random.default_rng(0), (64, 96), 4.0)
        assert noise.std() == pytest.approx(1, abs=1e-3)
        assert np.abs(noise[0] - noise[-1]).max() < 1
        assert np.abs(noise[0] - noise[32]).max() > 1


class TestCells:
    def test_tumour_nuclei_are_larger_and_paler_than_lymphocytes(self) -> None:
        area, depth = {}, {}
        for name in ("lymphocyte", "tumour"):
            nuclei = draw_stamps(np.random.default_rng(0), CELLS[name], 0.972).amounts[0].astype(float)
            area[name] = (nuclei > 20).sum((1, 2)).mean()
            depth[name] = nuclei[nuclei > 20].mean()
        assert area["tumour"] > 2 * area["lymphocyte"]
        assert depth["tumour"] < 0.8 * depth["lymphocyte"]

    def test_cells_that_reach_over_the_edge_are_left_out(self) -> None:
        stamps = draw_stamps(np.random.default_rng(0), CELLS["lymphocyte"], 1.0)
        canvas = np.zeros((2, 60, 80), np.uint8)
        half = stamps.side_px // 2
        places = np.array([[0, 40], [59, 40], [30, half - 1], [30, 80 - half]])
        stamp_cells(canvas, stamps, places, np.arange(4))
        assert not canvas.any()
        stamp_cells(canvas, stamps, np.array([[30, 40]]), np.array([5]))
        window = canvas[:, 30 - half : 31 + half, 40 - half : 41 + half]
        assert (window == stamps.amounts[:, 5]).all()

    def test_overlapping_cells_keep_the_higher_amount(self) -> None:
        stamps = draw_stamps(np.random.default_rng(0), CELLS["tumour"], 1.0)
        canvas = np.full((2, 80, 80), 30, np.uint8)
        places = np.array([[40, 38], [40, 42]])
        stamp_cells(canvas, stamps, places, np.array([1, 2]))
        assert canvas.min() == 30
        assert canvas.max() == stamps.amounts[:, 1:3].max()
