"""The degradation estimation module (DEM): from a degraded image to its degradation vector ``P``.

A frozen DINOv2 with registers gives patch features at four depths; mutual interaction attention (MIA) lets the four
layers attend to each other; a small head pools them to ``P``. Source: HiDRA (CVPR 2026), section "Degradation
estimation module".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEGRADATION_WIDTH = 256
"""Length of the degradation vector ``P``."""

MIA_WIDTH = 192
"""Channels of each of query, key and value; shared by all layers (48 a layer at four layers)."""

LAYERS = 4
"""Depths of the backbone whose features the DEM reads: after blocks 3, 6, 9, 12 of twelve."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class MutualInteractionAttention(nn.Module):
    """Attention over the layer axis: which depths of the backbone speak of the degradation.

    Args:
        layers: number of backbone layers ``L`` whose features come in.
        channels: channels ``C`` of one layer's features.

    Shape: ``[B, L·C, h, w]`` in, the same out. The attention matrix is ``[B, L, L]``.
    """

    def __init__(self, layers: int, channels: int) -> None:
        super().__init__()
        self.layers = layers
        total = layers * channels
        self.temperature = nn.Parameter(torch.ones(1))
        self.qkv = nn.Conv2d(total, 3 * MIA_WIDTH, kernel_size=1)
        self.qkv_dwconv = nn.Conv2d(3 * MIA_WIDTH, 3 * MIA_WIDTH, kernel_size=3, padding=1, groups=3 * MIA_WIDTH)
        self.project_out = nn.Conv2d(MIA_WIDTH, total, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        batch, _, height, width = features.shape
        # (B, 3·192, h, w) -> three of (B, L, 48·h·w)
        query, key, value = (
            part.reshape(batch, self.layers, -1) for part in self.qkv_dwconv(self.qkv(features)).chunk(3, dim=1)
        )
        query = F.normalize(query, dim=-1)
        key = F.normalize(key, dim=-1)
        attention = (query @ key.transpose(1, 2) * self.temperature).softmax(dim=-1)  # (B, L, L)
        mixed = (attention @ value).reshape(batch, MIA_WIDTH, height, width)
        return self.project_out(mixed) + features


class DegradationHead(nn.Sequential):
    """Pooled features to ``P``: Linear(L·C, 256), LayerNorm, SiLU, Linear(256, 256), SiLU.

    Shape: ``[B, L·C]`` to ``[B, 256]``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Linear(channels, DEGRADATION_WIDTH),
            nn.LayerNorm(DEGRADATION_WIDTH),
            nn.SiLU(),
            nn.Linear(DEGRADATION_WIDTH, DEGRADATION_WIDTH),
            nn.SiLU(),
        )


FITS = ("resize", "crop")
"""How a DEM brings images to multiples of the patch size."""


class DegradationEstimator(nn.Module):
    """DINOv2 with registers, MIA and head: the whole DEM.

    Args:
        backbone: from :func:`build_dinov2`, any width and depth.
        use_mia: ``False`` pools the backbone's features directly (the ablation "without MIA").
        fit: one of :data:`FITS`. ``"resize"`` is the method's; it interpolates, by another share of a pixel at each
            place, which hides noise and is hard to tell from blur and lost resolution. ``"crop"`` leaves out less than
            a patch of the border and keeps the pixels as they are.

    Raises:
        ValueError: an unknown fit.
    """

    def __init__(self, backbone: nn.Module, *, use_mia: bool = True, fit: str = "resize") -> None:
        super().__init__()
        if fit not in FITS:
            raise ValueError(f"a DEM fits images to its patches by {' or '.join(FITS)}, not by {fit!r}")
        self.fit = fit
        self.backbone = backbone
        channels = backbone.config.hidden_size
        self.attention = MutualInteractionAttention(LAYERS, channels) if use_mia else None
        self.head = DegradationHead(LAYERS * channels)

    @property
    def patch_size(self) -> int:
        return self.backbone.config.patch_size

    def backbone_input(self, images: Tensor) -> Tensor:
        """Bring down to multiples of the patch size and normalise as DINOv2 expects.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1].

        Returns:
            ``[B, 3, H', W']`` with H', W' the largest multiples of the patch size not above H, W (at least one patch).
        """
        patch = self.patch_size
        size = tuple(max(patch, side // patch * patch) for side in images.shape[-2:])
        if self.fit == "crop":
            # what is smaller than a patch is enlarged all the same
            top, left = (max(0, have - want) // 2 for have, want in zip(images.shape[-2:], size, strict=True))
            images = images[..., top : top + size[0], left : left + size[1]]
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=False)
        images = (images * 0.5 + 0.5).clamp(0, 1)
        mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        return (images - mean) / std

    def backbone_features(self, pixels: Tensor) -> list[Tensor]:
        """Patch features of the four depths, after the backbone's final LayerNorm, ``[B, C, h, w]`` each."""
        return list(self.backbone(pixels).feature_maps)

    def interact(self, features: list[Tensor]) -> Tensor:
        """MIA over the stacked features: four of ``[B, C, h, w]`` to ``[B, 4·C, h, w]``."""
        stacked = torch.cat(features, dim=1)
        return stacked if self.attention is None else self.attention(stacked)

    def pooled(self, images: Tensor) -> Tensor:
        """MIA's output averaged over space, ``[B, 4·C]``, of images in [-1, 1]: what the head reads."""
        return self.interact(self.backbone_features(self.backbone_input(images))).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """The degradation vectors ``P``, ``[B, 256]``, of images ``[B, 3, H, W]`` in [-1, 1]."""
        return self.head(self.pooled(images))


_HUB_NAMES = {
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.o_proj.": "attention.output.dense.",
}


def hub_name(name: str) -> str:
    """A DINOv2 parameter's name in files (the Hugging Face layout), whatever this version of transformers calls it.

    transformers 4 names the parts of the attention as the files do, transformers 5 does not.
    """
    for ours, theirs in _HUB_NAMES.items():
        name = name.replace(ours, theirs)
    return name


def build_dinov2(config: dict) -> nn.Module:
    """A DINOv2 with registers, with random weights, that returns patch features of four depths.

    Args:
        config: transformers' ``Dinov2WithRegistersConfig`` fields, ``hidden_size``, ``num_hidden_layers``, … . See
            :func:`hub_name` for the names of the parameters.

    Raises:
        ValueError: fewer blocks than the four depths the DEM reads.
    """
    # transformers takes a second to import; ComfyUI must not pay it at start-up
    from transformers import Dinov2WithRegistersBackbone, Dinov2WithRegistersConfig

    depth = config["num_hidden_layers"]
    if depth < LAYERS:
        raise ValueError(f"the DEM reads {LAYERS} depths of its backbone; this one has only {depth} blocks")
    indices = [depth * (i + 1) // LAYERS for i in range(LAYERS)]  # index 0 is the patch embedding
    return Dinov2WithRegistersBackbone(Dinov2WithRegistersConfig(**config, out_indices=indices))
