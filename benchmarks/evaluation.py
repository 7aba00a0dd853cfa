"""How long the evaluation takes, and how much faster lesions are found than by scanning the map again and again.

    python benchmarks/evaluation.py train-tumor-annotations.zip --out benchmarks/results/evaluation.md

The archive holds real lesion outlines of CAMELYON16 as NCRF published them (one JSON file per slide). A test set of the
challenge's size is laid out as files (129 slides, 49 with the real outlines as ASAP XML, 300 detections on each, one
slide probability) and evaluated by all four rules with 2,000 resamples, from reading the files to writing JSON and
figures. The targets: under 60 s on two cores, all 110 real annotations to lesions in under two minutes, and lesions
from a map of 1562 × 3125 cells with a million candidates 50 times as fast as by NCRF's scans of the map for each of
them, with identical detections.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from slidepipe.evaluation.folders import FolderInputs, evaluate_folder
from slidepipe.evaluation.masks import paint_mask
from slidepipe.evaluation.output import write_evaluation
from slidepipe.evaluation.reference import find_reference_lesions
from slidepipe.evaluation.rules import OFFICIAL_PIXEL_UM
from slidepipe.evaluation.settings import EvaluationSettings
from slidepipe.lesions.peaks import find_peaks
from slidepipe.provenance import software_versions
from slidepipe.slides.annotations import Outline, SlideAnnotation
from slidepipe.storage.publish import write_text

N_SLIDES, N_TUMOUR, N_DETECTIONS = 129, 49, 300
MAP_SHAPE, N_CANDIDATES, RADIUS, THRESHOLD = (1562, 3125), 1_000_000, 12, 0.5


def main() -> None:
    """Measure, print the table and write it if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path, help="archive of NCRF's JSON files")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    outlines = read_outlines(arguments.annotations)
    rows = [measure_references(outlines), *measure_evaluation(outlines), *measure_peaks()]
    text = "\n".join(
        ["# Evaluation", "", *machine(), "", "| what | measured | target |", "|---|---|---|", *rows, ""]
    )
    print(text)
    if arguments.out:
        write_text(arguments.out, text)


def read_outlines(archive: Path) -> dict[str, SlideAnnotation]:
    """Read the outlines of every slide."""
    slides = {}
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist()):
            content = json.loads(files.read(name))
            slides[Path(name).stem.lower()] = SlideAnnotation(
                Path(name).stem.lower(),
                tuple(
                    Outline(np.array(each["vertices"], dtype=np.float64), kind == "positive", group)
                    for kind, group in (("positive", "_0"), ("negative", "_2"))
                    for each in content[kind]
                ),
            )
    return slides


def measure_references(outlines: Mapping[str, SlideAnnotation]) -> str:
    """Time the way from all outlines to reference lesions."""
    start = time.perf_counter()
    n_polygons = n_lesions = n_itc = 0
    for annotation in outlines.values():
        lesions = find_reference_lesions(paint_mask(annotation, 5, None, None).is_tumour, OFFICIAL_PIXEL_UM)
        n_polygons += sum(outline.is_tumour for outline in annotation.outlines)
        n_lesions += len(lesions.area_px)
        n_itc += int(lesions.is_itc.sum())
    seconds = time.perf_counter() - start
    return (
        f"| {len(outlines)} real annotations to lesions ({n_polygons} polygons, {n_lesions} components, {n_itc} ITC, "
        f"{n_lesions - n_itc} targets) | {seconds:.1f} s | 120 s |"
    )


