"""Reference tables, with pixel sizes, and which of their slides are meant."""

from pathlib import Path

import pytest

from slidepipe.errors import CohortError, EvaluationError
from slidepipe.evaluation.reference_table import read_reference_table, select_split


def written(folder: Path, text: str) -> Path:
    path = folder / "reference.csv"
    path.write_text(text)
    return path


def test_the_real_table_has_129_test_slides(shared_data: Path) -> None:
    table = read_reference_table(shared_data / "camelyon16" / "reference.csv")
    tests = select_split(table, "auto")
    assert (len(table), len(tests), sum(slide.label == "tumor" for slide in tests)) == (399, 129, 49)
    assert len(select_split(table, "train")) == 270
    assert len(select_split(table, "all")) == 399


def test_both_layouts_say_the_same(tmp_path: Path) -> None:
    named = read_reference_table(
        written(
            tmp_path, "image,type,class,center\ntest_001.tif,tumor,macro,1\ntest_003.tif,normal,negative,0\n"
        )
    )
    older = read_reference_table(written(tmp_path, "test_001,Tumor,IDC,Macro\ntest_003,Normal,None,None\n"))
    facts = [[(slide.slide_id, slide.label, slide.size_class) for slide in table] for table in (named, older)]
    assert facts[0] == facts[1] == [("test_001", "tumor", "macro"), ("test_003", "normal", "negative")]


def test_pixel_sizes_come_from_their_column(tmp_path: Path) -> None:
    table = read_reference_table(
        written(tmp_path, "image,type,spacing_um\na.tif,tumor,0.226\nb.tif,normal,\n\nc.tif,normal,0.5\n")
    )
    assert [slide.spacing_um for slide in table] == [0.226, None, 0.5]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "fine"])
def test_an_impossible_pixel_size_is_refused_by_its_line(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"image,type,spacing_um\na.tif,tumor,0.226\nb.tif,normal,{value}\n")
    with pytest.raises(EvaluationError, match="line 3"):
        read_reference_table(path)


def test_an_empty_table_and_an_unknown_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no slide"):
        read_reference_table(written(tmp_path, "image,type\n"))
    with pytest.raises(CohortError, match="line 2"):
        read_reference_table(written(tmp_path, "image,type\na.tif,maybe\n"))


def test_a_split_without_slides_is_refused(tmp_path: Path) -> None:
    table = read_reference_table(written(tmp_path, "image,type\nmine.tif,tumor\n"))
    assert select_split(table, "auto") == table
    with pytest.raises(EvaluationError, match="split test"):
        select_split(table, "test")
