"""What made an output: fingerprints of files and settings, and the versions of the software.

A *fingerprint* is the first 32 hexadecimal digits of a SHA-256. A stage's *token* is the fingerprint of everything
that its output depends on; two runs with equal tokens write the same bytes, so a stored token that differs means that
the work has to be done again, and nothing else does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import slidepipe

_DIGITS = 32
_WHOLE_BYTES = 64 * 2**20
_PIECE_BYTES = 2**20
_SAMPLES = 64
_SAMPLE_BYTES = 64 * 2**10

_SOFTWARE = (
    "numpy", "zarr", "numcodecs", "imagecodecs", "tifffile", "openslide-python", "openslide-bin", "tiffslide",
    "pillow", "scipy", "scikit-image", "scikit-learn", "shapely", "torch", "torchvision", "dask", "distributed",
)  # fmt: skip


def fingerprint(value: object) -> str:
    """Fingerprint a value by its content.

    Parameters
    ----------
    value
        Numbers, text, None, lists, mappings, dataclasses and any nesting of them. Dataclasses count by field name
        and value, so a renamed field is another fingerprint.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    TypeError
        If something in `value` has no canonical form.
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:_DIGITS]


def canonical_json(value: object) -> str:
    """Write a value as JSON in one canonical form: sorted keys, no spaces, dataclasses as objects.

    Parameters
    ----------
    value
        See `fingerprint`.

    Returns
    -------
    str
        One line of JSON.

    Raises
    ------
    TypeError
        If something in `value` has no canonical form.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form")


def fingerprint_bytes(content: bytes) -> str:
    """Fingerprint some bytes.

    Parameters
    ----------
    content
        The bytes, all of them.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def fingerprint_file(path: Path) -> str:
    """Fingerprint a file by its size and content, whatever its name and date.

    Files up to 64 MiB count in full. Of larger ones, the first and last 64 KiB and 62 samples spread evenly between
    them count, so that a 2 GB slide costs a few milliseconds; a change that misses every sample and keeps the size
    goes unseen. Slides are written once, and a re-export or a broken download changes size or nearly all bytes.

    Parameters
    ----------
    path
        An existing file.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        return fingerprint_pieces(size, (_read(file, *piece) for piece in fingerprinted_ranges(size)))


def _read(file: IO[bytes], offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def fingerprinted_ranges(size: int) -> list[tuple[int, int]]:
    """Say which parts of a file count in its fingerprint.

    Parameters
    ----------
    size
        Bytes of the file.

    Returns
    -------
    list of tuple
        Offset and length of each part, for `fingerprint_pieces`; see `fingerprint_file`.
    """
    if size <= _WHOLE_BYTES:
        return [(start, min(_PIECE_BYTES, size - start)) for start in range(0, size, _PIECE_BYTES)]
    starts = ((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1) for index in range(_SAMPLES))
    return [(start, _SAMPLE_BYTES) for start in starts]


def fingerprint_pieces(size: int, pieces: Iterable[bytes]) -> str:
    """Fingerprint a file by its size and those parts of it that count.

    Parameters
    ----------
    size
        Bytes of the file.
    pieces
        The parts that `fingerprinted_ranges` names, in that order.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(str(size).encode())
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:_DIGITS]


def software_versions() -> dict[str, str]:
    """Return the versions of slidepipe, Python and every library that can change a result.

    Returns
    -------
    dict
        Name to version, without those that are not installed.
    """
    versions = {"slidepipe": slidepipe.__version__, "python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
