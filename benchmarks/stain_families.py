"""How a model does on the two stain families of PatchCamelyon, and one trained on either does on the other.

    python benchmarks/stain_families.py --train pcam-train.zip --validation pcam-valid.zip \
        --out benchmarks/results/stain_families.md

Patches of PatchCamelyon do not say which of the two hospitals, and so which scanner and laboratory, they come from.
Their colours do to a degree. The mean optical density of a patch's tissue (pixels whose density over red, green and
blue sums up to 0.45 or more) is taken, and its blue divided by its green: how much blue light the stain swallows. That
ratio has two clear peaks on the training patches, with few patches between them; Otsu's threshold on the training
patches parts the families, called *violet* (below, bluer) and *pink* (above).

The rule is not the truth: some patches lie between the peaks, a pale batch of one laboratory may look like the other's,
and the families differ in how much tumour they hold. It tells what happens when colours change, not when hospitals do.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from slidepipe.classifier.builtin import find_model
from slidepipe.classifier.checkpoint import Classifier, load_model
from slidepipe.classifier.devices import choose_device, deterministic_torch, torch_threads
from slidepipe.classifier.fitting import LabelledPatches
from slidepipe.classifier.patch_files import find_patch_files, read_patch_files
from slidepipe.classifier.patch_metrics import PatchMetrics, measure_patches
from slidepipe.classifier.settings import TrainSettings
from slidepipe.classifier.training_loop import fit_network, random_of, write_model
from slidepipe.classifier.unfinished import unfinished_training
from slidepipe.config import load_config
from slidepipe.provenance import software_versions
from slidepipe.storage.publish import write_text

PATCH_PX, MPP = 96, 0.972
TISSUE_DENSITY = 0.45
LEAST_TISSUE_PX = 100
BATCH = 256
FAMILIES = ("violet", "pink")
CONFIG = Path(__file__).parents[1] / "configs" / "builtin-model.yaml"


@dataclass(frozen=True)
class Patches:
    """Patches with label and family."""

    pixels: NDArray[np.uint8]
    is_tumour: NDArray[np.bool_]
    ratio: NDArray[np.float32]
    """Blue over green in optical density."""

    def of(self, chosen: NDArray[np.bool_]) -> Patches:
        """Return some of the patches."""
        return Patches(self.pixels[chosen], self.is_tumour[chosen], self.ratio[chosen])


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--model", default="builtin", help="folder of the model that is judged")
    parser.add_argument("--epochs", type=int, default=4, help="of each short training; 0 leaves them out")
    parser.add_argument("--patches", type=int, default=6000, help="patches an epoch of the short trainings")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    train, validation = read(options.train), read(options.validation)
    threshold = float(threshold_otsu(train.ratio, nbins=64))
    model = load_model(find_model(options.model), "cpu")
    lines = [
        "# Stain families of PatchCamelyon",
        "",
        f"{platform.processor() or platform.machine()}. {versions()}. Model {model.card.weights_sha256[:12]}. "
        f"Families by blue over green optical density, parted at {threshold:.3f} (Otsu on the training patches).",
        "",
        *family_sizes(train, validation, threshold),
        "",
        *shipped(model, validation, threshold),
    ]
    if options.epochs:
        settings = load_config(CONFIG).train
        settings = replace(
            settings, epochs=options.epochs, patches_per_epoch=options.patches, weight_averaging=0.99
        )
        lines += ["", *crossed(train, validation, threshold, settings)]
    write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


def read(path: Path) -> Patches:
    """Read all patches of a zip file or folder."""
    files = find_patch_files(path)
    pixels = read_patch_files(files, range(len(files)), PATCH_PX)
    ratio = np.array([blue_over_green(patch) for patch in pixels], dtype=np.float32)
    return Patches(pixels, np.array(files.is_tumour, dtype=np.bool_), ratio)


def blue_over_green(patch: NDArray[np.uint8]) -> float:
    """Return what tells the families apart; 1 for a patch that swallows no green."""
    density = -np.log(np.clip(patch[::2, ::2].reshape(-1, 3) / 255, 1 / 255, 1))
    tissue = density[density.sum(axis=1) >= TISSUE_DENSITY]
    mean = (tissue if len(tissue) >= LEAST_TISSUE_PX else density).mean(axis=0)
    return float(mean[2] / mean[1]) if mean[1] > 0 else 1.0


def family_sizes(train: Patches, validation: Patches, threshold: float) -> list[str]:
    """Tabulate how many patches are in each family."""
    lines = ["| family | training patches (tumour) | validation patches (tumour) |", "|---|---|---|"]
    for family in FAMILIES:
        cells = []
        for patches in (train, validation):
            chosen = is_of(patches, family, threshold)
            cells.append(f"{chosen.sum()} ({patches.is_tumour[chosen].mean():.0%})")
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return lines


def is_of(patches: Patches, family: str, threshold: float) -> NDArray[np.bool_]:
    """Say which patches are of a family."""
    return (patches.ratio <= threshold) == (family == "violet")


def shipped(model: Classifier, validation: Patches, threshold: float) -> list[str]:
    """Tabulate the model on the validation patches, all and by family."""
    lines = ["| validation patches | AUC (95 % interval) | accuracy (95 % interval) |", "|---|---|---|"]
    groups = {
        "all": np.ones(len(validation.is_tumour), dtype=np.bool_),
        **{family: is_of(validation, family, threshold) for family in FAMILIES},
    }
    for name, chosen in groups.items():
        metrics = judge(model, validation.of(chosen))
        lines.append(
            f"| {name} | {metrics.auc:.4f} ({metrics.auc_interval[0]:.4f} to {metrics.auc_interval[1]:.4f}) "
            f"| {metrics.accuracy:.3f} ({metrics.accuracy_interval[0]:.3f} to {metrics.accuracy_interval[1]:.3f}) |"
        )
    return lines


def judge(model: Classifier, patches: Patches) -> PatchMetrics:
    """Apply a model to patches and compare with their labels."""
    slices = range(0, len(patches.pixels), BATCH)
    probability = np.concatenate([model.probabilities(patches.pixels[at : at + BATCH]) for at in slices])
    return measure_patches(patches.is_tumour, probability)


def crossed(train: Patches, validation: Patches, threshold: float, settings: TrainSettings) -> list[str]:
    """Train on either family and test on both, with colours varied as in the recipe, half as much, and not at all."""
    recipes = {"as shipped": vary(settings, 1), "half of it": vary(settings, 0.5), "none": vary(settings, 0)}
    lines = [
        f"Short trainings on one family, {settings.epochs} epochs of {settings.patches_per_epoch} patches, tested on "
        "both (gap: AUC on its own family less that on the other):",
        "",
        "| trained on | variation of colour | AUC on violet | AUC on pink | gap |",
        "|---|---|---|---|---|",
    ]
    for family in FAMILIES:
        for name, recipe in recipes.items():
            aucs = train_and_test(train.of(is_of(train, family, threshold)), validation, threshold, recipe)
            own, other = (aucs[family], aucs[FAMILIES[family == "violet"]])
            lines.append(
                f"| {family} | {name} | {aucs['violet']:.3f} | {aucs['pink']:.3f} | {own - other:+.3f} |"
            )
            print(lines[-1], flush=True)
    return lines


def vary(settings: TrainSettings, share: float) -> TrainSettings:
    """Return the same recipe with all variation of colour scaled."""
    names = ("brightness", "contrast", "saturation", "hue", "stain", "stain_shift")
    scaled = {name: share * getattr(settings.augmentation, name) for name in names}
    return replace(settings, augmentation=replace(settings.augmentation, **scaled))


def train_and_test(
    train: Patches, validation: Patches, threshold: float, settings: TrainSettings
) -> dict[str, float]:
    """Return the AUC on each family of the validation patches after a training."""
    parts = {family: validation.of(is_of(validation, family, threshold)) for family in FAMILIES}
    watched = LabelledPatches(parts["pink"].pixels, parts["pink"].is_tumour)
    device = choose_device("cpu")

    def read_epoch(epoch: int) -> LabelledPatches:
        random, half = random_of(settings, (0, epoch)), settings.patches_per_epoch // 2
        drawn = [random.choice(np.flatnonzero(train.is_tumour == label), half) for label in (True, False)]
        order = random.permutation(np.concatenate(drawn))
        return LabelledPatches(train.pixels[order], train.is_tumour[order])

    with (
        torch_threads(settings.threads),
        deterministic_torch(device),
        tempfile.TemporaryDirectory() as folder,
    ):
        # Watched on one family, but the last epoch is kept whatever it shows there.
        unfinished = unfinished_training(Path(folder), settings, [], device)
        fitted = fit_network(read_epoch, watched, replace(settings, keep="last"), device, unfinished)
        write_model(Path(folder), fitted, settings, (MPP, (MPP, MPP)), {"settings": asdict(settings)})
        model = load_model(Path(folder), "cpu")
    return {family: judge(model, part).auc for family, part in parts.items()}


def versions() -> str:
    """Name the software that matters."""
    software = software_versions()
    return ", ".join(f"{name} {software[name]}" for name in ("slidepipe", "torch", "numpy"))


if __name__ == "__main__":
    main()
