"""How well the shipped model reads whole slides, before and after a round of hard-negative mining.

    python benchmarks/mining.py --train TRAIN --test TEST --out benchmarks/results/mining.md

TRAIN and TEST are folders in the layout of the open release (images, annotations, reference.csv), such as
make_cohort.py makes of the patches that the model was trained on and of those that it was validated on:

    make_cohort.py --patches pcam-train.zip --annotations train-tumor-annotations.zip --out TRAIN \
        --normal 8 --tumor 8 --test 0 --size-mm 8
    make_cohort.py --patches pcam-valid.zip --annotations train-tumor-annotations.zip --out TEST \
        --normal 0 --tumor 0 --test 12 --size-mm 12

Everything is done by the commands that a user would give. Before: ``slidepipe run`` with ``inference.model: builtin``.
Then ``slidepipe mine``, and ``slidepipe train``, which trains the shipped model further (``train.initial: builtin``)
on TRAIN, half of its normal patches around what was mined; a ``run`` over TEST judges what comes of it. Trained in the
same way without anything mined, it is a row of its own: what comes of TRAIN, and what of mining. Slides are judged by
their most probable lesion, which needs no training of its own.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from measuring import machine

from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.card import read_card
from slidepipe.storage.publish import read_json, write_text

STRIDE_PX = 48
"""Half a patch, as in configs/camelyon16.yaml."""


@dataclass(frozen=True)
class Row:
    """What came of one model."""

    name: str
    evaluation: dict[str, Any]
    places: int
    """Hard negatives that it was trained on."""


def main() -> None:
    """Measure, print the table and write it if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of the further training")
    parser.add_argument("--patches", type=int, default=6144, help="patches in each of them")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where runs are kept; temporary if left out")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (arguments.folder or Path(name)).absolute()
        join(folder / "cohort", [arguments.train, arguments.test])
        join(folder / "test", [arguments.test])
        settings = study(arguments.epochs, arguments.patches, arguments.workers)
        config, judging = folder / "config.yaml", folder / "test.yaml"
        write_text(config, yaml.safe_dump(settings))
        write_text(judging, yaml.safe_dump({**settings, "slides": {"folder": "test"}}))
        rows = [*rounds(config, judging, folder)]
    text = "\n".join(["# Hard-negative mining", "", machine("torch", "numpy"), "", *table(rows), ""])
    print(text)
    if arguments.out:
        write_text(arguments.out, text)


def join(cohort: Path, parts: Iterable[Path]) -> None:
    """Make one cohort of several, by links."""
    lines: list[list[str]] = []
    for part in parts:
        for kind in ("images", "annotations"):
            (cohort / kind).mkdir(parents=True, exist_ok=True)
            for file in sorted((part / kind).iterdir()):
                link = cohort / kind / file.name
                if not link.exists():
                    link.symlink_to(file.resolve())
        with (part / "reference.csv").open(newline="") as table:
            found = list(csv.reader(table))
        lines += found if not lines else found[1:]
    write_text(cohort / "reference.csv", "".join(",".join(line) + "\n" for line in lines))


def study(epochs: int, patches: int, workers: int) -> dict[str, Any]:
    """Make the settings of all three runs."""
    card = read_card(find_model("builtin"))
    recipe = card.training["settings"]
    return {
        "name": "mining",
        "slides": {"folder": "cohort"},
        "tiles": {"mpp": card.mpp},
        "train": {
            "architecture": card.architecture,
            "initial": "builtin",
            "patches": {"patch_px": card.patch_px},
            "augmentation": recipe["augmentation"],
            "patches_per_epoch": patches,
            "validation_patches": 2048,
            "epochs": epochs,
            "keep": "last",
            "learning_rate": recipe["learning_rate"] / 5,
            "weight_averaging": 0.98,
            "label_smoothing": recipe["label_smoothing"],
        },
        "heatmap": {"stride_px": STRIDE_PX},
        "predict": {"slide_model": {"method": "maximum"}},
        "evaluate": {"rules": ["public", "leaderboard"]},
        "cluster": {"workers": workers},
    }


def rounds(config: Path, judging: Path, folder: Path) -> Iterable[Row]:
    """Run the study with each model; `judging` is its configuration without the slides to train on."""
    mined, plain = folder / "mined", folder / "plain"
    slidepipe("run", config, mined, "--set", "inference.model=builtin")
    yield Row("as shipped", read_json(mined / "evaluation" / "evaluation.json"), 0)
    slidepipe("tile", config, plain)
    yield Row("trained further, nothing mined", train_and_judge(judging, plain), 0)
    slidepipe("mine", None, mined)
    places = sum(read_json(mined / "mining" / "round_001.json")["slides"].values())
    name = "trained further, after one round of mining"
    yield Row(name, train_and_judge(judging, mined), places)


def train_and_judge(judging: Path, run: Path) -> dict[str, Any]:
    """Train the model of a run whose slides are tiled, and evaluate it on the test slides."""
    slidepipe("train", None, run)
    judged = run.with_name(f"{run.name}-test")
    slidepipe("run", judging, judged, "--set", f"inference.model={run / 'model'}")
    found: dict[str, Any] = read_json(judged / "evaluation" / "evaluation.json")
    return found


def slidepipe(command: str, config: Path | None, run: Path, *options: str) -> None:
    """Give a command as a user would; its last lines are shown if it fails."""
    words = [
        sys.executable,
        "-m",
        "slidepipe",
        command,
        *([str(config)] if config else []),
        "--run",
        str(run),
    ]
    done = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def table(rows: list[Row]) -> list[str]:
    """Lay out the results."""
    first = rows[0].evaluation["froc"]
    lines = [
        f"{first['n_slides']} test slides, {first['n_tumor']} of them with tumour, {first['n_targets']} lesions that "
        f"count; heatmaps of {STRIDE_PX} px stride. Intervals are 95 % over slides.",
        "",
        "| model | hard negatives | FROC score, public rule | FROC score, leaderboard rule | AUC of slides | "
        "false positives a slide at 0.5 | slides without tumour and without false positives |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = row.evaluation
        other = next(each for each in found["froc_other_rules"] if each["rule"] == "leaderboard")
        reading = found["reading"]
        cells = [
            row.name,
            str(row.places or ""),
            interval(found["froc"]["score"], found["froc"]["ci"]),
            interval(other["score"], other["ci"]),
            interval(found["auc"]["value"], found["auc"]["ci"]),
            f"{reading['false_positives_per_slide']:.1f}",
            f"{reading['share_of_normal_without_false_positive']:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def interval(value: float, bounds: list[float]) -> str:
    """Write a number and its interval."""
    return f"{value:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f})"


if __name__ == "__main__":
    main()
