"""Files of an evaluation: JSON by its schema, hits that read back, figures that do not change."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from slidepipe.errors import EvaluationError
from slidepipe.evaluation.compare import as_run
from slidepipe.evaluation.evaluate import Evaluation, evaluate
from slidepipe.evaluation.evaluated_slide import EvaluatedSlide
from slidepipe.evaluation.folders import FolderInputs, evaluate_folder
from slidepipe.evaluation.hits_table import read_hits, write_hits
from slidepipe.evaluation.output import compare_paths, read_run, write_evaluation
from slidepipe.evaluation.result_json import json_schema, to_json
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.evaluation.tables import evaluation_text

SETTINGS = EvaluationSettings(rules=("public", "leaderboard", "release", "exact"), resamples=100)


@pytest.fixture
def inputs(vectors: dict, tmp_path: Path) -> FolderInputs:
    vector = vectors["32"]
    rows = ["image,type,class,center,spacing_um\n"]
    scores = []
    for number, slide in enumerate(vector.slides):
        size = "negative" if slide["type"] == "normal" else ("micro", "macro")[number // 3 % 2]
        rows.append(f"{slide['name']},{slide['type']},{size},{number // 2 % 2},{slide['spacing_um']}\n")
        scores.append(f"{slide['name']},{(0.2, 0.7)[slide['type'] == 'tumor'] + number / 50}\n")
    (tmp_path / "reference.csv").write_text("".join(rows))
    (tmp_path / "scores.csv").write_text("".join(scores))
    return FolderInputs(
        reference=str(tmp_path / "reference.csv"),
        detections=str(vector.folder / "csv"),
        slide_scores=str(tmp_path / "scores.csv"),
        masks=str(vector.folder / "masks"),
    )


@pytest.fixture
def evaluation(inputs: FolderInputs) -> Evaluation:
    return evaluate_folder(inputs, SETTINGS)


def test_the_json_follows_its_schema_and_has_the_promised_keys(evaluation: Evaluation) -> None:
    content = to_json(evaluation)
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(content, json_schema())
    froc, auc = content["froc"], content["auc"]
    assert froc["rule"] == "public"
    assert len(froc["sensitivity_at"]) == 6
    assert froc["score"] == pytest.approx(np.mean(froc["sensitivity_at"]))
    assert froc["ci"][0] <= froc["score"] <= froc["ci"][1]
    assert (froc["n_slides"], froc["n_normal"], froc["n_targets"] + froc["n_itc"] > 0) == (14, 10, True)
    assert auc["ci"][0] <= auc["value"] <= auc["ci"][1]
    assert auc["n_slides"] == 14
    assert [each["rule"] for each in content["froc_other_rules"]] == ["leaderboard", "release", "exact"]
    assert [each["name"] for each in content["centres"]] == ["0", "1"]
    assert [each["name"] for each in content["size_classes"]] == ["micro", "macro"]


def test_the_schema_describes_every_key(evaluation: Evaluation) -> None:
    schema = json_schema()

    def described(value: object, known: dict) -> None:
        known = known if "$ref" not in known else schema["$defs"][known["$ref"].rsplit("/", 1)[1]]
        options = [known, *known.get("anyOf", [])]
        options = [
            each if "$ref" not in each else schema["$defs"][each["$ref"].rsplit("/", 1)[1]]
            for each in options
        ]
        if isinstance(value, dict):
            properties = {key: item for each in options for key, item in each.get("properties", {}).items()}
            if properties:
                assert set(value) <= set(properties)
            for key in properties.keys() & value.keys():
                described(value[key], properties[key])
        elif isinstance(value, list) and value:
            items = next((each["items"] for each in options if "items" in each), {})
            described(value[0], items)

    described(to_json(evaluation), schema)


def test_without_resampling_or_slides_there_is_null_and_no_nan() -> None:
    slides = [
        EvaluatedSlide("a", "tumor", probability=0.9),
        EvaluatedSlide("b", "normal", probability=0.1),
    ]
    content = to_json(evaluate(slides, EvaluationSettings(resamples=0)))
    jsonschema.validate(content, json_schema())
    assert (content["froc"], content["auc"]["ci"], content["auc"]["ci_delong"]) == (None, None, [None, None])
    json.dumps(content, allow_nan=False)


def test_scores_that_do_not_exist_are_null(vectors: dict, tmp_path: Path) -> None:
    vector = vectors["02"]
    inputs = FolderInputs(
        reference=str(vector.write_reference(tmp_path / "reference.csv")),
        detections=str(vector.folder / "csv"),
        masks=str(vector.folder / "masks"),
    )
    result = evaluate_folder(inputs, EvaluationSettings(compat=True, resamples=50))
    content = to_json(result)
    jsonschema.validate(content, json_schema())
    assert content["froc"]["score"] is None
    assert "rule public" in evaluation_text(result)
    write_evaluation(result, tmp_path / "out.json")


def test_all_files_are_written_and_equal_results_give_equal_bytes(
    inputs: FolderInputs, evaluation: Evaluation, tmp_path: Path
) -> None:
    written = write_evaluation(evaluation, tmp_path / "one" / "out.json")
    assert [path.name for path in written] == [
        "out_hits.csv",
        "out_froc.svg",
        "out_froc.png",
        "out_roc.svg",
        "out_roc.png",
        "out.json",
    ]
    again = write_evaluation(evaluate_folder(inputs, SETTINGS), tmp_path / "two" / "out.json")
    for first, second in zip(written, again, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in written)
    assert written[1].read_text().startswith("<?xml")


def test_hits_read_back_to_the_last_bit(evaluation: Evaluation, tmp_path: Path) -> None:
    write_hits(tmp_path / "hits.csv", evaluation.froc)
    stored = read_hits(tmp_path / "hits.csv")
    assert list(stored) == list(SETTINGS.rules)
    for result in evaluation.froc:
        for before, after in zip(result.hits, stored[result.rule], strict=True):
            assert (before.slide_id, before.is_tumour) == (after.slide_id, after.is_tumour)
            assert sorted(before.lesion_probability) == sorted(after.lesion_probability)
            assert (before.n_targets, before.n_itc) == (after.n_targets, after.n_itc)
            np.testing.assert_array_equal(before.detection_probability, after.detection_probability)


def test_a_damaged_table_of_hits_is_refused_by_its_line(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "hits.csv"
    write_hits(path, evaluation.froc)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], "public,Test_001,target,high,"]))
    with pytest.raises(EvaluationError, match="line 5"):
        read_hits(path)
    path.write_text("slide\n")
    with pytest.raises(EvaluationError, match="header"):
        read_hits(path)


def test_runs_are_compared_from_their_files_as_from_memory(
    inputs: FolderInputs, evaluation: Evaluation, tmp_path: Path
) -> None:
    write_evaluation(evaluation, tmp_path / "run" / "evaluation.json")
    read = read_run(tmp_path / "run" / "evaluation.json")
    assert read.predictions == as_run(evaluation, "x").predictions
    settings = EvaluationSettings(rules=SETTINGS.rules, resamples=50)
    stored, table = compare_paths(
        [tmp_path / "run", Path(inputs.detections or ""), tmp_path / "run" / "evaluation.json"],
        settings,
        inputs,
    )
    assert [each.score.difference for each in stored.froc] == [0, 0, 0, 0]
    assert stored.auc is None
    assert table.auc is not None
    with pytest.raises(EvaluationError, match=r"holds no evaluation\.json"):
        compare_paths([tmp_path / "run", tmp_path], settings)


def test_another_format_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text('{"format": "something"}')
    with pytest.raises(EvaluationError, match="not an evaluation"):
        read_run(path)
    path.write_text('{"format": "slidepipe-evaluation", "version": 9}')
    with pytest.raises(EvaluationError, match=r"version 9 .* version 1"):
        read_run(path)


def test_the_text_tells_every_score_with_its_counts(evaluation: Evaluation) -> None:
    text = evaluation_text(evaluation)
    for result in evaluation.froc:
        assert f"FROC score {result.score:.4f}" in text
        assert f"rule {result.rule}" in text
    assert f"{evaluation.froc[0].n_targets} target lesions, {evaluation.froc[0].n_itc} of isolated" in text
    assert "no slide excluded" in text
    assert "By centre" in text
    assert "regions to look at" in text
