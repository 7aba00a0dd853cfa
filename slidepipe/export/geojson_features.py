"""What QuPath does with a GeoJSON feature that is not as it should be: one rule for each case that was tried.

The cases were run through the readers of QuPath 0.4.4, 0.5.1, 0.6.0 and 0.7.0. What all of them take without loss,
such as a list of measurements or a class without colour that says ``null``, is no problem and has no rule.
"""

from __future__ import annotations

import math
from typing import Any

from slidepipe.export.geojson_geometry import geometry_problems
from slidepipe.export.geojson_reading import GEOMETRY_TYPES
from slidepipe.export.geojson_rule import ALL_VERSIONS, UNTIL_04, Problems, Rule

ID_NULL = Rule("id is null", ALL_VERSIONS)
ID_LEGACY = Rule("id is the name of an object type, which QuPath 0.2 wrote: it is read as objectType")
NOT_A_FEATURE = Rule("is neither a Feature nor a geometry", ALL_VERSIONS)
PROPERTIES_MISSING = Rule("has no properties: QuPath makes an annotation without class of it")
PROPERTIES_NULL = Rule("properties is not an object", ALL_VERSIONS)
NAME_NULL = Rule("name is null", ALL_VERSIONS)
NAME_NOT_TEXT = Rule("name is not text")
TYPE_ROOT = Rule("objectType is root: QuPath makes a second root of it")
TYPE_UNKNOWN = Rule("objectType is missing or none that QuPath knows: QuPath makes an annotation of it")
LOCK_NOT_BOOL = Rule("isLocked is not true or false")
COLOUR_TEXT = Rule("color is text", ALL_VERSIONS)
COLOUR_ODD = Rule("color is not three whole numbers from 0 to 255: QuPath ignores or misreads it")
CLASS_WITHOUT_COLOUR = Rule("classification has a name and no color; null is fine", ALL_VERSIONS)
CLASS_WITHOUT_NAME = Rule("classification has no name", ALL_VERSIONS)
CLASS_NOT_TEXT = Rule("classification is not text, null, or an object", ALL_VERSIONS)
CLASS_COLOUR_TEXT = Rule("color of the classification is text", ALL_VERSIONS)
CLASS_COLOUR_ODD = Rule("color of the classification is not three whole numbers from 0 to 255: it is misread")
MEASUREMENTS_ODD = Rule("measurements are neither an object nor a list", ALL_VERSIONS)
MEASUREMENT_TEXT = Rule("a measurement is text or another thing that is no number", ALL_VERSIONS)
MEASUREMENT_ITEM = Rule('a measurement in a list is not {"name": text, "value": number}', ALL_VERSIONS)
MEASUREMENT_NOT_FINITE = Rule("a measurement is NaN, infinite, or a number written as text", UNTIL_04)
MEASUREMENT_DROPPED = Rule("a measurement is null, true or false: later versions drop it", UNTIL_04)
METADATA_ODD = Rule("metadata is not an object of texts: QuPath keeps nothing else")

_OBJECT_TYPES = frozenset({"annotation", "tile", "detection", "cell"})
_COMMON = frozenset({"objectType", "classification", "measurements"})
_LEGACY_IDS = frozenset(
    f"Path{kind}Object" for kind in ("Annotation", "Detection", "Tile", "Cell", "TMACore", "Root")
)
_NUMBER_WORDS = frozenset({"nan", "inf", "-inf", "infinity", "-infinity"})


def feature_problems(feature: Any) -> Problems:
    """Hold one feature, with all its children, against the rules.

    Parameters
    ----------
    feature
        A decoded element of a collection, or a bare geometry.

    Yields
    ------
    tuple of Rule and str
        Each rule that is broken, and by what; in the order of the feature's parts.
    """
    kind = feature.get("type") if isinstance(feature, dict) else None
    if kind in GEOMETRY_TYPES:
        yield from geometry_problems(feature)
        return
    if kind != "Feature":
        yield NOT_A_FEATURE, _brief(kind)
        return
    identifier = feature.get("id", "")
    if identifier is None:
        yield ID_NULL, ""
    elif isinstance(identifier, str) and identifier in _LEGACY_IDS:
        yield ID_LEGACY, identifier
    yield from geometry_problems(feature.get("geometry"))
    if "nucleusGeometry" in feature:
        yield from geometry_problems(feature["nucleusGeometry"])
    if "properties" not in feature:
        yield PROPERTIES_MISSING, ""
    elif not isinstance(feature["properties"], dict):
        yield PROPERTIES_NULL, _brief(feature["properties"])
    else:
        yield from _property_problems(feature["properties"])


