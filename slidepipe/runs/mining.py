"""Hard-negative mining: what the run's classifier takes for tumour on normal training slides, for its next training.

Each model that is mined gives a round: ``mining/round_001.csv`` with the places, ``round_001.json`` with the model that
took them for tumour. The next ``train`` draws from the places of all rounds, and its card names them; so ``mine`` and
``run`` in turn are bootstrapping (Sung and Poggio 1998, who add false positives to the negatives until none are left).
To forget a round, delete its files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slidepipe.errors import RunError
from slidepipe.heatmaps.store import open_heatmap, read_heatmap_plan
from slidepipe.lesions.false_positives import find_false_positives
from slidepipe.lesions.lesion import Lesion, read_lesions, write_lesions
from slidepipe.provenance import fingerprint, fingerprint_file
from slidepipe.runs.journal import Entry
from slidepipe.runs.plan import done_tokens
from slidepipe.runs.steps import CohortStep, run_step
from slidepipe.runs.study import Study
from slidepipe.slides.cohort import CohortSlide
from slidepipe.stages import HEATMAP
from slidepipe.storage.publish import read_json, write_json

MINE_VERSION = 1
"""Part of the token: raised whenever the same heatmaps come to give other places."""


@dataclass(frozen=True, slots=True)
class MiningRound:
    """The false positives of one model."""

    number: int
    """Counted from 1."""
    weights_sha256: str
    """The model that took them for tumour."""
    places: tuple[Lesion, ...]
    """On all slides, slide by slide."""

    def facts(self) -> dict[str, Any]:
        """Return what a model's card says of the round."""
        return {"round": self.number, "weights_sha256": self.weights_sha256, "places": len(self.places)}


def read_rounds(study: Study) -> tuple[MiningRound, ...]:
    """Read what was mined so far.

    Parameters
    ----------
    study
        The study.

    Returns
    -------
    tuple of MiningRound
        In the order in which they were mined; empty if nothing was.

    Raises
    ------
    RunError
        If the files of a round do not belong together.
    """
    rounds = []
    for about in sorted(study.folder.mining.glob("round_*.json")):
        facts, table = read_json(about), about.with_suffix(".csv")
        if not table.is_file() or fingerprint_file(table) != facts["places"]:
            raise RunError(
                f"{table} is not the table that {about.name} was written with: delete both, and mine again"
            )
        rounds.append(MiningRound(facts["round"], facts["weights_sha256"], read_lesions(table)))
    return tuple(rounds)


def hard_negatives_px0(rounds: Sequence[MiningRound], slide_id: str) -> tuple[tuple[int, int], ...]:
    """Collect the places of one slide over all rounds.

    Parameters
    ----------
    rounds
        What was mined.
    slide_id
        The slide.

    Returns
    -------
    tuple
        Points (x, y) in level-0 pixels, each once, sorted.
    """
    places = (place for each in rounds for place in each.places)
    return tuple(sorted({(place.x_px0, place.y_px0) for place in places if place.slide_id == slide_id}))


def run_mining(study: Study) -> list[Entry]:
    """Write down what the classifier takes for tumour on the normal training slides.

    Parameters
    ----------
    study
        The study; its heatmaps are there.

    Returns
    -------
    list of Entry
        Empty if this model was mined already, with these settings.

    Raises
    ------
    RunError
        If there is no heatmap of a normal training slide, or the heatmaps are of several models.
    """
    tokens = done_tokens(study, HEATMAP.name)
    names = [slide.source.slide_id for slide in study.slides if _is_mined(slide)]
    slides = [name for name in names if name in tokens]
    if not slides:
        raise RunError(
            f"{study.folder.root} has no heatmap of a normal training slide to mine: run `slidepipe heatmap` first; "
            "test slides are never mined"
        )
    weights = _model_of(study, slides)
    earlier = [each.number for each in read_rounds(study) if each.weights_sha256 != weights]
    number = max(earlier, default=0) + 1
    heatmaps = [[name, tokens[name]] for name in slides]
    token = fingerprint({"stage": ["mine", MINE_VERSION], "in": heatmaps, "settings": study.config.mine})
    table = study.folder.mining / f"round_{number:03d}.csv"
    about = table.with_suffix(".json")

    def work() -> Mapping[str, Any]:
        found = {
            name: find_false_positives(open_heatmap(study.folder.heatmap(name)), study.config.mine)
            for name in slides
        }
        # The facts vouch for the table, so they go first and come last.
        about.unlink(missing_ok=True)
        write_lesions(table, [place for places in found.values() for place in places])
        counts = {name: len(places) for name, places in found.items()}
        facts = {"round": number, "weights_sha256": weights, "places": fingerprint_file(table)}
        write_json(about, {**facts, "settings": asdict(study.config.mine), "slides": counts})
        return {"round": number, "slides": len(slides), "places": sum(counts.values())}

    return run_step(study, CohortStep("mine", token, work, (table, about)))


def _is_mined(slide: CohortSlide) -> bool:
    return slide.split == "train" and slide.label == "normal" and "train_negatives" not in slide.excluded


def _model_of(study: Study, slides: Sequence[str]) -> str:
    made_by: dict[str, str] = {}
    for name in slides:
        provenance = read_heatmap_plan(study.folder.heatmap(name)).attributes["provenance"]
        made_by[str(provenance["model"]["weights_sha256"])] = name
    if len(made_by) > 1:
        (one, first), (other, second) = sorted(made_by.items())[:2]
        raise RunError(
            f"the heatmap of {first} was made by model {one[:12]}, that of {second} by {other[:12]}: run `slidepipe "
            "heatmap`, then mine"
        )
    return next(iter(made_by))
