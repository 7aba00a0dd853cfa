"""Files made to do harm are refused, or do none: nothing runs, nothing grows, nothing leaves its folder."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from slidepipe.classifier.card import ModelCard, write_card
from slidepipe.classifier.checkpoint import load_model
from slidepipe.config import load_config
from slidepipe.documents import parse_document
from slidepipe.errors import AnnotationError, CohortError, ConfigError, ModelError, SlidepipeError
from slidepipe.export.geojson_check import check_geojson
from slidepipe.slides import annotations
from slidepipe.slides.annotations import read_annotation
from slidepipe.slides.cohort import CohortSettings, find_cohort
from slidepipe.slides.cohort_table import read_cohort, write_cohort
from slidepipe.slides.opening import open_slide
from slidepipe.slides.reader import ReaderName, SlideInfo, SlideSource
from slidepipe.slides.risky_fields import find_risky_fields
from slidepipe.storage.publish import remove_tree

SECRET = "the content of a file that is none of a slide's business"
BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 20))


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def doctype(kind: str, secret: Path) -> str:
    """Beginning of an XML document that expands to billions of letters, or to another file."""
    if kind == "bomb":
        return f'<!DOCTYPE x [<!ENTITY e0 "boom">{BOMB}<!ENTITY x "&e19;">]>'
    return f'<!DOCTYPE x [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    return path


@pytest.mark.parametrize("kind", ["bomb", "external"])
def test_entities_in_annotations_are_refused(tmp_path: Path, secret: Path, kind: str):
    path = tmp_path / "a.xml"
    path.write_text(f"{doctype(kind, secret)}<ASAP_Annotations>&x;</ASAP_Annotations>")
    with pytest.raises(AnnotationError, match="Forbidden") as caught:
        read_annotation(path, "a")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["bomb", "external"])
@pytest.mark.parametrize("maker", ["philips", "aperio", "ome"])
@pytest.mark.parametrize("reader", ["auto", "openslide", "tiff", "tiffslide"])
def test_entities_in_the_descriptions_of_slides_are_not_expanded(
    tmp_path: Path, secret: Path, kind: str, maker: str, reader: ReaderName
):
    body = {
        "philips": '<DataObject ObjectType="DPUfsImport"><Attribute Name="x">&x;</Attribute></DataObject>',
        "aperio": "Aperio Image Library <x>&x;</x> |MPP = 0.5",
        "ome": "<OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06'><Image>&x;</Image></OME>",
    }[maker]
    description = body if maker == "aperio" else f'<?xml version="1.0"?>{doctype(kind, secret)}{body}'
    path = tmp_path / "a.tif"
    software = "Philips DP v1.0" if maker == "philips" else "none"
    pixels = np.full((64, 64, 3), 200, np.uint8)
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        photometric="rgb",
        description=description,
        software=software,
        metadata=None,
    )
    source = SlideSource("a", str(path), reader, 0.5)
    told = ""
    for look in (_describe, find_risky_fields):
        try:
            told += repr(look(source))
        except SlidepipeError as error:
            told += str(error)
    assert SECRET not in told
    assert len(told) < 10_000


def _describe(source: SlideSource) -> SlideInfo:
    with open_slide(source) as slide:
        assert slide.info.size_px0 == (64, 64)
        return slide.info


def test_a_gzip_file_that_claims_a_thousand_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(annotations, "MOST_BYTES", 2**20)
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(gzip.compress(b" " * 2**22))
    with pytest.raises(AnnotationError, match=r"a\.geojson\.gz holds more than 1048576 bytes"):
        read_annotation(path, "a")


def test_brackets_without_end_are_refused(tmp_path: Path):
    path = tmp_path / "a.geojson"
    path.write_text("[" * 200_000)
    with pytest.raises(AnnotationError, match="not JSON"):
        read_annotation(path, "a")
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_document("a: " + "[" * 20_000 + "]" * 20_000, "study.yaml")


def test_a_few_lines_of_aliases_do_not_make_billions_of_values():
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
    with pytest.raises(ConfigError, match="with its aliases the document has more than 500000 values"):
        parse_document("\n".join(lines), "study.yaml")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [executed]", "!!python/name:os.system x", "!x 1"]
)
def test_tags_in_a_study_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(f"name: {tag}\n")
    with pytest.raises(ConfigError, match="is not used here"):
        load_config(tmp_path / "study.yaml")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("way", ["pickle", "torch"])
def test_a_pickle_offered_as_weights_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "model.safetensors"
    if way == "pickle":
        weights.write_bytes(pickle.dumps(Payload()))
    else:
        torch.save({"weight": Payload()}, weights)
    # A card that says these are the right weights: who sends a model sends its card, too.
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_card(
        tmp_path,
        ModelCard(
            architecture="compact",
            patch_px=64,
            mpp=0.5,
            mpp_range=(0.5, 0.5),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            weights_sha256=digest,
            training={},
            metrics={},
            software={},
        ),
    )
    with pytest.raises(ModelError, match="do not fit the network"):
        load_model(tmp_path, "cpu")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name",
    ["../up", "..", "a/../../b", "..\\up", "/etc/passwd", "a\x00b", "<script>alert(1)</script>", "a\nb"],
)
def test_no_table_and_no_setting_can_name_a_slide_out_of_its_folder(tmp_path: Path, name: str):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.tif").write_bytes(b"x")
    settings = CohortSettings(folder=str(tmp_path / "slides"))
    with pytest.raises(CohortError, match="cannot"):
        find_cohort(replace(settings, slide_ids={"a": name}))
    with pytest.raises(CohortError):
        find_cohort(CohortSettings(paths=(f"https://host/{name}.svs?x", "https://host/..")))
    cohort = find_cohort(settings)
    (slide,) = cohort.slides
    write_cohort(
        replace(cohort, slides=(replace(slide, source=replace(slide.source, slide_id=name)),)), tmp_path / "c"
    )
    with pytest.raises(CohortError):
        read_cohort(tmp_path / "c")


def test_names_inside_archives_lead_nowhere(tmp_path: Path):
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        archive.writestr("../../up.geojson", "[]")
        archive.writestr("/absolute.json", "[]")
    check_geojson(tmp_path / "in" / "a.zip")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.zip"]


def test_removing_a_store_that_is_a_link_removes_the_link_alone(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_bytes(b"x")
    (tmp_path / "a.zarr").symlink_to(tmp_path / "elsewhere")
    remove_tree(tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "kept").exists()
    shutil.rmtree(tmp_path / "elsewhere")
