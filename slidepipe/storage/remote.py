"""Objects in a store such as S3, by the part of `pathlib.Path` that this package uses.

What a disk has and an object store lacks is left out: folders (they are there while something is in them), renaming,
links, writing bit by bit. An object is written whole by one request and is there for everybody afterwards, so that no
temporary name is needed. Reading asks for byte ranges, neighbours with one request.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from slidepipe.errors import ObjectStoreError
from slidepipe.storage.access import BY_ENVIRONMENT, StoreAccess, file_system, library_options, telling
from slidepipe.storage.ranged_reading import Range, RangedFile, merged

_WITHOUT_ASKING_FOR_THE_SIZE = {"s3": {"max_concurrency": 1}, "s3a": {"max_concurrency": 1}}
"""s3fs asks for the size of an object first, to fetch a large one in parts."""
_BUFFER_BYTES = 2**20


class ObjectFacts(NamedTuple):
    """What a store knows of an object, named as in `os.stat_result`."""

    st_size: int


class RemotePath:
    """Address of an object, or of all objects whose names begin with it and a slash.

    Errors of the store come as `ObjectStoreError`, which is no OSError: "cannot be reached" is never taken for "is not
    there".

    Parameters
    ----------
    url
        With its scheme, as ``s3://bucket/run``.
    access
        How the store is reached.
    kind
        What a listing has just told about it; None asks the store.
    """

    __slots__ = ("_access", "_kind", "_url")

    def __init__(self, url: str, access: StoreAccess = BY_ENVIRONMENT, kind: str | None = None) -> None:
        scheme, _, rest = url.partition("://")
        self._url = f"{scheme}://{rest.rstrip('/')}"
        self._access = access
        self._kind = kind

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemotePath, (self._url, self._access))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and (self._url, self._access) == (other._url, other._access)

    def __hash__(self) -> int:
        return hash((self._url, self._access))

    def __lt__(self, other: RemotePath) -> bool:
        return self._url < other._url

    def __truediv__(self, part: str) -> RemotePath:
        return self.joinpath(part)

    def joinpath(self, *parts: str) -> RemotePath:
        """Return the address of something below."""
        return RemotePath("/".join([self._url, *(part.strip("/") for part in parts)]), self._access)

    @property
    def name(self) -> str:
        """Last part of the name; the bucket, of a bucket."""
        return self._url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Last part of the name without suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Last suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """Address of what it lies in; of a bucket, the bucket."""
        above = self._url.rpartition("/")[0]
        return self if above.endswith("/") else RemotePath(above, self._access)

    @property
    def parents(self) -> Sequence[RemotePath]:
        """All that it lies in, the nearest first."""
        found: list[RemotePath] = []
        at = self
        while (above := at.parent) != at:
            found.append(above)
            at = above
        return found

    def with_name(self, name: str) -> RemotePath:
        """Return the address beside this one."""
        return self.parent / name

    def is_relative_to(self, other: RemotePath) -> bool:
        """Tell whether it lies in `other` or is it."""
        return f"{self._url}/".startswith(f"{other}/")

    def relative_to(self, other: RemotePath) -> PurePosixPath:
        """Return the way from `other`.

        Raises
        ------
        ValueError
            If it does not lie in `other`.
        """
        if not self.is_relative_to(other):
            raise ValueError(f"{self} does not lie in {other}")
        return PurePosixPath(self._url[len(str(other)) + 1 :])

    def absolute(self) -> RemotePath:
        """Return itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Return itself: there are no links.

        Raises
        ------
        FileNotFoundError
            If it must exist and does not.
        """
        if strict and not self.exists():
            raise FileNotFoundError(f"{self} does not exist")
        return self

    expanduser = absolute

    def as_uri(self) -> str:
        """Return the URL."""
        return self._url

    def is_file(self) -> bool:
        """Tell whether there is such an object."""
        return self._kind_of() == "file"

    def is_dir(self) -> bool:
        """Tell whether there is anything in it."""
        return self._kind_of() == "directory"

    def exists(self) -> bool:
        """Tell whether there is such an object or anything in it."""
        return self._kind_of() is not None

    def stat(self) -> ObjectFacts:
        """Ask for the size."""
        return ObjectFacts(int(self._info()["size"] or 0))

    def _kind_of(self) -> str | None:
        if self._kind is not None:
            return self._kind
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return None

    def _info(self) -> dict[str, Any]:
        files, key = self._reach()
        with telling(self):
            facts: dict[str, Any] = files.info(key)
        return facts

    def iterdir(self) -> Iterator[RemotePath]:
        """List what lies directly in it."""
        files, key = self._reach()
        with telling(self):
            entries = files.ls(key, detail=True)
        for entry in entries:
            name = entry["name"].rstrip("/").rpartition("/")[2]
            if name and entry["name"].strip("/") != key.strip("/"):
                yield RemotePath(f"{self._url}/{name}", self._access, entry["type"])

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """List what lies directly in it by a pattern of names; nothing if there is nothing."""
        try:
            yield from sorted(child for child in self.iterdir() if fnmatchcase(child.name, pattern))
        except FileNotFoundError:
            return

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """List the objects in it, however deep, by a pattern of their last name."""
        for url in self._objects():
            path = RemotePath(url, self._access, "file")
            if fnmatchcase(path.name, pattern):
                yield path

    def _objects(self) -> list[str]:
        files, key = self._reach()
        with telling(self):
            found = files.find(key)
        root = self._url[: -len(key)] if self._url.endswith(key) else f"{self._url.partition('://')[0]}://"
        return sorted(f"{root}{name}" for name in found)

    def read_bytes(self) -> bytes:
        """Fetch all of it with one request."""
        files, key = self._reach()
        with telling(self):
            data: bytes = files.cat_file(key, **_WITHOUT_ASKING_FOR_THE_SIZE.get(self._scheme, {}))
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        """Fetch all of it as text."""
        return self.read_bytes().decode(encoding)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Fetch byte ranges: neighbours with one request, the requests at the same time.

        Parameters
        ----------
        ranges
            Offset and length of each.

        Returns
        -------
        list of bytes
            In the order of `ranges`; shorter than asked for where the object ends.

        Raises
        ------
        FileNotFoundError
            If there is no such object.
        ObjectStoreError
            If the store cannot be used.
        """
        runs = merged(ranges)
        files, key = self._reach()
        with telling(self):
            starts, ends = [start for start, _ in runs], [end for _, end in runs]
            fetched = files.cat_ranges([key] * len(runs), starts, ends, on_error="return") if runs else []
            data = [self._fetched(piece, run) for piece, run in zip(fetched, runs, strict=True)]
        pieces = []
        for offset, length in ranges:
            at = bisect_right(starts, offset) - 1
            begin = offset - starts[at] if length else 0
            pieces.append(bytes(memoryview(data[at])[begin : begin + length]) if length else b"")
        return pieces

    def _read_range(self, offset: int, length: int) -> bytes:
        (data,) = self.read_ranges([(offset, length)])
        return data

    def _fetched(self, piece: bytes | Exception, run: Range) -> bytes:
        """Return what was fetched, nothing where the object ends before it, or raise what went wrong."""
        if isinstance(piece, bytes):
            return piece
        if run[0] >= self.stat().st_size:
            return b""
        raise piece

    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """Open it for reading, ``r`` or ``rb``; it is fetched by the megabyte, so memory is bounded.

        Raises
        ------
        ValueError
            If another mode is asked for.
        """
        if mode not in {"r", "rb"}:
            raise ValueError(f"{self} is written whole: see slidepipe.storage.publish")
        raw = io.BufferedReader(RangedFile(self._read_range, lambda: self.stat().st_size), _BUFFER_BYTES)
        return raw if mode == "rb" else io.TextIOWrapper(raw, encoding=encoding or "utf-8", newline=newline)

    def write_bytes(self, data: bytes) -> None:
        """Store an object, whole or not at all.

        Raises
        ------
        ObjectStoreError
            If the store cannot be reached, has no such bucket, or refuses.
        """
        files, key = self._reach()
        try:
            with telling(self):
                files.pipe_file(key, data)
        except FileNotFoundError as error:
            raise self._no_bucket(error) from error

    def put(self, file: Path) -> None:
        """Store a local file as an object, whole or not at all.

        Raises
        ------
        ObjectStoreError
            If the store cannot be reached, has no such bucket, or refuses.
        """
        files, key = self._reach()
        try:
            with telling(self):
                files.put_file(str(file), key)
        except FileNotFoundError as error:
            raise self._no_bucket(error) from error

    def put_tree(self, folder: Path) -> None:
        """Store all files of a local folder, those directly in it last.

        Raises
        ------
        ObjectStoreError
            If the store cannot be reached, has no such bucket, or refuses.
        """
        inside = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
        files, key = self._reach()
        for batch in (
            [file for file in inside if len(file.parts) > 1],
            [file for file in inside if len(file.parts) == 1],
        ):
            try:
                with telling(self):
                    files.put(
                        [str(folder / file) for file in batch], [f"{key}/{file.as_posix()}" for file in batch]
                    )
            except FileNotFoundError as error:
                raise self._no_bucket(error) from error

    def _no_bucket(self, error: FileNotFoundError) -> ObjectStoreError:
        return ObjectStoreError(
            f"{self} cannot be written: {error.strerror}. Make the bucket, or mend its name"
        )

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object.

        Raises
        ------
        FileNotFoundError
            If it is not there and must be.
        """
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"{self} does not exist")
        self._remove([self._reach()[1]])

    def remove_tree(self) -> None:
        """Remove all objects in it, those nearest to it first.

        What says that the rest is whole lies at the root of a store, so that a half-removed one is never believed.
        """
        files = self._reach()[0]
        names = [str(files._strip_protocol(url)) for url in self._objects()]
        nearest = min((name.count("/") for name in names), default=0)
        self._remove([name for name in names if name.count("/") == nearest])
        self._remove([name for name in names if name.count("/") > nearest])

    def _remove(self, names: list[str]) -> None:
        files = self._reach()[0]
        with telling(self):
            try:
                if names:
                    files.rm(names)
            except FileNotFoundError:
                return

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there as soon as something is in it."""

    @property
    def access(self) -> StoreAccess:
        """How the store is reached."""
        return self._access

    @property
    def storage_options(self) -> dict[str, Any]:
        """How the store is reached, in the words of fsspec, for libraries that take a URL."""
        return library_options(self._scheme, self._access)

    @property
    def _scheme(self) -> str:
        return self._url.partition("://")[0]

    def _reach(self) -> tuple[Any, str]:
        files = file_system(self._url, self._access)
        return files, str(files._strip_protocol(self._url))
