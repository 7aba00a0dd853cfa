"""A store that cannot be used says so, where, and what to do; and no secret gets into a configuration."""

import sys
from pathlib import Path

import pytest

from slidepipe.errors import ConfigError, ObjectStoreError
from slidepipe.storage import access
from slidepipe.storage.access import StoreAccess, file_system, library_options
from slidepipe.storage.locations import location
from slidepipe.storage.publish import write_bytes


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one(
    s3_environment: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(access, "_ATTEMPTS", 1)
    away = location("s3://bucket/run.json", StoreAccess(endpoint_url="http://127.0.0.1:9"))
    for ask in (away.is_file, away.exists, away.read_bytes, lambda: list(away.glob("*"))):
        with pytest.raises(ObjectStoreError, match=r"s3://bucket/run\.json.*Check network, endpoint"):
            ask()


def test_without_keys_the_way_out_is_named(s3_environment: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ObjectStoreError, match=r"Give keys .* slides\.access\.anonymous: true"):
        location("s3://bucket/slide.tif").read_bytes()


def test_a_private_bucket_refuses_anonymous_readers_and_a_public_one_does_not(bucket: Path):
    write_bytes(bucket / "slide.tif", b"pixels")
    anonymous = location(str(bucket / "slide.tif"), StoreAccess(anonymous=True))
    with pytest.raises(ObjectStoreError, match="the store refuses"):
        anonymous.read_bytes()
    file_system(str(bucket), access.BY_ENVIRONMENT).chmod(f"{bucket.name}/slide.tif", acl="public-read")
    assert anonymous.read_bytes() == b"pixels"


def test_a_profile_that_is_not_there_is_named(s3_environment: None):
    with pytest.raises(ObjectStoreError, match="profile"):
        location("s3://bucket/a", StoreAccess(profile="nobody")).read_bytes()


def test_an_unknown_kind_of_store_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ObjectStoreError, match=r"florb.*Mend the URL"):
        location("florb://bucket/a").exists()
    monkeypatch.setitem(sys.modules, "dvc.api", None)
    with pytest.raises(ObjectStoreError, match=r"library .* is missing.*slidepipe\[s3\]"):
        location("dvc://bucket/a").exists()


def test_secrets_are_refused():
    with pytest.raises(ConfigError, match="keys belong into the environment"):
        StoreAccess(endpoint_url="https://key:secret@minio.example.org")
    with pytest.raises(ConfigError, match="password"):
        location("sftp://me:secret@host/slide.tif").exists()
    with pytest.raises(ConfigError, match="give one"):
        StoreAccess(anonymous=True, profile="lab")


def test_a_setting_that_a_store_does_not_know_is_refused():
    assert library_options("gs", StoreAccess(anonymous=True))["token"] == "anon"
    for protocol, settings in (("az", StoreAccess(anonymous=True)), ("gs", StoreAccess(region="eu"))):
        with pytest.raises(ConfigError, match="through the environment"):
            library_options(protocol, settings)
