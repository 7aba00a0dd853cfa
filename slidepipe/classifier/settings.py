"""Settings of training and inference. Importing them does not import Torch, so a configuration is read in no time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Interval, Lt

from slidepipe.errors import ConfigError

Architecture = Literal["compact", "lite0", "lite0-enlarged", "resnet18", "symmetric"]
"""Names of the networks: our own small ones, plain and symmetric, most of EfficientNet-Lite0 on patches as they are and
enlarged, and torchvision's ResNet-18."""

TIMM_PREFIX = "timm/"
"""What the names of networks of timm begin with here."""

IMAGENET = "imagenet"
"""Name of the weights from ImageNet, see `TrainSettings.initial`."""

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where Torch computes; ``auto`` is CUDA if there is one, else MPS, else the CPU."""

LabelRule = Literal["centre", "fraction"]
"""When a patch counts as tumour, see `PatchSettings.label_rule`."""

InferenceMode = Literal["auto", "patch", "dense"]
"""How a network is taken over a slide, see `InferenceSettings.mode`."""

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
"""Numbers that a network computes with, see `InferenceSettings.precision` and `TrainSettings.precision`."""

LITE: frozenset[str] = frozenset({"lite0", "lite0-enlarged"})
"""Networks that can start from weights of ImageNet."""

TRUNK_STRIDE_PX: dict[str, int] = {
    "compact": 8,
    "lite0": 4,
    "lite0-enlarged": 8,
    "resnet18": 32,
    "symmetric": 8,
}
"""Least distance in pixels between patches whose features one pass of the trunk gives."""

FEATURES_PER_STRIDE: dict[str, int] = {"lite0-enlarged": 3}
"""Features of the trunk along that distance, where they are more than one."""

STRIDES_PER_PATCH: dict[str, int] = {"lite0-enlarged": 3}
"""Strides along a patch from which on dense is the faster mode, where they are not two. What counts is how much of the
work is the head's, which areas do not share; measured on a CPU."""

UNPADDED: frozenset[str] = frozenset({"compact", "symmetric"}) | LITE
"""Networks whose features have seen nothing but pixels: for them dense inference gives what patches give."""

INVARIANT: frozenset[str] = frozenset({"symmetric"})
"""Networks that answer alike to all eight orientations of a patch."""

MIN_PATCH_PX: dict[str, int] = {
    "compact": 63,
    "lite0": 32,
    "lite0-enlarged": 32,
    "resnet18": 32,
    "symmetric": 80,
}
"""Side of the smallest patch: the view of one feature of ``compact`` and ``symmetric``, the trunk stride of
``resnet18``; ``lite0`` and ``lite0-enlarged`` see enough from there on."""


