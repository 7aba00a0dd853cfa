"""The table of tissue settings comes back as it was, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from slidepipe.errors import ConfigError
from slidepipe.tiles.tissue import TissueSettings
from slidepipe.tiles.tissue_csv import TissueRow, read_tissue_table, write_tissue_table


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = {
        "tumor_072": TissueRow(TissueSettings()),
        "slide, with comma": TissueRow(TissueSettings(method="ncrf", mpp=15.5, ink=False), "masks/a.geojson"),
    }
    write_tissue_table(tmp_path / "tissue.csv", rows)
    assert read_tissue_table(tmp_path / "tissue.csv") == rows
    assert list(read_tissue_table(tmp_path / "tissue.csv")) == list(rows)


def test_what_a_person_leaves_out_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "tissue.csv"
    path.write_text("\ufeffslide_id,mpp,ink\na, 4 ,\nb,,FALSE\n", "utf-8")
    rows = read_tissue_table(path)
    assert rows["a"] == TissueRow(TissueSettings(mpp=4))
    assert rows["b"] == TissueRow(TissueSettings(ink=False))


def test_slides_follow_the_study_where_they_are_not_edited(tmp_path: Path) -> None:
    path = tmp_path / "tissue.csv"
    study = TissueSettings(mpp=4, ink=False)
    rows = {"a": TissueRow(study), "b": TissueRow(TissueSettings(mpp=4, ink=True))}
    write_tissue_table(path, rows, study)
    assert read_tissue_table(path, study) == rows
    assert path.read_text().splitlines()[1].strip(",") == "a"
    changed = read_tissue_table(path, TissueSettings(mpp=2, ink=False))
    assert changed == {
        "a": TissueRow(TissueSettings(mpp=2, ink=False)),
        "b": TissueRow(TissueSettings(mpp=2)),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mpp\n8\n", "line 1: column slide_id is missing"),
        ("slide_id,mmp\na,8\n", "line 1: column 'mmp' is unknown; known are slide_id, method, mpp"),
        ("slide_id,mpp,mpp\na,8,8\n", "line 1: column mpp comes twice"),
        ("slide_id,mpp\na,8\nb,eight\n", "line 3, column mpp: .*number.*'eight'"),
        ("slide_id,mpp\na,-8\n", "line 2, column mpp: .*greater than 0"),
        ("slide_id,method\na,magic\n", "line 2, column method: .*'otsu' or 'ncrf'.*'magic'"),
        ("slide_id,ink\na,perhaps\n", "line 2, column ink: .*'perhaps'"),
        ("slide_id,black_guard\na,300\n", "line 2, column black_guard: .*255"),
        ("slide_id,mpp\n,8\n", "line 2, column slide_id: empty"),
        ("slide_id,mpp\na,8\na,9\n", "line 3, column slide_id: slide a comes twice"),
        ("slide_id,mpp\na,8,9\n", "line 2: more cells"),
        ("", "line 1: column slide_id is missing"),
    ],
)
def test_mistakes_are_named_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tissue.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_tissue_table(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tissue\.csv cannot be read"):
        read_tissue_table(tmp_path / "tissue.csv")