def measure_evaluation(outlines: Mapping[str, SlideAnnotation]) -> list[str]:
    """Time the evaluation of a test set of files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder, outlines)
        inputs = FolderInputs(
            reference=str(folder / "reference.csv"),
            detections=str(folder / "detections"),
            slide_scores=str(folder / "scores.csv"),
            annotations=str(folder / "annotations"),
        )
        settings = EvaluationSettings(rules=("public", "leaderboard", "release", "exact"))
        start = time.perf_counter()
        evaluation = evaluate_folder(inputs, settings)
        write_evaluation(evaluation, folder / "out.json")
        seconds = time.perf_counter() - start
    main_rule = evaluation.froc[0]
    return [
        f"| {main_rule.n_slides} slides × {N_DETECTIONS} detections, masks from XML, four rules, {settings.resamples} "
        f"resamples, centres, size classes, figures ({main_rule.n_targets} targets) | {seconds:.1f} s | 60 s |"
    ]


def lay_out(folder: Path, outlines: Mapping[str, SlideAnnotation]) -> None:
    """Write a test set: reference table, outlines as XML, detections and slide probabilities."""
    generator = np.random.default_rng(0)
    for part in ("annotations", "detections"):
        (folder / part).mkdir()
    reference, scores = ["image,type,class,center,spacing_um"], []
    # Every other annotation, so that both centres are among them.
    with_tumour = list(outlines.values())[:: max(1, len(outlines) // N_TUMOUR)][:N_TUMOUR]
    for number in range(1, N_SLIDES + 1):
        name = f"test_{number:03d}"
        annotation = with_tumour[number - 1] if number <= len(with_tumour) else None
        centre = number % 2
        label, size = (
            ("normal", "negative") if annotation is None else ("tumor", ("micro", "macro")[number // 2 % 2])
        )
        reference.append(f"{name}.tif,{label},{size},{centre},{(0.243, 0.226)[centre]}")
        scores.append(f"{name},{generator.beta(2, 4) if annotation is None else generator.beta(4, 2):.6f}")
        points = generator.uniform(0, 60_000, (N_DETECTIONS, 2))
        confidence = generator.beta(1, 4, N_DETECTIONS)
        if annotation is not None:
            write_xml(folder / "annotations" / f"{name}.xml", annotation)
            corners = np.concatenate([outline.points_px0 for outline in annotation.outlines])
            n_hits = min(60, len(corners))
            points[:n_hits] = corners[generator.choice(len(corners), n_hits, replace=False)]
            confidence[:n_hits] = generator.beta(4, 2, n_hits)
        lines = [
            f"{p:.5f},{int(x)},{int(y)}\n" for p, (x, y) in zip(confidence.clip(1e-5, 1), points, strict=True)
        ]
        (folder / "detections" / f"{name}.csv").write_text("".join(lines))
    (folder / "reference.csv").write_text("\n".join(reference) + "\n")
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")


def write_xml(path: Path, annotation: SlideAnnotation) -> None:
    """Write outlines as ASAP does."""
    root = ElementTree.Element("ASAP_Annotations")
    parent = ElementTree.SubElement(root, "Annotations")
    for number, outline in enumerate(annotation.outlines):
        element = ElementTree.SubElement(
            parent,
            "Annotation",
            Name=f"Annotation {number}",
            Type="Polygon",
            PartOfGroup=outline.group,
            Color="#F4FA58",
        )
        corners = ElementTree.SubElement(element, "Coordinates")
        for order, (x, y) in enumerate(outline.points_px0.tolist()):
            ElementTree.SubElement(corners, "Coordinate", Order=str(order), X=str(x), Y=str(y))
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def measure_peaks() -> list[str]:
    """Time non-maximum suppression against scanning the map for the maximum again and again."""
    generator = np.random.default_rng(0)
    probability = np.zeros(MAP_SHAPE, dtype=np.float32)
    chosen = generator.choice(probability.size, N_CANDIDATES, replace=False)
    probability.flat[chosen] = (
        generator.uniform(THRESHOLD + 1e-3, 1, N_CANDIDATES).astype(np.float32).round(4)
    )
    fast_seconds = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        fast = find_peaks(probability, (RADIUS, RADIUS), THRESHOLD)
        fast_seconds = min(fast_seconds, time.perf_counter() - start)
    start = time.perf_counter()
    slow = rescan(probability)
    slow_seconds = time.perf_counter() - start
    same = "identical" if np.array_equal(fast, slow) else "NOT identical"
    return [
        f"| {len(fast)} lesions of a map of {MAP_SHAPE[0]} × {MAP_SHAPE[1]} cells, {N_CANDIDATES:,} candidates "
        f"| {fast_seconds:.2f} s | |",
        f"| the same by scanning the map for each ({same}) | {slow_seconds:.1f} s | |",
        f"| faster by | {slow_seconds / fast_seconds:.0f} × | 50 × |",
    ]


def rescan(probability: NDArray[np.float32]) -> NDArray[np.int64]:
    """Find peaks as NCRF's script does, with its scans for each peak: is there one, how high, and where."""
    by_column = probability.T.copy()
    peaks = []
    while by_column.max() > THRESHOLD:
        columns, rows = np.nonzero(by_column == by_column.max())
        column, row = int(columns[0]), int(rows[0])
        peaks.append((row, column))
        by_column[max(0, column - RADIUS) : column + RADIUS, max(0, row - RADIUS) : row + RADIUS] = 0
    return np.array(peaks, dtype=np.int64).reshape(-1, 2)


def machine() -> list[str]:
    """Say what was measured on what."""
    versions = software_versions()
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("slidepipe", "python", "numpy", "scipy") if name in versions
    )
    return [f"{cpu_model()}, {os.cpu_count()} cores. {shown}. Commit {commit()}."]


def cpu_model() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def commit() -> str:
    """Name the commit that is checked out, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


if __name__ == "__main__":
    main()
