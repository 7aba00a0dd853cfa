"""YAML of which every value knows its line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slidepipe.documents import Place, parse_document, read_document, write_yaml
from slidepipe.errors import ConfigError

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_every_value_knows_its_line() -> None:
    document = parse_document("tiles:\n  mpp: 0.5\n\n  shape: [1,\n    2]\nname: a\n", "study.yaml")
    assert document.value == {"tiles": {"mpp": 0.5, "shape": [1, 2]}, "name": "a"}
    lines = {path: place.line for path, place in document.places.items()}
    assert lines == {
        (): 1, ("tiles",): 1, ("tiles", "mpp"): 2, ("tiles", "shape"): 4, ("tiles", "shape", 0): 4,
        ("tiles", "shape", 1): 5, ("name",): 6,
    }  # fmt: skip
    assert str(document.places["tiles", "mpp"]) == "study.yaml:2"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # a text in YAML 1.1
        ("no", "no"),  # false in YAML 1.1
        ("on", "on"),
        ("12:30", "12:30"),  # 750 in YAML 1.1
        ("2016-11-01", "2016-11-01"),  # a date in YAML 1.1
        ("010", 10),  # 8 in YAML 1.1
        ("1_000", "1_000"),  # 1000 in YAML 1.1
        ("True", True),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
        ("+3.", 3.0),
        ("'0.5'", "0.5"),
        ("[a, 1, 2.5, null]", ["a", 1, 2.5, None]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    found = parse_document(text, "study.yaml").value
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse_document("{001: a, null: b, 1e3: c}", "study.yaml").value == {
        "001": "a",
        "null": "b",
        "1e3": "c",
    }


def test_an_alias_repeats_what_it_names() -> None:
    assert parse_document("a: &x [1, 2]\nb: *x\n", "study.yaml").value == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"study\.yaml:3: the key 'a' was given before \(line 1\)"),
        ("a:\n  - 1\n  b: 2\n", r"study\.yaml:3: not valid YAML"),
        ("a: [1, 2\n", r"study\.yaml:2: not valid YAML"),
        ("\ta: 1\n", r"study\.yaml:1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", r"study\.yaml:2: not valid YAML: expected a single document"),
        ("a: \x00", r"study\.yaml: not valid YAML"),
        ("a: 1\nb: !!python/name:os.system\n", r"study\.yaml:2: the tag .*os\.system is not used here"),
        ("a: !!int abc\n", r"study\.yaml:1: 'abc' is tagged as int"),
        ("a: !!timestamp 2016-11-01\n", r"study\.yaml:1: the tag .*timestamp is not used here"),
        ("? [a]\n: 1\n", r"study\.yaml:1: a key must be plain text"),
        ("a: &x [*x]\n", r"study\.yaml:1: an alias stands inside"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_document(text, "study.yaml")


def test_words_of_the_command_line_have_no_line() -> None:
    document = parse_document("[1]", "--set a=[1]", is_file=False)
    assert set(document.places.values()) == {Place("--set a=[1]")}
    with pytest.raises(ConfigError, match=r"^--set a=\[1: not valid YAML"):
        parse_document("[1", "--set a=[1", is_file=False)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read"):
        read_document(tmp_path / "missing.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Gewebe über alles".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: cannot be read"):
        read_document(latin)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("\ufeffname: a\n", encoding="utf-8")
    assert read_document(path).value == {"name": "a"}


@given(_VALUES)
def test_what_is_written_is_read_back_by_yaml_1_2_and_1_1(value: Any) -> None:
    text = write_yaml(value)
    assert parse_document(text, "study.yaml").value == value
    assert yaml.safe_load(text) == value


def test_keys_keep_their_order_and_plain_lists_stay_on_a_line() -> None:
    assert (
        write_yaml({"b": [1, 2], "a": {"c": []}, "d": [[1], [2]]})
        == "b: [1, 2]\na:\n  c: []\nd:\n- [1]\n- [2]\n"
    )
