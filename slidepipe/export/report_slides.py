"""A slide of the report: its pictures made to fit, and what is drawn over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slidepipe.errors import ExportError
from slidepipe.export.report_inputs import SHOWN_LESIONS, SlideRow
from slidepipe.export.report_results import SlideResult
from slidepipe.export.slide_pictures import (
    HeatmapPicture,
    data_url,
    draw_heatmap,
    fit_thumbnail,
    outline_path,
)
from slidepipe.geometry import Scale
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.heatmaps.store import open_heatmap
from slidepipe.lesions.lesion import Lesion

_PICTURES_BYTES = 15_000_000
_LARGEST_THUMBNAIL, _LARGEST_HEATMAP = 22_000, 14_000
_SMALLEST_PICTURE = 2_000
_VIEW_UNITS = 4000


@dataclass(frozen=True, slots=True)
class SlideView:
    """A slide as the template needs it: its row, its pictures as URLs, and what is drawn over them."""

    row: SlideRow
    result: SlideResult
    thumbnail: str
    """URL that carries the picture; empty without one."""
    heatmap: str
    """URL that carries the picture; empty without one."""
    heatmap_percent: Scale
    """Width and height of the heatmap's picture, in per cent of the slide's."""
    view_units: tuple[int, int]
    """Width and height of the drawing over the pictures."""
    reference: str
    """Path of the reference outlines."""
    marks: tuple[tuple[int, int, int], ...]
    """Number, x and y of the lesions drawn, in units of the drawing."""
    caption: str
    """Tiles, lesions and the heatmap's resolution, in words."""

    @property
    def marks_path(self) -> str:
        """The lesions as dots: steps of no length, which a round stroke shows."""
        return "".join(f"M{x} {y}h0" for _, x, y in self.marks)

    @property
    def shown_lesions(self) -> Sequence[Lesion]:
        """The lesions that are drawn and listed."""
        return self.row.lesions[:SHOWN_LESIONS]


def view_slide(row: SlideRow, result: SlideResult | None, budget: tuple[int, int]) -> SlideView:
    """Turn a slide into what the template needs.

    Parameters
    ----------
    row
        The slide.
    result
        What became of its lesions; None if it was not evaluated.
    budget
        Bytes for its thumbnail and its heatmap, see `picture_budget`.

    Returns
    -------
    SlideView
        Its heatmap store, if it has one, is read here and closed again.

    Raises
    ------
    ExportError
        If its thumbnail cannot be read, or its heatmap holds no probabilities or is of a slide of another size.
    StoreError
        If its heatmap store cannot be used.
    """
    thumbnail_bytes, heatmap_bytes = budget
    width, height = row.size_px0
    unit_px0 = max(width, height) / _VIEW_UNITS
    heatmap = row.heatmap
    if heatmap is not None and not isinstance(heatmap, Heatmap):
        heatmap = open_heatmap(heatmap)
    if heatmap is not None and heatmap.size_px0 != row.size_px0:
        raise ExportError(
            f"{row.slide_id}: the heatmap is of a slide of {heatmap.size_px0} pixels, this one has {row.size_px0}"
        )
    picture = None if heatmap is None else draw_heatmap(heatmap, heatmap_bytes)
    thumbnail = None if row.thumbnail is None else fit_thumbnail(row.thumbnail, thumbnail_bytes, row.slide_id)
    percent = (100.0, 100.0)
    if picture is not None:
        percent = (100 * picture.extent_px0[0] / width, 100 * picture.extent_px0[1] / height)
    return SlideView(
        row=row,
        result=result or SlideResult(None, None),
        thumbnail="" if thumbnail is None else data_url(thumbnail, "image/jpeg"),
        heatmap="" if picture is None else data_url(picture.png, "image/png"),
        heatmap_percent=percent,
        view_units=(max(1, round(width / unit_px0)), max(1, round(height / unit_px0))),
        reference=outline_path(row.reference_rings, unit_px0),
        marks=tuple(
            (lesion.number, round(lesion.x_px0 / unit_px0), round(lesion.y_px0 / unit_px0))
            for lesion in row.lesions[:SHOWN_LESIONS]
        ),
        caption=" ".join((_tissue_caption(row), _lesion_caption(row), _heatmap_caption(heatmap, picture))),
    )


def _tissue_caption(row: SlideRow) -> str:
    if row.n_tiles is None:
        return "Not tiled."
    damaged = f", {row.n_damaged:,} of them damaged" if row.n_damaged else ""
    return f"{row.n_tiles:,} tiles with tissue{damaged}."


def _lesion_caption(row: SlideRow) -> str:
    if row.n_lesions is None and not row.lesions:
        return "No lesions were looked for."
    count = len(row.lesions) if row.n_lesions is None else row.n_lesions
    if count > min(len(row.lesions), SHOWN_LESIONS):
        shown = min(len(row.lesions), SHOWN_LESIONS)
        return f"{count:,} lesions; the {shown} most probable are drawn and listed."
    return "No lesion." if not count else f"{count} lesion{'s' if count > 1 else ''}."


def _heatmap_caption(heatmap: Heatmap | None, picture: HeatmapPicture | None) -> str:
    if heatmap is None or picture is None:
        return "No heatmap."
    cells = picture.cells_per_pixel
    side_um = heatmap.cell_um.mean_um * cells
    shows = "one cell" if cells == 1 else f"the highest of {cells} × {cells} cells"
    return f"A pixel of the heatmap shows {shows}, {side_um:,.0f} µm wide."


def picture_budget(n_slides: int) -> tuple[int, int]:
    """Share the bytes of all pictures among the slides.

    Parameters
    ----------
    n_slides
        Number of slides.

    Returns
    -------
    tuple of int
        Largest number of bytes of a thumbnail and of a heatmap: 22,000 and 14,000 for up to 416 slides, then less, so
        that all stay within 15 MB; 2,000 each at least.
    """
    share = min(1.0, _PICTURES_BYTES / (max(1, n_slides) * (_LARGEST_THUMBNAIL + _LARGEST_HEATMAP)))
    return (
        max(_SMALLEST_PICTURE, int(_LARGEST_THUMBNAIL * share)),
        max(_SMALLEST_PICTURE, int(_LARGEST_HEATMAP * share)),
    )
