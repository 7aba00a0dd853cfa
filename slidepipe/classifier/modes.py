"""Which of its two modes a network works in on a slide. Settled before any work, since results depend on it."""

from __future__ import annotations

from typing import Literal

from slidepipe.classifier.card import ForeignCard, ModelCard
from slidepipe.classifier.settings import STRIDES_PER_PATCH, TRUNK_STRIDE_PX, UNPADDED, InferenceMode
from slidepipe.errors import ModelError


def resolve_mode(mode: InferenceMode, card: ModelCard, stride_px: int) -> Literal["patch", "dense"]:
    """Settle the mode.

    Parameters
    ----------
    mode
        What is asked for; ``auto`` takes dense where that gives what patches give, and is faster: up to half a patch,
        a third for ``lite0-enlarged``.
    card
        The model.
    stride_px
        Distance between neighbouring patches.

    Returns
    -------
    str
        ``patch`` or ``dense``.

    Raises
    ------
    ModelError
        If dense is asked for, and the network has no trunk, or the stride is no multiple of the trunk's.
    """
    trunk_stride_px = trunk_stride(card)
    if trunk_stride_px is None:
        if mode == "dense":
            raise ModelError(
                f"dense inference needs a network that is split into trunk and head, and {card.architecture!r} is not: "
                "set inference.mode to patch"
            )
        return "patch"
    fits = stride_px % trunk_stride_px == 0
    if mode == "auto":
        # An area of one cell holds stride² pixels, of which a patch of more than twice the side leaves little.
        is_faster = STRIDES_PER_PATCH.get(card.architecture, 2) * stride_px <= card.patch_px
        return "dense" if fits and is_faster and not pads(card) else "patch"
    if mode == "dense" and not fits:
        raise ModelError(
            f"dense inference with {card.architecture!r} needs a stride that is a multiple of {trunk_stride_px} px, "
            f"got {stride_px}: set heatmap.stride_px, or inference.mode to patch"
        )
    return mode


def gives_another_answer(mode: InferenceMode, card: ModelCard, stride_px: int) -> bool:
    """Tell whether a slide will be looked at in a mode that gives other probabilities than patches give.

    Parameters
    ----------
    mode
        What is asked for.
    card
        The model.
    stride_px
        Distance between neighbouring patches.

    Returns
    -------
    bool
        True for dense mode with a network that pads.

    Raises
    ------
    ModelError
        As `resolve_mode`.
    """
    return resolve_mode(mode, card, stride_px) == "dense" and pads(card)


def trunk_stride(card: ModelCard) -> int | None:
    """Return the distance between neighbouring features of a network's trunk.

    Parameters
    ----------
    card
        The model.

    Returns
    -------
    int or None
        In pixels; None for networks that are not split into trunk and head.
    """
    if isinstance(card, ForeignCard):
        return None
    return TRUNK_STRIDE_PX.get(card.architecture)


def pads(card: ModelCard) -> bool:
    """Tell whether features of a network have seen zeros around a patch besides its pixels.

    Parameters
    ----------
    card
        The model.

    Returns
    -------
    bool
        False if dense inference gives what patches give.
    """
    return isinstance(card, ForeignCard) or card.architecture not in UNPADDED
