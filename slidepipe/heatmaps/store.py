"""The heatmap store of one slide: a Zarr v3 group that is also OME-NGFF 0.5, read and proved here.

* ``0``: float32, one probability per cell, axes y and x. A block of cells is one shard; what is not stored is NaN,
  which means that nothing was looked at.
* ``wanted``: uint8, 1 where a cell is looked at. Written first, so that a task finds its cells without planning
  the slide again, and a finished store can be proved complete: a value is there exactly where one is wanted.
* attribute ``ome``: axes and size of a cell; attribute ``slidepipe``: which slide, which model, which settings.
  An allow-list: neither paths nor file names nor anything else that could name a patient.

While a store is being filled, ``complete`` in its attributes is false; such a store cannot be opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidepipe.errors import StoreConflictError, StoreError, StoreIncompleteError, StoreVersionError
from slidepipe.geometry import PixelSize
from slidepipe.heatmaps.grid import CellGrid
from slidepipe.heatmaps.heatmap import Heatmap
from slidepipe.storage.arrays import open_array, read_attributes, read_small_array
from slidepipe.storage.shards import is_stored, read_shard_index, shard_path

HEATMAP_VERSION = 1
"""Format of the store; raised whenever older code would read it wrongly."""

PROBABILITY, WANTED = "0", "wanted"


@dataclass(frozen=True, slots=True, eq=False)
class HeatmapPlan:
    """What a heatmap store holds or is to hold, complete or not."""

    path: Path
    """Folder of the store."""
    attributes: dict[str, Any]
    """The attribute ``slidepipe``."""
    grid: CellGrid
    """Cells to look at."""

    @property
    def slide_id(self) -> str:
        """The slide."""
        return str(self.attributes["slide"]["id"])

    @property
    def token(self) -> str:
        """Token of the work that fills the store."""
        return str(self.attributes["token"])

    @property
    def is_complete(self) -> bool:
        """Whether all blocks are there."""
        return self.attributes["complete"] is True

    @property
    def ledger(self) -> Path:
        """Folder that says which blocks are done, while the store is being filled."""
        return self.path.with_name(f"{self.path.name}.work")

    def shard_file(self, block: int) -> Path:
        """Return where a block lies.

        Parameters
        ----------
        block
            Index of the block.

        Returns
        -------
        Path
            Its file, if it has been written.
        """
        return shard_path(self.path / PROBABILITY, self.grid.position_of(block))


def read_heatmap_plan(path: Path, token: str | None = None) -> HeatmapPlan:
    """Read what a heatmap store holds or is to hold.

    Parameters
    ----------
    path
        Folder of the store.
    token
        Work that the store must belong to; None takes any.

    Returns
    -------
    HeatmapPlan
        Of a store that may be incomplete.

    Raises
    ------
    StoreError
        If there is no heatmap store, or it is damaged.
    StoreVersionError
        If it was written by another format version.
    StoreConflictError
        If it belongs to other work.
    """
    attributes = read_attributes(path).get("slidepipe")
    if not isinstance(attributes, dict) or attributes.get("format") != "heatmap":
        raise StoreError(f"{path} is a Zarr group, but no heatmap of slidepipe")
    version = attributes.get("format_version")
    if version != HEATMAP_VERSION:
        raise StoreVersionError(
            f"{path} is a heatmap of format version {version}, and this slidepipe reads version "
            f"{HEATMAP_VERSION}: make the heatmap again, or use the slidepipe that wrote it"
        )
    is_wanted = read_small_array(path / WANTED) != 0
    try:
        facts = attributes["grid"]
        scale_x, scale_y = facts["scale_px0"]
        grid = CellGrid(facts["stride_px"], (scale_x, scale_y), facts["block_cells"], is_wanted)
        plan = HeatmapPlan(path, attributes, grid)
        mismatch = token is not None and plan.token != token
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} has attributes that do not fit together: {error}") from error
    if mismatch:
        raise StoreConflictError(
            f"{path} of slide {plan.slide_id} belongs to the work {plan.token}, not to {token}: other tiles, "
            "settings, weights or code; begin the heatmap again"
        )
    return plan


def open_heatmap(path: Path) -> Heatmap:
    """Read a complete heatmap.

    Parameters
    ----------
    path
        Folder of the store.

    Returns
    -------
    Heatmap
        All of it, in memory: four bytes per cell.

    Raises
    ------
    StoreError
        If there is no heatmap store, or it is damaged.
    StoreVersionError
        If it was written by another format version.
    StoreIncompleteError
        If blocks of it are missing.
    """
    plan = read_heatmap_plan(path)
    if not plan.is_complete:
        raise StoreIncompleteError(
            f"{path} of slide {plan.slide_id} is incomplete: run the heatmap stage again, it goes on where it stopped"
        )
    slide = plan.attributes["slide"]
    width, height = slide["size_px0"]
    return Heatmap(
        slide_id=plan.slide_id,
        probability=_read_probability(plan),
        cell_px0=plan.grid.cell_px0,
        pixel_size0=PixelSize(*slide["pixel_size_um"]),
        size_px0=(width, height),
    )


def _read_probability(plan: HeatmapPlan) -> NDArray[np.float32]:
    for block in plan.grid.blocks:
        check_block(plan, block)
    try:
        probability = np.asarray(open_array(plan.path / PROBABILITY)[...])
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(
            f"{plan.path} of slide {plan.slide_id} cannot be read: {error}. Make the heatmap again"
        ) from error
    if probability.shape != plan.grid.shape:
        raise StoreError(
            f"{plan.path} of slide {plan.slide_id} has {probability.shape} cells, its plan {plan.grid.shape}"
        )
    return probability.astype(np.float32, copy=False)


def check_block(plan: HeatmapPlan, block: int) -> None:
    """Prove that the file of a block is whole and holds the chunks it should.

    Values are not decoded: each chunk carries a checksum of its own, which reading checks.

    Parameters
    ----------
    plan
        The store.
    block
        Index of a block with wanted cells.

    Raises
    ------
    StoreError
        If the file is missing or cut short, or lacks a chunk with wanted cells or has one without.
    """
    grid = plan.grid
    side = grid.block_cells // grid.chunk_cells
    index = read_shard_index(plan.shard_file(block), (side, side))
    chunks = (grid.cells_of(block) - np.array(grid.position_of(block)) * grid.block_cells) // grid.chunk_cells
    expected = np.zeros((side, side), dtype=np.bool_)
    expected[tuple(chunks.T)] = True
    if not np.array_equal(is_stored(index), expected):
        raise StoreError(
            f"{plan.shard_file(block)} holds {int(is_stored(index).sum())} chunks of block {block}, "
            f"{int(expected.sum())} were expected, or others: make the heatmap again"
        )


def verify_heatmap(path: Path, token: str | None = None) -> list[str]:
    """Prove that a heatmap is complete, undamaged and the one that is meant.

    Parameters
    ----------
    path
        Folder of the store.
    token
        Work that it must belong to; None takes any.

    Returns
    -------
    list of str
        What is wrong, a sentence each; empty if nothing is.
    """
    try:
        plan = read_heatmap_plan(path, token)
        probability = open_heatmap(path).probability
    except StoreError as error:
        return [str(error)]
    problems = []
    is_looked_at = ~np.isnan(probability)
    missing = int((plan.grid.is_wanted & ~is_looked_at).sum())
    if missing:
        problems.append(f"slide {plan.slide_id}: {missing} cells of the heatmap have no value and should")
    unplanned = int((is_looked_at & ~plan.grid.is_wanted).sum())
    if unplanned:
        problems.append(
            f"slide {plan.slide_id}: {unplanned} cells of the heatmap have a value and should not"
        )
    values = probability[is_looked_at]
    outside = int(((values < 0) | (values > 1)).sum())
    if outside:
        problems.append(f"slide {plan.slide_id}: {outside} values of the heatmap are no probabilities")
    return problems
