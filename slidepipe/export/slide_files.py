"""Everything that is written of one slide for QuPath and other viewers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from slidepipe.export.challenge import write_challenge_csv
from slidepipe.export.geojson import GeoJsonSettings, GeoJsonSummary, write_geojson
from slidepipe.export.ome_tiff import HeatmapPixels, write_colour_ome_tiff, write_ome_tiff
from slidepipe.export.ome_zarr import write_ome_zarr
from slidepipe.export.qupath import geojson_path, heatmap_path, picture_path, zarr_path
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.lesions.lesion import Lesion
from slidepipe.storage.publish import remove_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """What is written for other programs."""

    tiles: bool = True
    """Whether heatmap cells are written to GeoJSON, for QuPath's measurement maps. The heatmap itself is also an
    image."""
    max_tiles: Annotated[int, Ge(1)] = 100_000
    """Most tiles to write. QuPath reads 100,000 in about ten seconds and 400,000 in up to two minutes. A heatmap with
    more cells is written in larger tiles of 2 × 2, 4 × 4, ... cells, each with the largest probability among them, so
    that no lesion is lost from sight."""
    heatmap_pixels: HeatmapPixels = "float32"
    """How a probability is stored in the heatmap's OME-TIFF. ``uint8`` is smaller, has 256 steps, and cannot tell a
    probability of 0 from a cell that was not looked at."""
    pictures: bool = True
    """Whether the heatmap is also written in colours, for viewers that cannot colour it themselves."""
    ome_zarr: bool = False
    """Whether the heatmap is also written as OME-Zarr 0.4, for napari, vizarr and QuPath from 0.6 on. It is a folder
    of many files."""

    @property
    def geojson(self) -> GeoJsonSettings:
        """Settings of the GeoJSON file."""
        return GeoJsonSettings(tiles=self.tiles, max_tiles=self.max_tiles)


@dataclass(frozen=True, slots=True)
class ExportedSlide:
    """What was written of a slide."""

    summary: GeoJsonSummary
    """Numbers of objects."""
    files: tuple[Path, ...]
    """All files, those of an OME-Zarr folder only by its ``.zattrs``, which is the last to be written."""


def write_slide_files(
    folder: Path,
    heatmap: Heatmap,
    lesions: Sequence[Lesion],
    *,
    threshold: float,
    offset_px0: tuple[int, int] = (0, 0),
    settings: ExportSettings,
) -> ExportedSlide:
    """Write the results of one slide into the folder of a QuPath project.

    Parameters
    ----------
    folder
        Folder of the project. What an earlier call wrote for the slide is replaced, or removed if it is not wanted any
        more.
    heatmap
        Tumour probability of the slide.
    lesions
        Lesions found on it, most probable first.
    threshold
        Threshold they were found with.
    offset_px0
        Left and top of the slide's scanned area, to which QuPath crops.
    settings
        What is written.

    Returns
    -------
    ExportedSlide
        Numbers and files.

    Raises
    ------
    ExportError
        If something cannot be written in its format, for example a heatmap without cells.
    ConfigError
        If a lesion does not lie above the threshold.
    """
    slide_id = heatmap.slide_id
    geojson, image = geojson_path(folder, slide_id), heatmap_path(folder, slide_id)
    picture, zarr = picture_path(folder, slide_id), zarr_path(folder, slide_id)
    challenge = folder / "challenge" / f"{slide_id}.csv"
    summary = write_geojson(
        geojson, heatmap, lesions, threshold=threshold, offset_px0=offset_px0, settings=settings.geojson
    )
    write_ome_tiff(image, heatmap, settings.heatmap_pixels)
    write_challenge_csv(challenge, lesions)
    files = [geojson, image, challenge]
    if settings.pictures:
        write_colour_ome_tiff(picture, heatmap)
        files.append(picture)
    else:
        picture.unlink(missing_ok=True)
    if settings.ome_zarr:
        write_ome_zarr(zarr, heatmap)
        files.append(zarr / ".zattrs")
    else:
        remove_tree(zarr)
    return ExportedSlide(summary, tuple(files))