def is_architecture(name: str) -> bool:
    """Tell whether a network of this name can be built here.

    Parameters
    ----------
    name
        Name of a network.

    Returns
    -------
    bool
        True for our own, and for all of timm, which need not be installed.
    """
    return name in get_args(Architecture) or name.startswith(TIMM_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSettings:
    """Which patches a network is trained on."""

    patch_px: Annotated[int, Ge(32)] = 96
    """Side of a patch in pixels of the tile store. 96 px at 0.972 µm are the patches of PatchCamelyon; at least 63
    for ``compact`` and 32 for ``resnet18``."""
    label_rule: LabelRule = "centre"
    """``centre``: a patch is tumour if there is tumour in its centre third, as in PatchCamelyon. ``fraction``: if at
    least `tumour_fraction` of its area is tumour. Under both, a patch is normal only if it holds no tumour at all."""
    tumour_fraction: Annotated[float, Interval(gt=0, le=1)] = 0.5
    """Least share of tumour, from 0 to 1, under the rule ``fraction``; not used under ``centre``."""
    mpp: Annotated[float, Gt(0)] | None = None
    """Side of a pixel in µm of patches that come from files, which do not record it; tile stores do."""
    positive_share: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Share of tumour patches in an epoch. Half and half, whatever the rarity of tumour on slides."""
    near_tumour_share: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Share of an annotated slide's normal patches that are taken beside its tumour, at most two patches away, from 0
    to 1. Zero draws evenly from all normal tissue; more sharpens the rim of lesions, if the outlines are exact."""

    hard_negative_share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of a slide's normal patches that are cut around its hard negatives, from 0 to 1, each at most once
    an epoch. Without any, as before ``slidepipe mine``, it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """How training patches are varied. Colour factors are drawn evenly from 1 - value to 1 + value."""

    dihedral: bool = True
    """Whether patches are turned and mirrored into one of their eight orientations, exactly, pixel by pixel. Of no
    use to ``symmetric``, which sees all eight alike."""
    rotation: bool = False
    """Whether patches are rotated about their centre by any angle, which interpolates between pixels. What comes from
    beyond the patch is mirrored in."""
    zoom: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Largest zoom in or out: 0.1 draws from 1 / 1.1 to 1.1."""
    moved_share: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Share of the patches that `rotation` and `zoom` are for. They blur a little; the rest stays as sharp as the
    patches of a slide."""
    shift_px: Annotated[int, Ge(0)] = 0
    """Largest shift along x and along y in whole pixels. Patches from tile stores are shifted when they are cut;
    this is for patches from files."""
    brightness: Annotated[float, Interval(ge=0, le=1)] = 64 / 255
    """Brightness, as in Liu et al. 2017."""
    contrast: Annotated[float, Interval(ge=0, le=1)] = 0.25
    """Contrast. Liu et al. use 0.75, which on clear slides bleaches nuclei away."""
    saturation: Annotated[float, Interval(ge=0, le=1)] = 0.25
    """Saturation, as in Liu et al. 2017."""
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.04
    """Shift of the hue, up to this share of the colour circle either way, as in Liu et al. 2017."""
    stain: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Strength of haematoxylin, eosin and residue, each by its own factor (Tellez et al. 2019, who use 0.05 to 0.2).
    Off by default: the colour jitter above varies the stain as well."""
    stain_shift: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Largest amount added to or taken from each stain, in units of its colour vector, as Tellez et al. do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a network is trained."""

    architecture: Architecture | str = "compact"
    """``compact``: 0.36 million weights, fast on a CPU. ``symmetric``: 0.1 million learned weights shared by the eight
    orientations, as fast, better from few patches. ``lite0``: 0.7 million, better yet if `initial` takes them from
    ImageNet. ``lite0-enlarged``: the same on patches enlarged 1.5 times, better again, for two and a half times the
    work. ``resnet18``: 11 million. ``timm/NAME``: a network of timm (extra ``timm``), from random weights, which
    works in patch mode only."""
    initial: str | None = None
    """Weights to start from: ``imagenet`` (extra ``imagenet``) for ``lite0`` and ``lite0-enlarged``, or the folder of a
    model of the same architecture and patch size, or ``builtin``, to train it further. None starts from random ones."""
    patches: PatchSettings = field(default_factory=PatchSettings)
    """Which patches."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    """How they are varied."""
    patches_per_epoch: Annotated[int, Ge(2)] = 8192
    """Patches drawn anew for every epoch; held in memory, 28 kB each at 96 px."""
    validation_patches: Annotated[int, Ge(2)] = 4096
    """Patches of the validation slides, drawn once, half of them tumour as far as `positive_share` says."""
    validation_share: Annotated[float, Gt(0), Lt(1)] = 0.25
    """Share of the slides that are kept for validation, by centre and label, at least one of each kind."""
    epochs: Annotated[int, Ge(1)] = 20
    """Most epochs."""
    patience: Annotated[int, Ge(1)] = 6
    """Epochs without a better validation AUC after which training stops, if the best epoch is kept."""
    batch_size: Annotated[int, Ge(2)] = 64
    """Patches per step of the optimiser, at most; batches of an epoch are equal to within one patch."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """``adamw`` (Loshchilov and Hutter 2019), or ``muon`` (Jordan et al. 2024) for the kernels of convolutions and Adam
    for all else."""
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    """Peak of the one-cycle schedule (Smith and Topin 2018) that the optimiser follows over all epochs."""
    warm_up: Annotated[float, Gt(0), Lt(1)] = 0.3
    """Share of all steps over which the learning rate rises to its peak; then it falls to zero along a cosine."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    """Decay of convolution and linear weights (of kernels alone under ``muon``); normalisation and biases have none."""
    weight_averaging: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Decay per step of a moving average of the weights, which is validated and kept in place of the last step's
    (Polyak and Juditsky 1992). 0.999 averages over about a thousand steps, faster at the start; 0 does not average."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights become the model. ``best`` has the best validation AUC, which is then a little too good;
    ``last`` leaves the validation patches out of the choice, and trains for all epochs."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """0.1 trains towards 0.05 and 0.95, for outlines that are not exact."""
    mixup: Annotated[float, Ge(0)] = 0.0
    """Mixes every patch of a batch, and its label, with another one (mixup, Zhang et al. 2018). The share of the one is
    drawn for each batch from the beta distribution whose two parameters are this: 0.2 mixes most batches a little, 1
    makes any share alike; 0 mixes nothing."""
    precision: PrecisionName = "float32"
    """Numbers to compute with, the weights staying in 32 bits: ``float32``, or where Torch deems it safe (autocast)
    ``bfloat16`` or ``float16`` with scaled gradients. ``auto`` is bfloat16 on CUDA, float16 where a device has no
    bfloat16, and float32 elsewhere."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of everything random. Equal seed, settings, stores, device and `threads` give equal weights."""
    threads: Annotated[int, Ge(1)] | None = None
    """CPU threads for Torch; None keeps Torch's own choice, which is one inside a Dask worker."""
    device: DeviceName = "auto"
    """Where to compute."""
    files: str | None = None
    """Folder or zip file of patches to train on, in place of the slides of the study; see
    `slidepipe.classifier.patch_files` for its layout."""
    validation_files: str | None = None
    """Folder or zip file of patches to validate on; needed with `files`."""
    about: dict[str, str] = field(default_factory=dict)
    """Statements for people that are copied to the model's card, such as data, licence, use and limits."""

    def __post_init__(self) -> None:
        if not is_architecture(self.architecture):
            raise ConfigError(
                f"train: no network is called {self.architecture!r}: there are {', '.join(get_args(Architecture))}, "
                f"and {TIMM_PREFIX}NAME"
            )
        least = MIN_PATCH_PX.get(self.architecture, 1)
        if self.patches.patch_px < least:
            raise ConfigError(
                f"train: patches of {self.patches.patch_px} px are too small for {self.architecture!r}, which needs "
                f"{least} px or more"
            )
        if self.architecture == "symmetric" and self.patches.patch_px % 8:
            raise ConfigError(
                f"train: 'symmetric' takes patches whose side is a multiple of 8 px, not {self.patches.patch_px}"
            )
        if self.initial == IMAGENET and self.architecture not in LITE:
            raise ConfigError(
                f"train: there are weights from ImageNet for {' and '.join(sorted(LITE))} only, not for "
                f"{self.architecture!r}"
            )
        if self.patches_per_epoch < self.batch_size:
            raise ConfigError(
                f"train: an epoch of {self.patches_per_epoch} patches does not fill one batch of {self.batch_size}: "
                "raise patches_per_epoch or lower batch_size"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSettings:
    """How a trained network is applied."""

    model: str | None = None
    """Folder of the trained network, or ``builtin`` for the one that comes with the package; None is the one that the
    run itself trains; where one is named, ``slidepipe run`` trains none."""
    mode: InferenceMode = "auto"
    """``patch``: every patch by itself, at any stride. ``dense``: the network's trunk once over an area, its head at
    every cell; the stride must be a multiple of the trunk's (32 px for ``resnet18``, 4 px for ``lite0``, 8 px
    for the others). For ``resnet18``, which pads, that is another predictor; for the others the same probabilities, to
    1e-5, and faster at small strides.
    ``auto``: dense where that gives the same probabilities and the stride is at most half a patch (a third for
    ``lite0-enlarged``, which does most of its work in the head), else patch."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Patches per forward pass; in dense mode as many pixels, one area at least. Every batch is filled up to this size,
    so that a probability does not depend on which other patches are looked at. None is 16 on a CPU, for which more are
    slower with most networks (see `slidepipe.classifier.pass_running`), and 64 on other devices."""
    test_time_augmentation: Literal["none", "dihedral"] = "none"
    """``dihedral``: the mean probability over the eight orientations of each patch, in either mode, for eight times the
    time. Of no use to ``symmetric``, which sees all eight alike: there it changes nothing, and costs nothing."""
    precision: PrecisionName = "float32"
    """Numbers to compute with: ``float32``, or where Torch deems it safe (autocast) ``bfloat16`` or ``float16``.
    ``auto`` is float16 on CUDA and float32 elsewhere, so workers with and without a GPU would round one slide
    differently; it has not been tried on a GPU."""
    device: DeviceName = "auto"
    """Where to compute."""
    threads: Annotated[int, Ge(1)] | None = None
    """CPU threads for Torch; None keeps Torch's own choice, which is one inside a Dask worker."""
    readers: Annotated[int, Ge(1)] = 1
    """Threads that read and decode tiles while the network computes. One feeds a CPU; a GPU wants 4 to 16."""
    jpeg_decoder: Literal["cpu", "cuda"] = "cpu"
    """What decodes tiles that are stored as JPEG. ``cuda``, the CUDA device that the network computes on, by nvJPEG: no
    CPU keeps up with a fast GPU. Its pixels differ a little where tiles store fewer colours than pixels. The CPU takes
    over, and says so, where the device cannot. It has not been tried on a GPU."""
    runtime: Literal["torch", "cuda-graphs", "onnxruntime"] = "torch"
    """What computes. ``onnxruntime`` (extra ``onnx``), on a CPU only, is a little faster for our own networks, and more
    for networks of many small layers; probabilities agree to 1e-5. ``cuda-graphs``, on a CUDA device only, is Torch
    that records a pass once and then starts it as a whole, for networks so small that starting their layers one by one
    takes longer than computing them; it has not been tried on a GPU. Never chosen unasked: a heatmap must not depend
    on what is installed."""
    tumour_class: str | None = None
    """Class whose probability is looked for, of a model that was not made here and names its classes. None takes the
    only one that is called tumor, cancer, mets or the like."""
    trust_model: bool = False
    """Whether a torch.export archive (``.pt2``) may be loaded. Loading one can run any code: trust whoever made it."""
