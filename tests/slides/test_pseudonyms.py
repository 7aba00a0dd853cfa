"""Slides go by the names that they are given."""

import pytest

from slidepipe.errors import CohortError
from slidepipe.slides.pseudonyms import pseudonyms_of


def test_every_slide_gets_its_name_whatever_the_case_of_the_file() -> None:
    listed = {"doe_jane": "case_1", "Roe_John": "case_2", "another study": "case_3"}
    assert pseudonyms_of(["Doe_Jane", "Roe_John"], listed) == {"Doe_Jane": "case_1", "Roe_John": "case_2"}


def test_no_slide_keeps_the_name_of_its_file_by_oversight() -> None:
    with pytest.raises(CohortError, match=r"no name for 1 of 2 slides, the first is Roe_John"):
        pseudonyms_of(["Doe_Jane", "Roe_John"], {"Doe_Jane": "case_1"})
    with pytest.raises(CohortError, match="no name for 1 of 1 slides"):
        pseudonyms_of(["Doe_Jane"], {"Doe_Jane": ""})


def test_two_slides_never_share_a_name() -> None:
    with pytest.raises(CohortError, match="calls both a and b Case_1"):
        pseudonyms_of(["a", "b"], {"a": "case_1", "b": "Case_1"})
    assert pseudonyms_of(["a"], {"a": "case_1", "b": "case_1"}) == {"a": "case_1"}


def test_a_slide_is_listed_once() -> None:
    with pytest.raises(CohortError, match="twice"):
        pseudonyms_of(["a"], {"a": "case_1", "A": "case_2"})


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "ends.", "x" * 129])
def test_a_name_has_to_be_one_for_files(name: str) -> None:
    with pytest.raises(CohortError, match="cannot name a slide"):
        pseudonyms_of(["a"], {"a": name})
