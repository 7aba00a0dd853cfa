"""One probability per slide, by a random forest on the thirty features of its heatmap.

The forest is fitted on the heatmaps of the training slides. Its quality is reported by cross-validation, every slide
judged by a forest that has not seen it; note that the patch classifier has seen these slides, so the figure is still
the better side of the truth.

A saved forest is a skops file, which holds types and numbers but no code. Loading accepts one kind of object that skops
does not trust by itself, scikit-learn's tree: its nodes point at one another by number and scikit-learn follows them
unchecked, so every number is checked here before the forest is used.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from skops.io.exceptions import UntrustedTypesFoundException

from slidepipe.errors import ModelError
from slidepipe.lesions.features import FEATURE_NAMES
from slidepipe.lesions.settings import SlideModelSettings
from slidepipe.storage.publish import write_bytes

_FORMAT_VERSION = 1
_TRUSTED = ["sklearn.tree._tree.Tree"]
_LEAF = -1


@dataclass(frozen=True, slots=True, eq=False)
class SlideModel:
    """A fitted random forest and how good it is."""

    forest: RandomForestClassifier
    """Fitted on all training slides; class 1 is tumour."""
    normal_slides: int
    """Normal slides it was fitted on."""
    tumour_slides: int
    """Tumour slides it was fitted on."""
    folds: int
    """Folds that the cross-validation used."""
    auc: float
    """Cross-validated area under the ROC curve: of `held_out`, not of the forest on its own training slides."""
    held_out: NDArray[np.float64]
    """Probability of each training slide by a forest that did not see it, shape (n,), in the order of the slides."""

    def probability(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Judge slides.

        Parameters
        ----------
        features
            Shape (n, 30), as `slidepipe.lesions.features.heatmap_features` gives them.

        Returns
        -------
        ndarray
            float64, shape (n,): probability of tumour, 0 to 1.

        Raises
        ------
        ModelError
            If the shape is another one or a feature is not finite.
        """
        _check_features(features)
        # One thread: with several, scikit-learn adds the trees up in the order in which they finish.
        probability: NDArray[np.float64] = self.forest.predict_proba(features)[:, 1]
        return probability


def fit_slide_model(
    features: NDArray[np.float64], is_tumour: Sequence[bool], settings: SlideModelSettings
) -> SlideModel:
    """Fit a random forest on training slides and cross-validate it.

    Classes weigh the same, whatever their numbers of slides.

    Parameters
    ----------
    features
        Shape (n, 30), one row per slide.
    is_tumour
        Label of each slide, n of them.
    settings
        Trees, folds and seed.

    Returns
    -------
    SlideModel
        The forest fitted on all slides, with the AUC of forests fitted on parts of them.

    Raises
    ------
    ModelError
        If a class has fewer than two slides, the numbers of rows and labels differ, or a feature is not finite.
    """
    _check_features(features)
    labels = np.array(is_tumour, dtype=np.int64)
    if labels.shape != (len(features),):
        raise ModelError(
            f"{len(features)} slides have features but {labels.size} have labels: give one label each"
        )
    tumour = int(labels.sum())
    normal = len(labels) - tumour
    if min(normal, tumour) < 2:
        raise ModelError(
            f"a slide model needs at least 2 normal and 2 tumour slides, to learn from and to be tested on, got "
            f"{normal} and {tumour}: add slides, or choose method: maximum"
        )
    folds = min(settings.folds, normal, tumour)
    held_out = np.empty(len(labels))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=settings.seed)
    for seen, unseen in splitter.split(features, labels):
        forest = _new_forest(settings).fit(features[seen], labels[seen])
        held_out[unseen] = forest.predict_proba(features[unseen])[:, 1]
    return SlideModel(
        forest=_new_forest(settings).fit(features, labels),
        normal_slides=normal,
        tumour_slides=tumour,
        folds=folds,
        auc=float(roc_auc_score(labels, held_out)),
        held_out=held_out,
    )


def save_slide_model(path: Path, model: SlideModel) -> None:
    """Write a model as one skops file. Equal models give equal bytes.

    Parameters
    ----------
    path
        File to write or replace, ``.skops`` by custom.
    model
        Fitted model.
    """
    content = {
        "format_version": _FORMAT_VERSION,
        "feature_names": list(FEATURE_NAMES),
        "forest": model.forest,
        "normal_slides": model.normal_slides,
        "tumour_slides": model.tumour_slides,
        "folds": model.folds,
        "auc": model.auc,
        "held_out": model.held_out,
    }
    write_bytes(path, _canonical_archive(skops.io.dumps(content)))


