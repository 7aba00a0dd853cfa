"""The run directory: one place for everything a study makes.

::

    RUN/
      run.json             format version of this layout
      config.yaml          resolved configuration
      cohort.csv           every slide: where it lies, label, centre, split, exclusions
      tissue.csv           tissue settings per slide, to be edited for odd slides
      overviews/           one marked overview and one thumbnail (JPEG) per slide
      tiles/ heatmaps/     one Zarr store per slide
      model/               model.safetensors, model.json, training.csv and .tfevents and .png; unfinished.pt meanwhile
      mining/              hard negatives, round by round: where models took normal tissue for tumour
      lesions/             one CSV per slide, and the heat-map features
      predictions/         slide probabilities and the slide model
      evaluation/          evaluation.json and its figures
      export/              a QuPath project, OME-TIFF, GeoJSON, challenge CSV
      report.html
      performance.html     what the Dask workers did, if that was asked for; one page more for each further cluster
      journal/             what became of every slide in every stage
      arrays/              where stages run as job arrays: which task does what, and what became of it
      logs/                output of the jobs of a batch system
      owner/               who works on the run right now; not there when nobody does
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slidepipe.errors import RunError
from slidepipe.storage.publish import read_json, write_json

RUN_VERSION = 1
"""Version of the layout above. A run of another version is refused."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the parts of a run lie."""

    root: Path

    @property
    def config(self) -> Path:
        """Resolved configuration."""
        return self.root / "config.yaml"

    @property
    def cohort(self) -> Path:
        """Table of slides."""
        return self.root / "cohort.csv"

    @property
    def tissue_table(self) -> Path:
        """Tissue settings per slide."""
        return self.root / "tissue.csv"

    @property
    def overviews(self) -> Path:
        """Folder of overview pictures."""
        return self.root / "overviews"

    @property
    def model(self) -> Path:
        """Folder of the patch classifier trained in this run."""
        return self.root / "model"

    @property
    def mining(self) -> Path:
        """Folder of the hard negatives."""
        return self.root / "mining"

    @property
    def predictions(self) -> Path:
        """Table of slide probabilities."""
        return self.root / "predictions" / "slides.csv"

    @property
    def slide_model(self) -> Path:
        """Folder of the slide model."""
        return self.root / "predictions" / "slide_model"

    @property
    def evaluation(self) -> Path:
        """Folder of the evaluation."""
        return self.root / "evaluation"

    @property
    def export(self) -> Path:
        """Folder that is a QuPath project."""
        return self.root / "export"

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.root / "report.html"

    @property
    def performance(self) -> Path:
        """Page of what the workers did."""
        return self.root / "performance.html"

    @property
    def journal(self) -> Path:
        """Folder of the journal."""
        return self.root / "journal"

    @property
    def arrays(self) -> Path:
        """Folder of what job arrays have to do and have done."""
        return self.root / "arrays"

    @property
    def logs(self) -> Path:
        """Folder of the output of jobs."""
        return self.root / "logs"

    def tiles(self, slide_id: str) -> Path:
        """Return the tile store of a slide.

        Parameters
        ----------
        slide_id
            Name of the slide.

        Returns
        -------
        Path
            A Zarr group.
        """
        return self.root / "tiles" / f"{slide_id}.zarr"

    def heatmap(self, slide_id: str) -> Path:
        """Return the heatmap store of a slide.

        Parameters
        ----------
        slide_id
            Name of the slide.

        Returns
        -------
        Path
            A Zarr group.
        """
        return self.root / "heatmaps" / f"{slide_id}.zarr"

    def lesions(self, slide_id: str) -> Path:
        """Return the table of a slide's lesions.

        Parameters
        ----------
        slide_id
            Name of the slide.

        Returns
        -------
        Path
            A CSV file.
        """
        return self.root / "lesions" / f"{slide_id}.csv"

    def features(self, slide_id: str) -> Path:
        """Return the heat-map features of a slide.

        Parameters
        ----------
        slide_id
            Name of the slide.

        Returns
        -------
        Path
            A JSON file.
        """
        return self.root / "lesions" / f"{slide_id}.features.json"


def open_run(root: Path, *, create: bool = False) -> RunFolder:
    """Open a run directory and check that it is one.

    Parameters
    ----------
    root
        The directory.
    create
        Make it where it does not exist or is empty.

    Returns
    -------
    RunFolder
        Its parts.

    Raises
    ------
    RunError
        If the directory is not a run, or a run of another format version.
    """
    marker = root / "run.json"
    if marker.is_file():
        version = read_json(marker).get("format_version")
        if version != RUN_VERSION:
            raise RunError(
                f"{root} was made by run format {version}, this slidepipe reads {RUN_VERSION}: "
                "use the version that made it, or start a new run directory"
            )
        return RunFolder(root)
    if not create:
        raise RunError(
            f"{root} is not a run directory (it has no run.json): start one with `slidepipe run` or `slidepipe tile`"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise RunError(f"{root} exists and is not a run directory: choose another, or empty it")
    write_json(marker, {"format_version": RUN_VERSION})
    return RunFolder(root)
