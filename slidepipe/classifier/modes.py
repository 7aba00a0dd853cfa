"""Which of its two modes a network works in on a slide. Settled before any work, since results depend on it."""

from __future__ import annotations

from typing import Literal

from slidepipe.classifier.card import ModelCard
from slidepipe.classifier.settings import TRUNK_STRIDE_PX, UNPADDED, InferenceMode
from slidepipe.errors import ModelError


def resolve_mode(mode: InferenceMode, card: ModelCard, stride_px: int) -> Literal["patch", "dense"]:
    """Settle the mode.

    Parameters
    ----------
    mode
        What is asked for; ``auto`` takes dense where that gives what patches give, and is faster: up to half a patch.
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
        If dense is asked for, and the stride is no multiple of the trunk's.
    """
    trunk_stride_px = TRUNK_STRIDE_PX[card.architecture]
    fits = stride_px % trunk_stride_px == 0
    if mode == "auto":
        # An area of one cell holds stride² pixels, of which a patch of more than twice the side leaves little.
        is_faster = 2 * stride_px <= card.patch_px
        return "dense" if fits and is_faster and card.architecture in UNPADDED else "patch"
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
    return resolve_mode(mode, card, stride_px) == "dense" and card.architecture not in UNPADDED
