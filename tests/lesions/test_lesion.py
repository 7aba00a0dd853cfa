import math

import pytest

from slidepipe.errors import RunError
from slidepipe.lesions.lesion import Lesion, read_lesions, write_lesions

LESIONS = (
    Lesion("tumor_001", 1, 0.9999998807907104, 70_016, 120_352, 1.0e6 / 3, math.pi * 1000),
    Lesion("tumor_001", 2, 0.1 + 0.2, 0, 0, 241.864704, 21.99),
)


def test_a_table_comes_back_to_the_last_bit(tmp_path):
    write_lesions(tmp_path / "tumor_001.csv", LESIONS)
    assert read_lesions(tmp_path / "tumor_001.csv") == LESIONS


def test_a_slide_without_lesions_has_a_table_with_a_header_only(tmp_path):
    path = tmp_path / "normal_001.csv"
    write_lesions(path, ())
    assert path.read_text() == "slide_id,lesion,probability,x_px0,y_px0,area_um2,diameter_um\n"
    assert read_lesions(path) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"has the header \(none\)"),
        ("confidence,x,y\n0.5,1,2\n", "has the header confidence,x,y"),
        ("slide_id,lesion,probability,x_px0,y_px0,area_um2,diameter_um\na,1,0.5,3,4,5\n", "line 2"),
        ("slide_id,lesion,probability,x_px0,y_px0,area_um2,diameter_um\na,1,0.5,3.5,4,5,6\n", "line 2"),
    ],
)
def test_a_table_that_is_not_one_is_refused(tmp_path, content, message):
    path = tmp_path / "lesions.csv"
    path.write_text(content)
    with pytest.raises(RunError, match=message):
        read_lesions(path)


@pytest.mark.parametrize(
    ("diameter_um", "size_class"), [(200.0, "itc"), (200.1, "micro"), (2000.0, "micro"), (2000.1, "macro")]
)
def test_size_classes_change_above_their_limits(diameter_um, size_class):
    assert Lesion("a", 1, 0.9, 0, 0, 1.0, diameter_um).size_class == size_class
