import logging
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from slidepipe.errors import CohortError, ConfigError
from slidepipe.slides.cohort import (
    Cohort,
    CohortSettings,
    CohortSlide,
    SlideOverride,
    find_cohort,
)
from slidepipe.slides.cohort_table import read_cohort, write_cohort


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _by_name(cohort: Cohort) -> dict[str, CohortSlide]:
    return {slide.source.slide_id: slide for slide in cohort.slides}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The open release in small."""
    folder = tmp_path / "CAMELYON16"
    names = (
        "normal_001",
        "normal_144",
        "tumor_001",
        "tumor_010",
        "test_001",
        "test_003",
        "test_049",
        "test_114",
    )
    _touch(folder, *(f"images/{name}.tif" for name in names), *(f"masks/{name}_mask.tif" for name in names))
    _touch(
        folder, *(f"annotations/{name}.xml" for name in ("tumor_001", "tumor_010", "test_001", "test_114"))
    )
    (folder / "reference.csv").write_text(
        "image,type,class,center\nnormal_001.tif,normal,negative,0\nnormal_144.tif,normal,negative,0\n"
        "tumor_001.tif,tumor,macro,0\ntumor_010.tif,tumor,micro,1\ntest_001.tif,tumor,micro,1\n"
        "test_003.tif,normal,negative,0\ntest_114.tif,tumor,macro,1\n"
    )
    return folder


def test_the_open_release_is_read_with_labels_sizes_centres_and_splits(release: Path) -> None:
    cohort = find_cohort(CohortSettings(folder=str(release)))
    slides = _by_name(cohort)
    assert cohort.name == "CAMELYON16"
    assert list(slides) == sorted(slides)
    assert len(slides) == 8
    one = slides["tumor_010"]
    assert (one.label, one.size_class, one.centre, one.split) == ("tumor", "micro", "1", "train")
    assert one.source.path == str(release / "images" / "tumor_010.tif")
    assert one.annotation == str(release / "annotations" / "tumor_010.xml")
    assert (one.exhaustive, one.excluded, one.notes) == (True, (), ())
    assert slides["test_003"].label == "normal"
    assert [slide.source.slide_id for slide in cohort.split("test")] == [
        "test_001",
        "test_003",
        "test_049",
        "test_114",
    ]


def test_a_slide_that_the_table_does_not_know_is_kept_and_noted(release: Path) -> None:
    slide = _by_name(find_cohort(CohortSettings(folder=str(release))))["test_049"]
    assert (slide.label, slide.size_class, slide.exhaustive) == (None, None, False)
    assert slide.notes == ("not in the reference table",)


def test_a_slide_that_is_missing_is_listed_and_logged(
    release: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (release / "images" / "tumor_001.tif").unlink()
    with caplog.at_level(logging.WARNING):
        cohort = find_cohort(CohortSettings(folder=str(release)))
    assert cohort.missing == ("tumor_001",)
    assert "tumor_001" in caplog.text
    assert len(cohort.slides) == 7


def test_a_tumour_slide_without_annotation_is_kept_noted_and_not_exhaustive(release: Path) -> None:
    (release / "annotations" / "tumor_001.xml").unlink()
    slide = _by_name(find_cohort(CohortSettings(folder=str(release))))["tumor_001"]
    assert (slide.annotation, slide.exhaustive) == (None, False)
    assert slide.notes == ("tumour, but no annotation file",)


def test_the_real_table_has_the_published_counts(tmp_path: Path, shared_data: Path) -> None:
    shutil.copy(shared_data / "camelyon16" / "reference.csv", tmp_path / "reference.csv")
    names = [line.split(",")[0] for line in (tmp_path / "reference.csv").read_text().splitlines()[1:]]
    _touch(tmp_path, *(f"images/{name}" for name in names))
    slides = find_cohort(CohortSettings(folder=str(tmp_path), exclusions="camelyon16")).slides
    assert Counter((slide.split, slide.label) for slide in slides) == {
        ("train", "normal"): 159, ("train", "tumor"): 111, ("test", "normal"): 80, ("test", "tumor"): 49,
    }  # fmt: skip
    assert Counter(slide.size_class for slide in slides if slide.split == "test") == {
        "negative": 80, "micro": 27, "macro": 22,
    }  # fmt: skip
    assert Counter(scope for slide in slides for scope in slide.excluded) == {
        "lesions": 1,
        "train_negatives": 21,
    }


def test_gigadb_has_a_table_without_header_and_labels_in_folders(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        "training/normal/normal_001.tif",
        "training/tumor/tumor_001.tif",
        "training/lesion_annotations/tumor_001.xml",
        "testing/images/test_001.tif",
        "testing/images/test_003.tif",
        "testing/lesion_annotations/Test_001.xml",
    )
    (tmp_path / "testing" / "reference.csv").write_text(
        "test_001,Tumor,IDC,Macro\ntest_003,Normal,None,None\n"
    )
    slides = _by_name(find_cohort(CohortSettings(folder=str(tmp_path))))
    assert [(slide.label, slide.size_class, slide.split) for slide in slides.values()] == [
        ("normal", "negative", "train"), ("tumor", "macro", "test"), ("normal", "negative", "test"),
        ("tumor", None, "train"),
    ]  # fmt: skip
    assert all(slide.notes == () for slide in slides.values())
    assert slides["test_001"].annotation == str(tmp_path / "testing/lesion_annotations/Test_001.xml")


def test_annotations_that_are_still_packed_are_not_overlooked(tmp_path: Path) -> None:
    _touch(tmp_path, "training/tumor/tumor_001.tif", "training/lesion_annotations.zip")
    with pytest.raises(CohortError, match=r"unzip .*lesion_annotations\.zip"):
        find_cohort(CohortSettings(folder=str(tmp_path)))


def test_the_challenge_of_2016_is_found_in_any_case(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        "TrainingData/Train_Normal/Normal_001.tif",
        "TrainingData/Train_Tumor/Tumor_001.tif",
        "TrainingData/Ground_Truth/XML/Tumor_001.xml",
        "TrainingData/Ground_Truth/Mask/Tumor_001_Mask.tif",
        "testset/images/Test_001.tif",
    )
    slides = _by_name(find_cohort(CohortSettings(folder=str(tmp_path))))
    assert [(name, slide.label, slide.split) for name, slide in slides.items()] == [
        ("Normal_001", "normal", "train"), ("Test_001", None, "test"), ("Tumor_001", "tumor", "train"),
    ]  # fmt: skip
    assert slides["Tumor_001"].annotation is not None


def test_a_plain_folder_is_a_cohort_without_labels(tmp_path: Path) -> None:
    _touch(
        tmp_path, "a.svs", "b.NDPI", "notes.txt", ".hidden.tif", "outlines/A.geojson", "outlines/readme.md"
    )
    settings = CohortSettings(folder=str(tmp_path), annotations=str(tmp_path / "outlines"))
    slides = _by_name(find_cohort(settings))
    assert list(slides) == ["a", "b"]
    assert (slides["a"].label, slides["a"].split, slides["a"].exhaustive) == (None, None, True)
    assert (slides["b"].annotation, slides["b"].exhaustive) == (None, False)


def test_a_dicom_series_is_one_slide(tmp_path: Path, shared_data: Path) -> None:
    for folder in (tmp_path, tmp_path / "patient"):
        folder.mkdir(exist_ok=True)
        for number in (0, 1):
            shutil.copy(shared_data / "slides" / f"boxes_{number}.dcm", folder)
    slides = _by_name(find_cohort(CohortSettings(folder=str(tmp_path))))
    assert {name: Path(slide.source.path).name for name, slide in slides.items()} == {
        "boxes_0": "boxes_0.dcm",
        "patient": "boxes_0.dcm",
    }


def test_slides_can_be_listed_one_by_one(tmp_path: Path) -> None:
    _touch(tmp_path, "x/test_001.tif")
    url = "s3://bucket/tumor_001.tif?versionId=a/b"
    settings = CohortSettings(paths=(str(tmp_path / "x" / "test_001.tif"), url), reader="tiffslide", mpp=0.25)
    slides = _by_name(find_cohort(settings))
    assert list(slides) == ["test_001", "tumor_001"]
    assert slides["tumor_001"].source.path == url
    assert {(slide.source.reader, slide.source.mpp) for slide in slides.values()} == {("tiffslide", 0.25)}
    with pytest.raises(CohortError, match=r"no slide file .*none\.tif"):
        find_cohort(CohortSettings(paths=(str(tmp_path / "none.tif"),)))


def test_paths_do_not_depend_on_where_a_worker_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "slides/a.tif")
    monkeypatch.chdir(tmp_path)
    for settings in (CohortSettings(folder="slides"), CohortSettings(paths=("slides/a.tif",))):
        assert find_cohort(settings).slides[0].source.path == str(tmp_path / "slides" / "a.tif")


def test_two_slides_of_one_name_are_refused_whatever_their_case(tmp_path: Path) -> None:
    _touch(tmp_path, "a.tif", "A.svs")
    with pytest.raises(CohortError, match="two slides are called"):
        find_cohort(CohortSettings(folder=str(tmp_path)))


def test_two_annotations_of_one_slide_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.tif", "annotations/a.xml", "annotations/A.geojson.gz")
    with pytest.raises(CohortError, match="two annotation files"):
        find_cohort(CohortSettings(folder=str(tmp_path)))


@pytest.mark.parametrize("name", ["a:b.tif", "a\nb.tif", "a*.tif", "a .tif", f"{'a' * 129}.tif", "a\\b.svs"])
def test_a_name_that_cannot_be_a_file_everywhere_is_refused(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, name)
    with pytest.raises(CohortError, match=r"cannot name a slide.*rename"):
        find_cohort(CohortSettings(folder=str(tmp_path)))


def test_an_empty_folder_a_missing_one_and_none_at_all_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no slide .*\.svs"):
        find_cohort(CohortSettings(folder=str(tmp_path)))
    with pytest.raises(CohortError, match="no folder"):
        find_cohort(CohortSettings(folder=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="folder"):
        find_cohort(CohortSettings())
    with pytest.raises(ConfigError, match="not both"):
        CohortSettings(folder="a", paths=("b",))


# ---- exclusions ----


def test_published_exclusions_apply_only_if_asked_for(release: Path) -> None:
    assert all(slide.excluded == () for slide in find_cohort(CohortSettings(folder=str(release))).slides)
    cohort = find_cohort(CohortSettings(folder=str(release), exclusions="camelyon16"))
    slides = _by_name(cohort)
    assert {name: slide.excluded for name, slide in slides.items() if slide.excluded} == {
        "normal_144": ("train_negatives",), "test_049": ("all",), "test_114": ("lesions",),
        "tumor_010": ("train_negatives",),
    }  # fmt: skip
    assert {name for name, slide in slides.items() if slide.exhaustive} == {
        "normal_001",
        "tumor_001",
        "test_001",
        "test_003",
    }
    assert any(note.startswith("excluded from all: duplicate") for note in slides["test_049"].notes)
    assert "test_049" not in {slide.source.slide_id for slide in cohort.split("test")}


def test_exclusions_match_names_in_any_case(tmp_path: Path) -> None:
    _touch(tmp_path, "TrainingData/Train_Tumor/Tumor_110.tif")
    (slide,) = find_cohort(CohortSettings(folder=str(tmp_path), exclusions="camelyon16")).slides
    assert slide.excluded == ("train_negatives",)


def test_a_list_of_ones_own_is_read_and_checked(release: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(
        "slide,scope,reason\nTest_001,lesions,blurred\ntest_001,train_negatives,\nnowhere,all,\n"
    )
    slides = _by_name(find_cohort(CohortSettings(folder=str(release), exclusions=str(table))))
    assert slides["test_001"].excluded == ("lesions", "train_negatives")
    assert slides["test_049"].excluded == ()
    table.write_text("slide,scope\ntest_001,everything\n")
    with pytest.raises(CohortError, match=r"line 2: the scope 'everything'"):
        find_cohort(CohortSettings(folder=str(release), exclusions=str(table)))
    table.write_text("name,scope\n")
    with pytest.raises(CohortError, match="columns slide and scope"):
        find_cohort(CohortSettings(folder=str(release), exclusions=str(table)))
    with pytest.raises(CohortError, match="built in are camelyon16"):
        find_cohort(CohortSettings(folder=str(release), exclusions="camelyon17"))


# ---- settings ----


def test_single_slides_can_have_another_reader_or_pixel_size(release: Path) -> None:
    overrides = {"TEST_001": SlideOverride(mpp=0.226), "tumor_001": SlideOverride(reader="tiff")}
    slides = _by_name(find_cohort(CohortSettings(folder=str(release), mpp=0.243, overrides=overrides)))
    assert (slides["test_001"].source.mpp, slides["test_001"].source.reader) == (0.226, "auto")
    assert (slides["tumor_001"].source.mpp, slides["tumor_001"].source.reader) == (0.243, "tiff")
    with pytest.raises(CohortError, match=r"slides\.overrides .*tumor_999"):
        find_cohort(CohortSettings(folder=str(release), overrides={"tumor_999": SlideOverride(mpp=1.0)}))


def test_only_some_slides_can_take_part(release: Path) -> None:
    def names(*only: str) -> list[str]:
        return list(_by_name(find_cohort(CohortSettings(folder=str(release), only=only))))

    assert names("train") == ["normal_001", "normal_144", "tumor_001", "tumor_010"]
    assert names("TUMOR_0*", "test_003") == ["test_003", "tumor_001", "tumor_010"]
    with pytest.raises(CohortError, match=r"slides\.only has 'tumour_\*'"):
        names("train", "tumour_*")


def test_settings_from_outside_are_validated() -> None:
    settings = TypeAdapter(CohortSettings).validate_python(
        {"folder": "x", "overrides": {"a": {"mpp": 0.5}}, "only": ["train"], "classes": {"Tumor": True}}
    )
    assert settings.overrides == {"a": SlideOverride(mpp=0.5)}
    for wrong in (
        {"mpp": 0},
        {"reader": "vips"},
        {"overrides": {"a": {"mpp": -1}}},
        {"folder": "a", "paths": ["b"]},
    ):
        with pytest.raises(ValueError, match=r"slides|mpp|reader|greater"):
            TypeAdapter(CohortSettings).validate_python(wrong)


# ---- tables ----


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("test_001.tif,malignant,macro,0", "line 3"),
        ("test_001.tif,tumor,huge,0", "line 3"),
        ("test_001.tif,normal,macro,0", "cannot have the class"),
        ("TEST_003.tif,normal,negative,0", "twice"),
    ],
)
def test_a_wrong_row_of_the_reference_table_is_named(release: Path, row: str, complaint: str) -> None:
    (release / "reference.csv").write_text(
        f"image,type,class,center\ntest_003.tif,normal,negative,0\n{row}\n"
    )
    with pytest.raises(CohortError, match=complaint):
        find_cohort(CohortSettings(folder=str(release)))


def test_a_cohort_comes_back_from_its_table_as_it_was(release: Path, tmp_path: Path) -> None:
    (release / "images" / "tumor_001.tif").unlink()
    settings = CohortSettings(
        folder=str(release),
        exclusions="camelyon16",
        mpp=0.1 + 0.2,
        overrides={"test_001": SlideOverride(reader="tiff")},
    )
    cohort = find_cohort(settings)
    write_cohort(cohort, tmp_path / "cohort.csv")
    assert read_cohort(tmp_path / "cohort.csv") == cohort
    before = (tmp_path / "cohort.csv").read_bytes()
    write_cohort(read_cohort(tmp_path / "cohort.csv"), tmp_path / "cohort.csv")
    assert (tmp_path / "cohort.csv").read_bytes() == before


def test_paths_with_commas_quotes_and_accents_survive_the_table(tmp_path: Path) -> None:
    _touch(tmp_path, 'a, "Größe" é.d/x.tif')
    (folder,) = tmp_path.iterdir()
    cohort = find_cohort(CohortSettings(folder=str(folder)))
    write_cohort(cohort, tmp_path / "cohort.csv")
    assert read_cohort(tmp_path / "cohort.csv") == cohort


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("slide_id,", "name,"),
        ("auto", "vips"),
        (",yes,", ",maybe,"),
        ("normal_001,", "../x,"),
        ("[]", "["),
        ("tumor,", "t,"),
    ],
)
def test_a_table_that_was_changed_to_nonsense_is_refused(
    release: Path, tmp_path: Path, old: str, new: str
) -> None:
    write_cohort(find_cohort(CohortSettings(folder=str(release))), tmp_path / "cohort.csv")
    text = (tmp_path / "cohort.csv").read_text()
    assert old in text
    (tmp_path / "cohort.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(CohortError, match=r"cohort\.csv"):
        read_cohort(tmp_path / "cohort.csv")


# ---- pseudonyms ----


def test_slides_go_by_their_pseudonyms_and_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("images/tumor_007.tif", "images/normal_003.tif", "annotations/tumor_007.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    settings = CohortSettings(
        folder=str(tmp_path),
        slide_ids={"Tumor_007": "case_a", "normal_003": "case_b"},
        overrides={"tumor_007": SlideOverride(mpp=0.5)},
    )
    tumour, normal = find_cohort(settings).slides
    assert (tumour.source.slide_id, tumour.label, tumour.split, tumour.source.mpp) == (
        "case_a",
        "tumor",
        "train",
        0.5,
    )
    assert tumour.annotation == str(tmp_path / "annotations" / "tumor_007.xml")
    assert tumour.source.path == str(tmp_path / "images" / "tumor_007.tif")
    assert (normal.source.slide_id, normal.label) == ("case_b", "normal")


def test_a_slide_without_a_pseudonym_stops_the_study(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_bytes(b"")
    settings = CohortSettings(folder=str(tmp_path), slide_ids={"a": "case_a"})
    with pytest.raises(CohortError, match="the first is b"):
        find_cohort(settings)
    assert [slide.source.slide_id for slide in find_cohort(replace(settings, only=("a",))).slides] == [
        "case_a"
    ]


def test_pseudonyms_survive_the_table(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"")
    cohort = find_cohort(CohortSettings(folder=str(tmp_path), slide_ids={"a": "case_a"}))
    write_cohort(cohort, tmp_path / "cohort.csv")
    assert read_cohort(tmp_path / "cohort.csv") == cohort
