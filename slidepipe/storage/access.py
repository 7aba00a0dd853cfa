"""How object stores are reached: settings that are no secrets, and errors that say which place and what to do.

Secrets have no place in a configuration that is saved with the results. Keys come from where the tools of the cloud
look for them: environment variables, their own files, or the machine's role.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import fsspec

from slidepipe.errors import ConfigError, ObjectStoreError

_ATTEMPTS = 5
"""Tries of one request, each later than the one before: half a minute in which a network may come back."""
_CONNECT_S, _READ_S = 10, 60
_S3 = ("s3", "s3a")
_GOOGLE = ("gs", "gcs")
_LIBRARY_ERRORS = (
    ("botocore.exceptions", ("BotoCoreError", "ClientError")),
    ("aiohttp", ("ClientError",)),
    ("gcsfs.retry", ("HttpError",)),
    ("azure.core.exceptions", ("AzureError",)),
)
"""Where the libraries below fsspec keep errors that are no OSError. They exist only where the library is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAccess:
    """How an object store is reached, without secrets."""

    anonymous: bool = False
    """Whether requests go unsigned, as public buckets allow; S3 and Google Cloud Storage."""
    endpoint_url: str | None = None
    """Address of an S3 service that is not Amazon's, as ``http://10.0.0.1:9000``; None for what the environment
    says."""
    region: str | None = None
    """Region of the bucket (S3); None for what the environment says."""
    profile: str | None = None
    """Section of ``~/.aws/credentials`` whose keys are used (S3); None for what the environment says."""
    requester_pays: bool = False
    """Whether you agree to pay for the traffic, which some buckets (S3) ask for."""

    def __post_init__(self) -> None:
        if self.endpoint_url is not None and "@" in urlsplit(self.endpoint_url).netloc:
            raise ConfigError(
                "endpoint_url holds a name or a key: keys belong into the environment, not here"
            )
        if self.anonymous and self.profile is not None:
            raise ConfigError(
                f"anonymous requests use no keys, and profile {self.profile!r} names some: give one"
            )


BY_ENVIRONMENT = StoreAccess()
"""What the environment says: ``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and the like."""


def file_system(url: str, access: StoreAccess) -> Any:
    """Return the library that reaches a place; one per process, for all its threads.

    Parameters
    ----------
    url
        The place.
    access
        How it is reached.

    Returns
    -------
    AbstractFileSystem
        Of fsspec. It remembers no listing: other processes write as well.

    Raises
    ------
    ConfigError
        If `access` says something that this kind of store does not know, or the URL holds a password.
    ObjectStoreError
        If the library for the store is missing.
    """
    parts = urlsplit(url)
    if parts.password is not None:
        raise ConfigError(f"the URL of {parts.hostname} holds a password: keys belong into the environment")
    with telling(url):
        return _file_system(os.getpid(), parts.scheme, access)


@lru_cache(maxsize=32)
def _file_system(process: int, protocol: str, access: StoreAccess) -> Any:
    return fsspec.filesystem(protocol, skip_instance_cache=True, **library_options(protocol, access))


def library_options(protocol: str, access: StoreAccess) -> dict[str, Any]:
    """Put settings into the words of the library that reaches a kind of store.

    Parameters
    ----------
    protocol
        Scheme of the URL.
    access
        The settings.

    Returns
    -------
    dict
        Storage options for fsspec.

    Raises
    ------
    ConfigError
        If the kind of store does not know one of the settings.
    """
    if protocol in _S3:
        options: dict[str, Any] = {
            "use_listings_cache": False,
            "anon": access.anonymous,
            "requester_pays": access.requester_pays,
            "config_kwargs": {
                "retries": {"mode": "standard", "max_attempts": _ATTEMPTS},
                "connect_timeout": _CONNECT_S,
                "read_timeout": _READ_S,
            },
        }
        if access.endpoint_url is not None:
            options["endpoint_url"] = access.endpoint_url
        if access.region is not None:
            options["client_kwargs"] = {"region_name": access.region}
        if access.profile is not None:
            options["profile"] = access.profile
        return options
    if access == BY_ENVIRONMENT:
        return {"use_listings_cache": False}
    if protocol in _GOOGLE and access == StoreAccess(anonymous=True):
        return {"use_listings_cache": False, "token": "anon"}
    raise ConfigError(
        f"access: endpoint_url, region, profile and requester_pays are for s3:// only, anonymous for s3:// and gs://; "
        f"configure {protocol}:// through the environment or fsspec's own file"
    )


@contextmanager
def telling(place: object) -> Iterator[None]:
    """Turn whatever a library raises about a store into an error that says where it was and what to do.

    Parameters
    ----------
    place
        Named in the message.

    Yields
    ------
    None
        For the block that uses the store.

    Raises
    ------
    FileNotFoundError
        As it came: that something is not there is no trouble with the store.
    ObjectStoreError
        If the store cannot be reached or used. It is no OSError, so that nobody takes it for "there is nothing".
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, f"there is nothing ({error})", str(place)) from error
    except PermissionError as error:
        raise ObjectStoreError(
            f"{place}: the store refuses: {error}. Check the keys (AWS_PROFILE, aws sts get-caller-identity) and that "
            "they may list, read and write here; slides in public buckets need slides.access.anonymous: true"
        ) from error
    except ImportError as error:
        raise ObjectStoreError(
            f"{place}: the library for this kind of store is missing: {error}; for s3:// pip install slidepipe[s3]"
        ) from error
    except _store_errors() as error:
        raise ObjectStoreError(f"{place}: {error}. {_advice(error)}") from error


def _store_errors() -> tuple[type[Exception], ...]:
    loaded = [(sys.modules.get(module), names) for module, names in _LIBRARY_ERRORS]
    found = [getattr(module, name) for module, names in loaded if module is not None for name in names]
    return (OSError, ValueError, *found)


def _advice(error: Exception) -> str:
    kind = type(error).__name__
    if "Credentials" in kind or "Profile" in kind:
        return (
            "Give keys as the tools of the cloud do (AWS_PROFILE, AWS_ACCESS_KEY_ID, a role), or set "
            "slides.access.anonymous: true for slides in a public bucket"
        )
    if "bucket does not exist" in str(error):
        return "Make the bucket, or mend its name"
    if isinstance(error, ValueError):
        return "Mend the URL"
    return "Check network, endpoint (AWS_ENDPOINT_URL, slides.access.endpoint_url) and region, then run again"
