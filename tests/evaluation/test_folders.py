"""Anybody's results, from files."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from slidepipe.errors import AnnotationError, EvaluationError
from slidepipe.evaluation.folders import FolderInputs, evaluate_folder
from slidepipe.evaluation.settings import EvaluationSettings

QUICK = EvaluationSettings(resamples=0)
RULES_OF_RUNS = {"public": "py36.A_ncrf", "leaderboard": "py27.B", "release": "modern.C"}


def inputs_of(vector, folder: Path) -> FolderInputs:
    return FolderInputs(
        reference=str(vector.write_reference(folder / "reference.csv")),
        detections=str(vector.folder / "csv"),
        masks=str(vector.folder / "masks"),
    )


@pytest.mark.parametrize("rule", list(RULES_OF_RUNS))
@pytest.mark.parametrize("case", ["01", "03", "05", "10", "14", "16", "27", "32", "35"])
def test_folders_give_the_recorded_scores(vectors: dict, tmp_path: Path, case: str, rule: str) -> None:
    vector = vectors[case]
    result = evaluate_folder(inputs_of(vector, tmp_path), replace(QUICK, rules=(rule,), compat=True))
    assert result.froc[0].score == pytest.approx(vector.runs[RULES_OF_RUNS[rule]]["froc_score"], abs=1e-12)


def test_a_slide_without_a_file_is_named_or_counts_as_nothing_found(vectors: dict, tmp_path: Path) -> None:
    vector = vectors["19"]
    with pytest.raises(EvaluationError, match="2 of 4 slides lack detections: Test_002, Test_003"):
        evaluate_folder(inputs_of(vector, tmp_path), QUICK)
    result = evaluate_folder(inputs_of(vector, tmp_path), replace(QUICK, allow_missing=True))
    assert result.froc[0].score == pytest.approx(vector.runs["modern.M"]["froc_score"])
    assert len(result.notes) == 2
    present = vector.write_reference(tmp_path / "present.csv", only_with_csv=True)
    scripts = evaluate_folder(
        replace(inputs_of(vector, tmp_path), reference=str(present)), replace(QUICK, compat=True)
    )
    assert scripts.froc[0].score == pytest.approx(vector.runs["py36.A_ncrf"]["froc_score"])


def test_a_mask_of_another_value_is_refused_until_it_is_stated(vectors: dict, tmp_path: Path) -> None:
    inputs = inputs_of(vectors["28"], tmp_path)
    with pytest.raises(EvaluationError, match=r"slide Test_001: mask Test_001\.png holds the values 0, 1"):
        evaluate_folder(inputs, QUICK)
    result = evaluate_folder(replace(inputs, mask_value=1), QUICK)
    assert result.froc[0].n_targets == 1


def test_rules_with_own_spacing_need_one(vectors: dict, tmp_path: Path) -> None:
    inputs = inputs_of(vectors["03"], tmp_path)
    reference = Path(inputs.reference)
    reference.write_text(
        "".join(line.rsplit(",", 1)[0] + "\n" for line in reference.read_text().splitlines())
    )
    with pytest.raises(EvaluationError, match="spacing_um"):
        evaluate_folder(inputs, replace(QUICK, rules=("exact",)))
    assert evaluate_folder(inputs, QUICK).froc[0].score == 0.5


@pytest.mark.parametrize("column", ["Method_I", "pred_II"])
def test_slide_scores_alone_are_judged_on_the_test_slides(
    shared_data: Path, tmp_path: Path, column: str
) -> None:
    folder = shared_data / "camelyon16"
    inputs = FolderInputs(
        reference=str(folder / "reference.csv"),
        slide_scores=str(folder / "slide-predictions-test.csv"),
        score_column=column,
    )
    result = evaluate_folder(inputs, QUICK)
    assert result.auc is not None
    expected = {"Method_I": 0.9155612244897959, "pred_II": 0.7914540816326531}[column]
    assert result.auc.value == pytest.approx(expected, abs=1e-12)
    assert (len(result.auc.labels), [group.name for group in result.centres]) == (129, ["0", "1"])
    assert "129 of the 399 slides" in result.notes[0]
    # Two columns, no header: the challenge's own format.
    with (folder / "slide-predictions-test.csv").open() as file:
        rows = [f"{row['image']},{row[column]}\n" for row in csv.DictReader(file)]
    (tmp_path / "scores.csv").write_text("".join(rows))
    plain = evaluate_folder(
        replace(inputs, slide_scores=str(tmp_path / "scores.csv"), score_column=None), QUICK
    )
    assert plain.auc is not None
    assert plain.auc.value == result.auc.value


def write_slides(folder: Path, group: str = "_0") -> FolderInputs:
    for part in ("detections", "annotations"):
        (folder / part).mkdir()
    (folder / "reference.csv").write_text(
        "test_001,Tumor,IDC,Macro\ntest_114,Tumor,IDC,Micro\ntest_003,Normal,None,None\n"
    )
    (folder / "detections" / "TEST_001.csv").write_text("confidence,x,y\n0.9,1500,1500\n")
    (folder / "detections" / "test_114.csv").write_text("p,x,y\n")
    (folder / "detections" / "test_003.csv").write_text("0.3,700.5,20\n")
    (folder / "detections" / "test_099.csv").write_text("")
    corners = [(1000, 1000), (3000, 1000), (3000, 3000), (1000, 3000)]
    coordinates = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(corners))
    for name in ("test_001", "test_114"):
        (folder / "annotations" / f"{name}.xml").write_text(
            "<ASAP_Annotations><Annotations>"
            f'<Annotation Name="a" Type="Polygon" PartOfGroup="{group}" Color="#000"><Coordinates>{coordinates}'
            "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
        )
    return FolderInputs(
        reference=str(folder / "reference.csv"),
        detections=str(folder / "detections"),
        annotations=str(folder / "annotations"),
    )


def test_annotations_and_the_older_table_are_taken(tmp_path: Path) -> None:
    result = evaluate_folder(write_slides(tmp_path), QUICK)
    assert (result.froc[0].n_targets, result.froc[0].score) == (2, 0.5)
    assert any("test_099" in note for note in result.notes)
    assert any("test_114" in note and "state the exclusions camelyon16" in note for note in result.notes)


def test_the_published_exclusions_are_applied_and_told(tmp_path: Path) -> None:
    result = evaluate_folder(replace(write_slides(tmp_path), exclusions="camelyon16"), QUICK)
    assert result.froc[0].n_targets == 1
    assert [each.slide_id for each in result.froc[0].excluded] == ["test_114"]
    assert "exhaustively" in result.froc[0].excluded[0].reason


def test_an_unknown_annotation_group_stops_until_its_meaning_is_stated(tmp_path: Path) -> None:
    inputs = write_slides(tmp_path, group="Metastasis")
    with pytest.raises(AnnotationError, match="Metastasis"):
        evaluate_folder(inputs, QUICK)
    assert evaluate_folder(replace(inputs, classes={"Metastasis": True}), QUICK).froc[0].n_targets == 2


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    inputs = write_slides(tmp_path)
    with pytest.raises(EvaluationError, match="nothing to evaluate"):
        evaluate_folder(replace(inputs, detections=None), QUICK)
    with pytest.raises(EvaluationError, match="not both"):
        evaluate_folder(replace(inputs, masks=str(tmp_path)), QUICK)
    with pytest.raises(EvaluationError, match="needs the reference"):
        evaluate_folder(replace(inputs, annotations=None), QUICK)
    with pytest.raises(EvaluationError, match="no folder"):
        evaluate_folder(replace(inputs, detections=str(tmp_path / "nowhere")), QUICK)
    with pytest.raises(EvaluationError, match="no CSV file"):
        evaluate_folder(replace(inputs, detections=str(tmp_path / "annotations")), QUICK)


def test_two_masks_of_one_slide_are_refused(vectors: dict, tmp_path: Path) -> None:
    inputs = replace(inputs_of(vectors["03"], tmp_path), masks=str(tmp_path))
    for name in ("Test_001.png", "test_001_mask.tif"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(EvaluationError, match="test_001 has two files of masks"):
        evaluate_folder(inputs, QUICK)


def test_masks_may_be_called_as_in_the_release(vectors: dict, tmp_path: Path) -> None:
    vector = vectors["03"]
    (tmp_path / "masks").mkdir()
    for path in (vector.folder / "masks").iterdir():
        (tmp_path / "masks" / f"{path.stem.lower()}_Mask.PNG").write_bytes(path.read_bytes())
    inputs = replace(inputs_of(vector, tmp_path), masks=str(tmp_path / "masks"))
    assert evaluate_folder(inputs, QUICK).froc[0].score == 0.5


def test_the_slides_themselves_tell_their_size_and_pixel_size(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    slide = (shared_data / "slides" / "tumor_072_level7_philips.tif").read_bytes()
    (tmp_path / "slides" / "tumor_072.tif").write_bytes(slide)
    (tmp_path / "annotations").mkdir()
    outlines = (shared_data / "slides" / "tumor_072_level7.xml").read_bytes()
    (tmp_path / "annotations" / "tumor_072.xml").write_bytes(outlines)
    (tmp_path / "detections").mkdir()
    (tmp_path / "detections" / "tumor_072.csv").write_text("0.9,104,334\n")
    (tmp_path / "detections" / "normal_001.csv").write_text("")
    (tmp_path / "reference.csv").write_text("image,type\ntumor_072.tif,tumor\nnormal_001.tif,normal\n")
    inputs = FolderInputs(
        reference=str(tmp_path / "reference.csv"),
        detections=str(tmp_path / "detections"),
        annotations=str(tmp_path / "annotations"),
        slides=str(tmp_path / "slides"),
    )
    result = evaluate_folder(inputs, replace(QUICK, rules=("exact",)))
    assert result.slides[0].spacing_um == pytest.approx(28.97, abs=0.05)
    assert result.froc[0].n_targets >= 1
    (tmp_path / "detections" / "tumor_072.csv").write_text("0.9,104,99999\n")
    with pytest.raises(EvaluationError, match="outside the slide"):
        evaluate_folder(inputs, QUICK)