def load_slide_model(path: Path) -> SlideModel:
    """Read a model that `save_slide_model` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path
        Existing file.

    Returns
    -------
    SlideModel
        The model.

    Raises
    ------
    ModelError
        If the file is damaged, of another format version, made for other features, holds a type that a forest does not
        need, or holds a tree whose numbers point outside of it.
    FileNotFoundError
        If `path` does not exist.
    """
    content = _read_archive(path)
    if content.get("format_version") != _FORMAT_VERSION:
        raise ModelError(
            f"{path.name} has slide model format {content.get('format_version')}, expected {_FORMAT_VERSION}: "
            "run predict again"
        )
    if content.get("feature_names") != list(FEATURE_NAMES):
        raise ModelError(
            f"{path.name} was fitted on other features than the {len(FEATURE_NAMES)} of this version: run predict again"
        )
    names = [field.name for field in fields(SlideModel)]
    missing = [name for name in names if name not in content]
    if missing:
        raise ModelError(f"{path.name} lacks {', '.join(missing)}: run predict again")
    _check_forest(content["forest"], path)
    return SlideModel(**{name: content[name] for name in names})


def _read_archive(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        content = skops.io.loads(data, trusted=_TRUSTED)
    except UntrustedTypesFoundException as error:
        raise ModelError(
            f"{path.name} holds types that a slide model does not need, so it was not loaded: {error}"
        ) from error
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        raise ModelError(
            f"{path.name} is not a slide model, or is damaged ({error}): run predict again"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(
            f"{path.name} is not a slide model, but a {type(content).__name__}: run predict again"
        )
    return content


def _new_forest(settings: SlideModelSettings) -> RandomForestClassifier:
    return RandomForestClassifier(settings.trees, class_weight="balanced", random_state=settings.seed)


def _check_features(features: NDArray[np.float64]) -> None:
    if features.ndim != 2 or features.shape[1] != len(FEATURE_NAMES):
        raise ModelError(f"features must have the shape (slides, {len(FEATURE_NAMES)}), got {features.shape}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=0)).tolist()
    if bad:
        raise ModelError(
            f"features must be finite, but these are not: {', '.join(FEATURE_NAMES[i] for i in bad)}"
        )


def _check_forest(forest: Any, path: Path) -> None:
    trees = getattr(forest, "estimators_", None)
    if not isinstance(forest, RandomForestClassifier) or not trees:
        raise ModelError(f"{path.name} does not hold a fitted random forest")
    for estimator in trees:
        tree = estimator.tree_
        own = np.arange(tree.node_count)
        left, right, feature = tree.children_left, tree.children_right, tree.feature
        is_leaf = left == _LEAF
        # A child behind its parent, as scikit-learn numbers them, also rules out circles.
        inner_is_sound = (left > own) & (right > own) & (np.maximum(left, right) < tree.node_count)
        inner_is_sound &= (feature >= 0) & (feature < len(FEATURE_NAMES))
        shape_is_sound = tree.n_features == len(FEATURE_NAMES) and tree.value.shape == (tree.node_count, 1, 2)
        if not (shape_is_sound and tree.node_count > 0 and np.all(is_leaf | inner_is_sound)):
            raise ModelError(f"{path.name} holds a damaged tree, so it was not used: run predict again")


def _canonical_archive(data: bytes) -> bytes:
    """Write a skops archive again without what changes from run to run: memory addresses, dates, unused bytes."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        schema = archive.read("schema.json").decode()
        order = dict.fromkeys(a or b for a, b in re.findall(r'"__id__": (\d+)|"file": "(\d+)\.npy"', schema))
        number = {address: str(position) for position, address in enumerate(order)}
        schema = re.sub(r'("__id__": |"file": ")(\d+)', lambda match: match[1] + number[match[2]], schema)
        arrays = {
            number[name.removesuffix(".npy")]: _canonical_array(archive.read(name))
            for name in archive.namelist()
            if name.endswith(".npy")
        }
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, array in sorted(arrays.items()):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("schema.json"), schema, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _canonical_array(data: bytes) -> bytes:
    # The records of a tree's nodes end in padding, which holds whatever was in memory before.
    array = np.load(BytesIO(data), allow_pickle=False)
    if not array.dtype.names:
        return data
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    header = data[: len(data) - array.nbytes]
    return header + clean.tobytes()
