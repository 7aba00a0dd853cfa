"""Messages about settings that do not fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict

from slidepipe.documents import Place, parse_document
from slidepipe.errors import ConfigError
from slidepipe.validation import dotted, validate


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    radius_um: Annotated[float, Gt(0)] = 3.0
    method: Literal["peaks", "components"] = "peaks"
    limit: Annotated[float, Gt(0)] | Literal["auto"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    tile_px: Annotated[int, Ge(1), Le(4096)] = 512
    shape: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    mpp: dict[str, float] = field(default_factory=dict)
    keep: bool = False
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.shape[0] > self.shape[1]:
            raise ConfigError(f"shape must not fall, got {self.shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    room: Room = field(default_factory=Room)


def _validate(text: str) -> Study:
    document = parse_document(text, "study.yaml")
    return validate(Study, document.value, document.places)


def test_a_fitting_document_becomes_the_settings() -> None:
    text = (
        "name: a\nroom:\n  shape: [2, 3]\n  names: [x]\n  mpp: {t: 1}\n  inner: {limit: auto, radius_um: 2}\n"
    )
    expected = Room(shape=(2, 3), names=("x",), mpp={"t": 1.0}, inner=Inner(limit="auto", radius_um=2.0))
    assert _validate(text) == Study(name="a", room=expected)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("tile_px: 512.0", "room.tile_px: found 512.0, expected a whole number at least 1 and at most 4096"),
        ('tile_px: "512"', 'room.tile_px: found "512", expected a whole number at least 1 and at most 4096'),
        ("tile_px: 0", "room.tile_px: found 0, expected a whole number at least 1 and at most 4096"),
        ("tile_px: true", "room.tile_px: found true, expected a whole number at least 1 and at most 4096"),
        ("keep: yes", 'room.keep: found "yes", expected true or false'),
        ("keep: 1", "room.keep: found 1, expected true or false"),
        ("names: x", 'room.names: found "x", expected a list, each text'),
        ("names: [a, 2]", "room.names[1]: found 2, expected text"),
        ("shape: [1]", "room.shape: found [1], expected a list of 2: a whole number, a whole number"),
        ("mpp: {slide: fine}", 'room.mpp.slide: found "fine", expected a number'),
        ("mpp: {slide: .nan}", "room.mpp.slide: found NaN, expected a number"),
        ("inner: {radius_um: -1}", "room.inner.radius_um: found -1, expected a number greater than 0"),
        ("inner: {method: peak}", 'room.inner.method: found "peak", expected "peaks" or "components"'),
        (
            "inner: {limit: x}",
            'room.inner.limit: found "x", expected a number greater than 0, "auto" or null',
        ),
        ("inner: [1]", "room.inner: found [1], expected a mapping of settings"),
        ("keep: {a: 1}", "room.keep: found a mapping with 'a', expected true or false"),
        ("shape: [3, 1]", "room: shape must not fall, got (3, 1)"),
        ("tile: 512", "room.tile: unknown setting; did you mean room.tile_px?"),
        ("radius_um: 1", "room.radius_um: unknown setting; did you mean room.inner.radius_um?"),
        ("inner: {zzz: 1}", "room.inner.zzz: unknown setting; room.inner knows radius_um, method, limit"),
    ],
)
def test_a_wrong_setting_is_told_with_place_finding_and_expectation(setting: str, complaint: str) -> None:
    line = 2 if complaint.startswith("room: ") else 3
    with pytest.raises(ConfigError) as caught:
        _validate(f"name: a\nroom:\n  {setting}\n")
    assert str(caught.value) == f"study.yaml:{line}: {complaint}"


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigError, match=r'found "x{59}…, expected true or false'):
        _validate(f"name: a\nroom: {{keep: {'x' * 500}}}")


def test_a_missing_setting_is_told_at_the_nearest_place_around_it() -> None:
    with pytest.raises(ConfigError, match=r"^study\.yaml:1: name: missing; expected text$"):
        _validate("room: {}\n")


@pytest.mark.parametrize("value", [None, [1], "text"])
def test_a_document_that_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^study\.yaml: the document: found .*, expected a mapping of settings$"
    ):
        validate(Study, value, {(): Place("study.yaml")})


def test_all_wrong_settings_are_told_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        _validate("room:\n  tile: 1\n  keep: 1\nname: 2\n")
    assert str(caught.value).splitlines() == [
        "3 settings cannot be used:",
        "  study.yaml:2: room.tile: unknown setting; did you mean room.tile_px?",
        "  study.yaml:3: room.keep: found 1, expected true or false",
        "  study.yaml:4: name: found 2, expected text",
    ]


def test_paths_are_written_as_on_the_command_line() -> None:
    assert dotted(("slides", "paths", 0)) == "slides.paths[0]"
    assert dotted(()) == ""
