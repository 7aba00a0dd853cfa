"""One YAML file, one settings object per room."""

from __future__ import annotations

import json
import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from slidepipe.cluster_settings import ClusterSettings, WorkerSettings
from slidepipe.config import _PATHS, StudyConfig, dump_config, json_schema, load_config
from slidepipe.errors import ConfigError

_CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_SCHEMA = _CONFIGS / "slidepipe.schema.json"
_FILES = sorted(_CONFIGS.glob("*.yaml"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file to write to."""
    return tmp_path / "lymph nodes.yaml"


def _load(study: Path, text: str, *overrides: str) -> StudyConfig:
    study.write_text(text, encoding="utf-8")
    return load_config(study, overrides)


def _refusal(study: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(study, text, *overrides)
    return str(caught.value).replace(str(study), "study.yaml")


# ---- files ----


def test_an_empty_file_is_all_defaults_but_its_name(study: Path) -> None:
    assert _load(study, "") == replace(StudyConfig(), name="lymph nodes")
    assert _load(study, "# nothing here\n") == replace(StudyConfig(), name="lymph nodes")


def test_without_a_file_there_are_the_defaults() -> None:
    assert load_config(None) == StudyConfig()


def test_settings_reach_their_rooms(study: Path) -> None:
    config = _load(study, "name: a\ntiles:\n  mpp: 0.5\npredict:\n  lesions: {threshold: 0.9}\n")
    assert config.name == "a"
    assert config.tiles.mpp == 0.5
    assert config.predict.lesions.threshold == 0.9


def test_a_section_left_empty_keeps_its_defaults(study: Path) -> None:
    assert _load(study, "tiles:\n#  mpp: 0.5\n").tiles == StudyConfig().tiles


def test_a_whole_number_is_a_number(study: Path) -> None:
    mpp = _load(study, "tiles: {mpp: 1}").tiles.mpp
    assert mpp == 1.0
    assert isinstance(mpp, float)


def test_slides_may_be_a_folder_or_a_list_of_files(study: Path) -> None:
    assert _load(study, "slides: data/CAMELYON16").slides.folder == str(study.parent / "data" / "CAMELYON16")
    config = _load(study, "slides: [a.tif, ../b.svs, /far/c.tif, 's3://bucket/d.tif']")
    assert config.slides.paths == (
        str(study.parent / "a.tif"),
        str(study.parent.parent / "b.svs"),
        "/far/c.tif",
        "s3://bucket/d.tif",
    )


def test_paths_count_from_the_file_and_built_in_names_are_no_paths(study: Path) -> None:
    config = _load(study, "slides:\n  folder: ~/slides\n  exclusions: camelyon16\n")
    assert config.slides.folder == str(Path.home() / "slides")
    assert config.slides.exclusions == "camelyon16"


def test_a_variable_at_the_beginning_of_a_path_is_left_to_the_machine_that_uses_it(study: Path) -> None:
    assert _load(study, "tiles: {stage_dir: $TMPDIR/slides}").tiles.stage_dir == "$TMPDIR/slides"
    assert _load(study, "tiles: {stage_dir: scratch}").tiles.stage_dir == str(study.parent / "scratch")


def test_a_folder_may_have_the_name_of_a_built_in_list(study: Path) -> None:
    assert _load(study, "slides: camelyon16").slides.folder == str(study.parent / "camelyon16")


def test_a_link_keeps_its_own_name(study: Path) -> None:
    (study.parent / "tumor_001.tif").symlink_to("stored")
    assert _load(study, "slides: [tumor_001.tif]").slides.paths == (str(study.parent / "tumor_001.tif"),)


def test_every_setting_that_holds_a_path_exists() -> None:
    dumped = yaml.safe_load(dump_config(StudyConfig()))
    for section, key in _PATHS:
        assert key in dumped[section]


# ---- overrides ----


def test_overrides_win_and_the_last_of_them_most(study: Path) -> None:
    config = _load(
        study, "tiles: {mpp: 0.5, quality: 80}", "tiles.mpp=0.25", "tiles.mpp=1e0", "train.epochs=3"
    )
    assert (config.tiles.mpp, config.tiles.quality, config.train.epochs) == (1.0, 80, 3)


def test_overrides_of_one_section_add_up(study: Path) -> None:
    config = _load(study, "", "predict.lesions.threshold=0.9", "predict.lesions.method=components")
    assert (config.predict.lesions.threshold, config.predict.lesions.method) == (0.9, "components")


def test_an_override_may_be_a_list_null_or_mapping(study: Path) -> None:
    config = _load(
        study, "tiles: {mpp: 0.5, quality: 80}", "tiles={quality: 70}", "slides.paths=[/a.tif, /b.tif]"
    )
    assert (config.tiles.mpp, config.tiles.quality) == (0.5, 70)
    assert config.slides.paths == ("/a.tif", "/b.tif")
    assert _load(study, "tiles: {mpp: 0.5}", "tiles.mpp=null").tiles.mpp is None
    assert _load(study, "tiles: {mpp: 0.5}", "tiles.mpp=").tiles.mpp is None


def test_slides_on_the_command_line_replace_those_of_the_file(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.parent.parent)
    config = _load(study, "slides: {folder: data, exclusions: camelyon16}", "slides=other")
    assert config.slides.folder == str(study.parent.parent / "other")
    assert config.slides.exclusions == "camelyon16"
    config = _load(study, "slides: data", "slides=[a.tif]")
    assert config.slides.folder is None
    assert config.slides.paths == (str(study.parent.parent / "a.tif"),)


@pytest.mark.parametrize(
    ("override", "refusal"),
    [
        ("tiles.mpp", "--set tiles.mpp: expected section.setting=value, as in --set tiles.mpp=0.5"),
        ("tiles..mpp=1", "--set tiles..mpp=1: expected section.setting=value, as in --set tiles.mpp=0.5"),
        ("tiles.mpp=-1", "--set tiles.mpp=-1: tiles.mpp: found -1, expected a number greater than 0 or null"),
        ("tiles.mppp=1", "--set tiles.mppp=1: tiles.mppp: unknown setting; did you mean tiles.mpp?"),
        ("mpp_=1", "--set mpp_=1: mpp_: unknown setting; the document knows name, slides, tissue"),
        ("name.first=a", "--set name.first=a: name: found a mapping with 'first', expected text"),
        ("tiles.mpp=[1", "--set tiles.mpp=[1: not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(study: Path, override: str, refusal: str) -> None:
    assert _refusal(study, "name: a\n", override).startswith(refusal)


def test_an_override_takes_the_blame_from_the_file(study: Path) -> None:
    text = "slides:\n  paths:\n    - 1\n"
    assert _refusal(study, text) == "study.yaml:3: slides.paths[0]: found 1, expected text"
    assert (
        _refusal(study, text, "slides.paths=[2]")
        == "--set slides.paths=[2]: slides.paths[0]: found 2, expected text"
    )


# ---- refusals ----


def test_every_wrong_setting_is_listed_with_its_line(study: Path) -> None:
    text = "tiles:\n  mppp: 0.5\n  quality: 101\ncluster:\n  kind: cloud\n\ntrain:\n  seed: '1'\n"
    assert _refusal(study, text).splitlines() == [
        "4 settings cannot be used:",
        "  study.yaml:2: tiles.mppp: unknown setting; did you mean tiles.mpp?",
        "  study.yaml:3: tiles.quality: found 101, expected a whole number at least 1 and at most 100",
        '  study.yaml:5: cluster.kind: found "cloud", expected "serial", "local", "address", "slurm", "pbs", '
        '"lsf" or "sge"',
        '  study.yaml:8: train.seed: found "1", expected a whole number at least 0',
    ]


def test_a_combination_that_cannot_be_is_told_at_its_section(study: Path) -> None:
    refusal = _refusal(study, "name: a\ncluster:\n  kind: address\n")
    assert refusal.startswith("study.yaml:2: cluster: kind 'address' needs the address of a scheduler")
    refusal = _refusal(study, "name: a\ncluster: {workers: 2}\n", "cluster.kind=address")
    assert refusal.startswith("study.yaml:2 with --set cluster.kind=address: cluster: kind 'address' needs")


@pytest.mark.parametrize("text", ["- a\n", "just words\n", "3\n"])
def test_a_file_that_is_no_study_is_refused(study: Path, text: str) -> None:
    assert "the document: found" in _refusal(study, text)
    assert "the document: found" in _refusal(study, text, "tiles.mpp=1")


def test_a_file_that_does_not_exist_is_refused(study: Path) -> None:
    with pytest.raises(ConfigError, match=r"lymph nodes\.yaml: cannot be read"):
        load_config(study)


_JOB = {"kind": "slurm", "cores": 8, "memory": "32GiB", "walltime": "04:00:00"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "address"}, "needs the address"),
        ({"address": "tcp://127.0.0.1:8786"}, "used by kind 'address' only"),
        ({"memory_limit": "much"}, "not a size"),
        ({"memory_limit": "4 gigabytes"}, "not a size"),
        ({"kind": "slurm", "cores": 4}, "needs memory, walltime of a job"),
        ({**_JOB, "walltime": "4 hours"}, "not hours, minutes and seconds"),
        ({**_JOB, "walltime": "00:00:30"}, "too short"),
        ({**_JOB, "processes": 9}, "9 processes do not fit on the 8 cores"),
        ({**_JOB, "jobs": 2, "minimum_jobs": 3}, "minimum_jobs 3 is more than jobs 2"),
        (
            {**_JOB, "stages": {"train": WorkerSettings(processes=9)}},
            r"stages\.train: 9 processes do not fit",
        ),
    ],
)
def test_impossible_clusters_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClusterSettings(**settings)


def test_a_stage_has_the_workers_of_the_cluster_but_for_what_it_says_itself(study: Path) -> None:
    text = (
        "cluster: {kind: slurm, cores: 8, memory: 32GiB, walltime: '04:00:00', queue: cpu, jobs: 20, "
        "stages: {heatmap: {queue: gpu, jobs: 2, resources: {GPU: 1}}}}"
    )
    study.write_text(text)
    cluster = load_config(study).cluster
    tile, heatmap = cluster.of_stage("tile"), cluster.of_stage("heatmap")
    assert (tile.queue, tile.jobs, tile.processes_per_job, tile.resources) == ("cpu", 20, 8, None)
    assert (heatmap.queue, heatmap.jobs, heatmap.processes_per_job) == ("gpu", 2, 1)
    assert heatmap.cores == 8
    assert (tile.task_timeout_s, heatmap.task_timeout_s) == (3600, 6 * 3600)
    assert replace(cluster, task_timeout_s=5.0).of_stage("heatmap").task_timeout_s == 5


@pytest.mark.parametrize("size", ["4GiB", "1.5 GB", "800MB", "1024B"])
def test_sizes_of_memory_are_written_as_dask_reads_them(size: str) -> None:
    assert ClusterSettings(memory_limit=size).memory_limit == size


# ---- what is written ----


def test_a_dumped_configuration_is_read_back_wherever_it_lies(study: Path, tmp_path: Path) -> None:
    config = _load(
        study,
        "slides: [a.tif]\ntiles: {mpp: 0.3}\ntrain: {learning_rate: 1e-7}\n",
        "cluster.memory_limit=4GiB",
    )
    elsewhere = tmp_path / "run" / "config.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(dump_config(config), encoding="utf-8")
    assert load_config(elsewhere) == config
    assert dump_config(load_config(elsewhere)) == dump_config(config)


def test_a_dumped_configuration_names_every_setting_in_the_order_of_the_rooms() -> None:
    dumped = yaml.safe_load(dump_config(StudyConfig()))
    assert list(dumped) == [field.name for field in fields(StudyConfig)]
    assert list(dumped["tiles"]) == [field.name for field in fields(StudyConfig().tiles)]


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_every_study_of_the_project_loads_and_fits_its_schema(path: Path) -> None:
    load_config(path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={_SCHEMA.name}\n")
    jsonschema.validate(yaml.safe_load(text), json_schema())


def test_the_schema_beside_the_studies_is_current() -> None:
    current = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_SCHEMA"):
        _SCHEMA.write_text(current, encoding="utf-8")
    assert _SCHEMA.read_text(encoding="utf-8") == current, (
        "UPDATE_SCHEMA=1 python -m pytest tests/test_config.py"
    )


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid({"slides": "data", "tiles": {"mpp": 0.5}})
    assert validator.is_valid({"slides": ["a.tif"]})
    assert validator.is_valid(yaml.safe_load(dump_config(StudyConfig())))
    for wrong in (
        {"tile": {}},
        {"tiles": {"mppp": 1}},
        {"tiles": {"mpp": "0.5"}},
        {"predict": {"lesions": {"x": 1}}},
    ):
        assert not validator.is_valid(wrong), wrong


def test_every_setting_is_explained() -> None:
    schema = json_schema()
    bare = []

    def look(settings: Any, path: str, node: dict[str, Any]) -> None:
        for field in fields(settings):
            child = node["properties"][field.name]
            if not child.get("description"):
                bare.append(f"{path}{field.name}")
            value = getattr(settings, field.name)
            if is_dataclass(value):
                look(value, f"{path}{field.name}.", schema["$defs"][type(value).__name__])

    look(StudyConfig(), "", schema)
    assert bare == []
