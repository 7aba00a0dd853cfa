"""Tables of slide scores."""

from pathlib import Path

import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.slide_probabilities import read_slide_probabilities


def written(folder: Path, text: str) -> Path:
    path = folder / "scores.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["a.tif,0.25\nb,1\n", "name,probability\na,0.25\nb,1.0\n"])
def test_two_columns_need_no_choice(tmp_path: Path, text: str) -> None:
    assert read_slide_probabilities(written(tmp_path, text)) == {"a": 0.25, "b": 1.0}


def test_of_several_columns_one_is_chosen_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "image,first,second\na,0.25,0.5\n")
    assert read_slide_probabilities(path, "second") == {"a": 0.5}
    with pytest.raises(EvaluationError, match="first, second"):
        read_slide_probabilities(path)
    with pytest.raises(EvaluationError, match="no column 'third'"):
        read_slide_probabilities(path, "third")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a\nb\n", "one column"),
        ("a,0.5\nb,high\n", "line 2: 'high'"),
        ("a,0.5\nb,0.5,0.6\n", "line 2: 3 values"),
        ("a,0.5\na.tif,0.6\n", "line 2: slide a is listed a second time"),
        ("a,0.5,0.6\n", "no header"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        read_slide_probabilities(written(tmp_path, text))
