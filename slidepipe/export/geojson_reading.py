"""The features of a GeoJSON file one by one, so that a file of any size is read in little memory.

QuPath takes a collection, a single feature, a list of features, or a bare geometry; plain, gzipped, or several in a
zip archive.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

GEOMETRY_TYPES = (
    "Polygon", "MultiPolygon", "Point", "MultiPoint", "LineString", "MultiLineString", "GeometryCollection",
)  # fmt: skip
"""Types of geometry that GeoJSON has (RFC 7946)."""
READ_SUFFIXES = (".geojson", ".json")
"""Ends of the names that QuPath takes for GeoJSON, besides the same with ``.gz`` and ``.zip`` archives of them."""

_DECODER = json.JSONDecoder()
_PIECE = 2**20
_SPACE = " \t\r\n"


class Readable(Protocol):
    """A binary file, packed or not."""

    def read(self, size: int, /) -> bytes:
        """Read some bytes.

        Parameters
        ----------
        size
            Most bytes to read.

        Returns
        -------
        bytes
            Nothing at the end.
        """
        ...


@contextmanager
def open_documents(path: Path) -> Iterator[Iterator[Readable]]:
    """Open every GeoJSON document that a file holds.

    Parameters
    ----------
    path
        Existing file; what it is is told by its name, as QuPath does.

    Yields
    ------
    iterator of binary file
        One, or in a zip archive one for each member whose name QuPath reads.

    Raises
    ------
    OSError, EOFError, zlib.error, zipfile.BadZipFile
        If the file cannot be read or unpacked; also while the documents are read.
    """
    name = path.name.lower()
    with path.open("rb") as raw:
        if name.endswith(".zip"):
            with zipfile.ZipFile(raw) as archive:
                members = [item for item in archive.namelist() if item.lower().endswith(READ_SUFFIXES)]
                yield (archive.open(member) for member in members)
        elif name.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield iter((unpacked,))
        else:
            yield iter((raw,))


class FeatureReader:
    """Iterates over the features of one document, once. After the last, `kind` tells what the document is.

    Parameters
    ----------
    stream
        The document from its beginning.

    Raises
    ------
    ValueError
        While iterating: the document is not JSON, or not UTF-8.
    """

    def __init__(self, stream: Readable) -> None:
        self.kind: str | None = None
        """``"FeatureCollection"``, ``"Feature"``, ``"list"`` or a type of geometry; None if it is none of them."""
        self._text = _JsonText(stream)

    def __iter__(self) -> Iterator[Any]:
        """Yield each feature; a bare geometry comes as the geometry."""
        text = self._text
        if text.peek() == "[":
            self.kind = "list"
            yield from text.items()
        elif text.peek() == "{":
            yield from self._object()
        else:
            text.value()
        if text.peek():
            raise text.error(
                "something follows the document, which must be one JSON value and not one per line"
            )

    def _object(self) -> Iterator[Any]:
        members: dict[str, Any] = {}
        has_features = False
        for name in self._text.names():
            if name == "features" and self._text.peek() == "[":
                has_features = True
                yield from self._text.items()
            else:
                members[name] = self._text.value()
        kind = members.get("type")
        if kind == "FeatureCollection":
            self.kind = kind if has_features else None
        elif kind == "Feature" or kind in GEOMETRY_TYPES:
            self.kind = kind
            yield members


class _JsonText:
    """JSON text that is decoded value by value while it is being read."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._has_ended = False

    def peek(self) -> str:
        """Return the next character that is not white space; nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._has_ended:
                return ""
            self._read_more()

    def value(self) -> Any:
        """Decode the next value as a whole.

        Raises
        ------
        ValueError
            If it is not JSON.
        """
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except ValueError:
                if self._has_ended:
                    raise
            else:
                # What ends with the text may be the beginning of something longer, such as a number.
                if end < len(self._text) or self._has_ended:
                    self._at = end
                    return value
            self._read_more()

    def items(self) -> Iterator[Any]:
        """Yield the elements of the list that comes next."""
        self._skip("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self._skip(",")
        self._skip("]")

    def names(self) -> Iterator[str]:
        """Yield each name in the object that comes next; its value must be taken before the next name."""
        self._skip("{")
        while self.peek() != "}":
            name = self.value()
            self._skip(":")
            yield str(name)
            if self.peek() != "}":
                self._skip(",")
        self._skip("}")

    def error(self, message: str) -> json.JSONDecodeError:
        """Make the error that refuses what comes next."""
        return json.JSONDecodeError(message, self._text, self._at)

    def _skip(self, wanted: str) -> None:
        if self.peek() != wanted:
            raise self.error(f"expected {wanted!r}")
        self._at += 1

    def _read_more(self) -> None:
        rest = self._text[self._at :]
        # A value longer than a piece is tried again from its start: doubling keeps that to a few times.
        piece = self._stream.read(max(_PIECE, len(rest)))
        self._has_ended = not piece
        self._text, self._at = rest + self._decoder.decode(piece, final=self._has_ended), 0