def _property_problems(properties: dict[str, Any]) -> Problems:
    kind = properties.get("objectType", properties.get("object_type", properties.get("type")))
    if kind == "root":
        yield TYPE_ROOT, ""
    elif not isinstance(kind, str) or kind not in _OBJECT_TYPES:
        yield TYPE_UNKNOWN, _brief(kind)
    if "classification" in properties:
        yield from _class_problems(properties["classification"])
    if "measurements" in properties:
        yield from _measurement_problems(properties["measurements"])
    if properties.keys() <= _COMMON:
        return
    if "name" in properties and not isinstance(properties["name"], str):
        yield (NAME_NULL if properties["name"] is None else NAME_NOT_TEXT), _brief(properties["name"])
    if not isinstance(properties.get("isLocked", False), bool):
        yield LOCK_NOT_BOOL, _brief(properties["isLocked"])
    if "color" in properties:
        yield from _colour_problems(properties["color"], COLOUR_TEXT, COLOUR_ODD)
    metadata = properties.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        yield METADATA_ODD, ""
    children = properties.get("childObjects", [])
    for child in children if isinstance(children, list) else []:
        yield from feature_problems(child)


def _class_problems(label: Any) -> Problems:
    if label is None or isinstance(label, str):
        return
    if not isinstance(label, dict):
        yield CLASS_NOT_TEXT, _brief(label)
        return
    names = label["names"] if "names" in label else [label.get("name")]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        yield CLASS_WITHOUT_NAME, _brief(names)
    if "color" not in label and "colorRGB" not in label:
        yield CLASS_WITHOUT_COLOUR, _brief(names)
    elif label.get("color") is not None:
        yield from _colour_problems(label["color"], CLASS_COLOUR_TEXT, CLASS_COLOUR_ODD)


def _colour_problems(colour: Any, is_text: Rule, is_odd: Rule) -> Problems:
    if isinstance(colour, str):
        yield is_text, colour
    elif type(colour) is not int and not is_colour(colour):
        yield is_odd, _brief(colour)


def is_colour(value: Any) -> bool:
    """Tell whether a value is a list of three whole numbers from 0 to 255.

    Parameters
    ----------
    value
        Anything.

    Returns
    -------
    bool
        Whether QuPath reads it as red, green and blue.
    """
    return (
        isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)
    )


def _measurement_problems(measurements: Any) -> Problems:
    if isinstance(measurements, dict):
        for name, value in measurements.items():
            if type(value) is int or (type(value) is float and math.isfinite(value)):
                continue
            rule = _measurement_rule(value)
            yield rule, f"{name}: {_brief(value)}"
    elif isinstance(measurements, list):
        for item in measurements:
            if not (
                isinstance(item, dict)
                and isinstance(item.get("name"), str)
                and type(item.get("value")) in {int, float}
            ):
                yield MEASUREMENT_ITEM, _brief(item)
    else:
        yield MEASUREMENTS_ODD, _brief(measurements)


def _measurement_rule(value: Any) -> Rule:
    if value is None or isinstance(value, bool):
        return MEASUREMENT_DROPPED
    if isinstance(value, float) or (isinstance(value, str) and _is_number_text(value)):
        return MEASUREMENT_NOT_FINITE
    return MEASUREMENT_TEXT


def _is_number_text(value: str) -> bool:
    if value.lower() in _NUMBER_WORDS:
        return True
    try:
        float(value)
    except ValueError:
        return False
    return True


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
