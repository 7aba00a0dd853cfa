"""Objects that are stored only if nobody else has, and how old they are by the store's own clock.

S3 takes conditions with a write: only if there is no such object, only if it still is the one that was seen. Stores
that speak S3 but know no conditions refuse them or pass them over; both is noticed and told.
"""

from __future__ import annotations

import errno
import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from slidepipe.storage.access import file_system, telling
from slidepipe.storage.remote import RemotePath

_log = logging.getLogger(__name__)

_SCHEMES = ("s3", "s3a")
_REFUSED = (409, 412)
"""What a store answers if the condition does not hold, or another write is just being decided on."""


def takes_conditions(path: RemotePath) -> bool:
    """Tell whether objects can be created exclusively at a kind of place.

    Parameters
    ----------
    path
        The place.

    Returns
    -------
    bool
        True for S3.
    """
    return str(path).partition("://")[0] in _SCHEMES


def create_object(path: RemotePath, data: bytes) -> bool:
    """Store an object if there is none.

    Parameters
    ----------
    path
        Where, at a place that takes conditions.
    data
        All of it; for each writer another content, so that it knows its own again.

    Returns
    -------
    bool
        Whether the object is there and is this one. Of several that try at the same time, one gets True; from a store
        that knows no conditions, perhaps more, and a warning is logged.

    Raises
    ------
    ObjectStoreError
        If the store cannot be reached, or refuses.
    """
    try:
        is_created = _put(path, data, IfNoneMatch="*")
        is_kept = not is_created or not _put(path, data, IfNoneMatch="*")
    except NotImplementedError:
        is_created, is_kept = True, False
        path.write_bytes(data)
    if not is_kept:
        _log.warning(
            "%s: this store knows no conditional writes: commands that are started on one run at the very same moment "
            "do not notice each other, so start one",
            path,
        )
    # A request that was sent again because its answer got lost finds its own object.
    return is_created or _read(path) == data


def renew_object(path: RemotePath, data: bytes) -> bool:
    """Store an object once more, if it still is what it was, so that it is new by the store's clock.

    Parameters
    ----------
    path
        Where.
    data
        What `create_object` stored.

    Returns
    -------
    bool
        False if it is gone or another one.

    Raises
    ------
    ObjectStoreError
        If the store cannot be reached, or refuses.
    """
    seen = _look(path)
    if seen is None or _read(path) != data:
        return False
    try:
        return _put(path, data, IfMatch=seen["ETag"]) or _read(path) == data
    except NotImplementedError:
        path.write_bytes(data)
        return True


def object_age_s(path: RemotePath) -> float | None:
    """Tell how long ago an object was stored.

    Parameters
    ----------
    path
        The object.

    Returns
    -------
    float or None
        Seconds, both times by the clock of the store; None if there is no such object.

    Raises
    ------
    ObjectStoreError
        If the store cannot be reached, or refuses.
    """
    seen = _look(path)
    if seen is None:
        return None
    told = seen["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = datetime.now(UTC) if told is None else parsedate_to_datetime(told)
    return float((now - seen["LastModified"]).total_seconds())


def _read(path: RemotePath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _look(path: RemotePath) -> dict[str, Any] | None:
    files = file_system(str(path), path.access)
    bucket, key, _ = files.split_path(str(path))
    try:
        with telling(path):
            answer: dict[str, Any] = files.call_s3("head_object", Bucket=bucket, Key=key)
    except FileNotFoundError:
        return None
    return answer


def _put(path: RemotePath, data: bytes, **condition: str) -> bool:
    files = file_system(str(path), path.access)
    bucket, key, _ = files.split_path(str(path))
    with telling(path):
        try:
            files.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
        except OSError as error:
            if _status(error) in _REFUSED:
                return False
            if error.errno == errno.ENOSYS:
                raise NotImplementedError from error
            if isinstance(error, FileNotFoundError) and "IfMatch" in condition:
                return False
            raise
    return True


def _status(error: OSError) -> int | None:
    """Return the status that the store answered with."""
    answer = getattr(error.__cause__, "response", None)
    return None if answer is None else int(answer["ResponseMetadata"]["HTTPStatusCode"])
