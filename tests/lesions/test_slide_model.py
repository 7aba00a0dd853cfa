import csv
import io
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import skops.io

from slidepipe.errors import ModelError
from slidepipe.lesions.features import FEATURE_NAMES
from slidepipe.lesions.settings import SlideModelSettings
from slidepipe.lesions.slide_model import fit_slide_model, load_slide_model, save_slide_model

FEW_TREES = SlideModelSettings(trees=10)


def some_slides(normal, tumour):
    random = np.random.default_rng(0)
    labels = np.arange(normal + tumour) >= normal
    return random.random((len(labels), len(FEATURE_NAMES))) + labels[:, None] * 0.2, labels


@pytest.fixture(scope="module")
def model():
    return fit_slide_model(*some_slides(12, 9), FEW_TREES)


def test_real_training_slides_are_told_apart(shared_data):
    with (shared_data / "camelyon16" / "heatmap-features-train.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    features = np.array([row[2:] for row in rows], dtype=float)
    fitted = fit_slide_model(features, [row[1] == "1" for row in rows], SlideModelSettings(trees=60))
    assert (fitted.normal_slides, fitted.tumour_slides, fitted.folds) == (157, 109, 5)
    assert 0.98 < fitted.auc < 1  # 0.9936 with all 500 trees


def test_equal_slides_and_seed_give_equal_bytes(tmp_path, model):
    save_slide_model(tmp_path / "a.skops", model)
    save_slide_model(tmp_path / "b.skops", fit_slide_model(*some_slides(12, 9), FEW_TREES))
    save_slide_model(tmp_path / "c.skops", load_slide_model(tmp_path / "a.skops"))
    first = (tmp_path / "a.skops").read_bytes()
    assert first == (tmp_path / "b.skops").read_bytes() == (tmp_path / "c.skops").read_bytes()
    other = fit_slide_model(*some_slides(12, 9), SlideModelSettings(trees=10, seed=1))
    assert not np.array_equal(other.held_out, model.held_out)


def test_a_saved_model_judges_as_before(tmp_path, model):
    save_slide_model(tmp_path / "model.skops", model)
    loaded = load_slide_model(tmp_path / "model.skops")
    features, _ = some_slides(3, 3)
    np.testing.assert_array_equal(loaded.probability(features), model.probability(features))
    np.testing.assert_array_equal(loaded.held_out, model.held_out)
    assert (loaded.auc, loaded.folds, loaded.normal_slides) == (model.auc, model.folds, model.normal_slides)


def test_slides_are_held_out_when_they_are_judged(model):
    features, labels = some_slides(12, 9)
    in_sample = model.probability(features)
    assert np.all((in_sample > 0.5) == labels)
    assert not np.all((model.held_out > 0.5) == labels)


def test_folds_adapt_to_the_smaller_class():
    assert fit_slide_model(*some_slides(9, 3), FEW_TREES).folds == 3


@pytest.mark.parametrize(("normal", "tumour"), [(1, 5), (5, 1), (0, 4), (4, 0)])
def test_fewer_than_two_slides_of_a_class_are_refused(normal, tumour):
    with pytest.raises(ModelError, match=f"got {normal} and {tumour}"):
        fit_slide_model(*some_slides(normal, tumour), FEW_TREES)


def test_features_that_are_not_finite_are_named(model):
    features, labels = some_slides(3, 3)
    features[1, 10] = np.nan
    with pytest.raises(ModelError, match="largest_area"):
        fit_slide_model(features, labels, FEW_TREES)
    with pytest.raises(ModelError, match="largest_area"):
        model.probability(features)


def test_wrong_shapes_are_refused(model):
    with pytest.raises(ModelError, match=r"\(slides, 30\), got \(30,\)"):
        model.probability(np.zeros(30))
    with pytest.raises(ModelError, match="3 have labels"):
        fit_slide_model(np.zeros((4, 30)), [True, False, True], FEW_TREES)


class Payload:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("executed"),))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        pickle.dumps(Payload()),
        skops.io.dumps([1, 2]),
        skops.io.dumps({"format_version": 2}),
    ],
    ids=["empty", "text", "pickle", "list", "version"],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.skops"):
        load_slide_model(path)
    assert not (tmp_path / "executed").exists()


def test_types_that_a_forest_does_not_need_are_refused(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(skops.io.dumps({"format_version": 1, "forest": Payload()}))
    with pytest.raises(ModelError, match="does not need"):
        load_slide_model(path)


def rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))


@pytest.mark.parametrize(("field", "value"), [("left_child", 10**6), ("right_child", 0), ("feature", 30)])
def test_a_tree_that_points_outside_of_itself_is_refused(tmp_path, model, field, value):
    path = tmp_path / "model.skops"
    save_slide_model(path, model)

    def damage(name, data):
        if not name.endswith(".npy"):
            return data
        array = np.load(io.BytesIO(data))
        if field not in (array.dtype.names or ()):
            return data
        array[field][0] = value
        written = io.BytesIO()
        np.save(written, array)
        return written.getvalue()

    rewrite(path, damage)
    with pytest.raises(ModelError, match="damaged tree"):
        load_slide_model(path)


def test_a_truncated_file_is_refused(tmp_path, model):
    path = tmp_path / "model.skops"
    save_slide_model(path, model)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="damaged"):
        load_slide_model(path)


def test_a_model_of_other_features_is_refused(tmp_path, model):
    path = tmp_path / "model.skops"
    save_slide_model(path, model)
    rewrite(
        path,
        lambda name, data: data.replace(b"largest_area", b"smallest_one") if name == "schema.json" else data,
    )
    with pytest.raises(ModelError, match="other features"):
        load_slide_model(path)
