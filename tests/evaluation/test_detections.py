"""Detection files: what is read, and what is refused with the line."""

from pathlib import Path

import numpy as np
import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.detections import check_detections, read_detections
from slidepipe.lesions.lesion import Lesion, write_lesions


@pytest.mark.parametrize(
    "text",
    [
        "0.9,10,20\n0.5,30.5,40\n",
        "confidence,x,y\n0.9,10,20\n0.5,30.5,40\n",
        "p,x,y\r\n0.9,10,20\r\n0.5,30.5,40\r\n",
        "\ufeffConfidence,X coordinate,Y coordinate\n0.9, 10, 20\n\n5e-1,30.5,40\n\n",
        "y,slide,x,probability\n20,a,10,0.9\n40,b,30.5,0.5\n",
    ],
)
def test_files_with_and_without_a_header_say_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slide.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_detections(path, "slide").tolist() == [[0.9, 10, 20], [0.5, 30.5, 40]]


@pytest.mark.parametrize("text", ["", "\n\n", "confidence,x,y\n"])
def test_an_empty_file_means_no_detection(tmp_path: Path, text: str) -> None:
    path = tmp_path / "slide.csv"
    path.write_text(text)
    assert read_detections(path, "slide").shape == (0, 3)


def test_the_lesion_tables_of_this_package_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "slide.csv"
    write_lesions(path, [Lesion("slide", 1, 0.1 + 0.2, 7, 9, 1000.0, 40.0)])
    assert read_detections(path, "slide").tolist() == [[0.1 + 0.2, 7, 9]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.9,10,20\n0.8,10\n", "line 2: 2 values instead of 3"),
        ("0.9,10,20,4\n", "line 1: 4 values"),
        ("0.9;10;20\n", "line 1: 0 columns for confidence"),
        ("0.9,10,20\n0.8,ten,20\n", "line 2: 'ten' is not a finite number"),
        ("0.9,10,20\n\nnan,10,20\n", "line 3: 'nan'"),
        ("0.9,10,inf\n", "line 1: 'inf'"),
        ("likelihood,x,y\n0.9,1,2\n", "line 1: 0 columns for confidence"),
        ("p,score,x,y\n0.9,1,2,3\n", "line 1: 2 columns for confidence"),
        ("confidence,x,y\n0.9,10\n", "line 2: 2 values instead of 3"),
        ("0,10,20\n", "line 1: confidence 0 is outside"),
        ("1.5,10,20\n", "line 1: confidence 1.5 is outside"),
        ("0.5,-1,20\n", "line 1: .* lies outside every slide"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_by_its_number(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "slide_7.csv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=f"slide slide_7, slide_7.csv, {message}"):
        read_detections(path, "slide_7")


def test_compat_lets_impossible_numbers_through_but_not_text(tmp_path: Path) -> None:
    path = tmp_path / "slide.csv"
    path.write_text("-0.5,-1,20\n")
    assert read_detections(path, "slide", compat=True).tolist() == [[-0.5, -1, 20]]
    path.write_text("0.5,x,20\n")
    with pytest.raises(EvaluationError):
        read_detections(path, "slide", compat=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.0, 1, 1]], "confidence 0"),
        ([[0.5, 1, 1], [np.nan, 1, 1]], "detection 2"),
        ([[0.5, -1, 1]], "outside every slide"),
        ([[0.5, 100, 1]], "outside the slide of 100 × 50"),
        ([[0.5, 1, 50]], "level-0 pixels, x before y"),
    ],
)
def test_detections_from_elsewhere_are_checked_too(rows: list[list[float]], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        check_detections("slide", np.array(rows, dtype=np.float64), (100, 50))


def test_detections_of_another_shape_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"\(n, 3\)"):
        check_detections("slide", np.zeros((4, 2)))
