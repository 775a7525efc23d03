"""The degradation estimation module (DEM): from a degraded image to its degradation vector ``P``.

A frozen DINOv2 with registers gives patch features at four depths; mutual interaction attention (MIA) lets the four
layers attend to each other; a small head pools them to ``P``. With ``x`` the degraded image, ``omega`` the
trainable parameters of MIA and head, and ``F_l`` the features of depth ``l``, normalised by the backbone's last
LayerNorm::

    F = [F_1, F_2, F_3, F_4]            F_l = LN(DINOv2_l(x))      patch tokens as [C, h, w]
    P = head_omega(mean_hw(MIA_omega(F)))
    head(x) = SiLU(Linear(SiLU(LayerNorm(Linear(x)))))             4·C -> 256 -> 256

Source: HiDRA (CVPR 2026), section "Degradation estimation module".
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import Conv2d, LayerNorm, Linear

DEGRADATION_WIDTH = 256
"""Length of the degradation vector ``P``."""

MIA_WIDTH = 192
"""Channels of each of query, key and value for all layers together: 48 per layer at four layers."""

LAYERS = 4
"""Number of depths at which the DEM reads features: after blocks 3, 6, 9 and 12 of twelve."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colour channels that DINOv2 expects to be normalised by."""


class MutualInteractionAttention(nn.Module):
    """Mutual interaction attention (MIA): attention between the depths of the backbone, not between positions.

    The features of the ``L`` depths are stacked along the channels, ``F`` in ``[B, L·C, h, w]``. A 1×1 and a depthwise
    3×3 convolution make query, key and value of 192 channels each, which belong to the depths in equal parts: each
    depth is one token of length ``c·h·w`` with ``c = 192 / L``. With ``tau`` a learned temperature and ``n(·)`` the
    normalisation of each token to length 1::

        Q, K, V   = split(DWConv_3×3(Conv_1×1(F)))          each [B, (L c), h, w] -> [B, L, (c h w)]
        A         = softmax(tau · n(Q) n(K)^T)             [B, L, L]
        MIA(F)    = Conv_1×1(A V) + F                        A V: [B, L, (c h w)] -> [B, (L c), h, w]

    Source: HiDRA (CVPR 2026), section "Degradation estimation module", mutual interaction attention.

    Args:
        layers: number of depths ``L`` whose features come in; a divisor of 192.
        channels: channels ``C`` of the features of one depth.
    """

    def __init__(self, layers: int, channels: int) -> None:
        super().__init__()
        self.layers = layers
        total = layers * channels
        self.temperature = nn.Parameter(torch.ones(1))
        self.qkv = Conv2d(total, 3 * MIA_WIDTH, kernel_size=1)
        self.qkv_dwconv = Conv2d(3 * MIA_WIDTH, 3 * MIA_WIDTH, kernel_size=3, padding=1, groups=3 * MIA_WIDTH)
        self.project_out = Conv2d(MIA_WIDTH, total, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Let the depths attend to each other.

        Args:
            features: ``[B, L·C, h, w]``.

        Returns:
            The same shape.
        """
        height, width = features.shape[-2:]
        query, key, value = (
            rearrange(part, "B (L c) h w -> B L (c h w)", L=self.layers)
            for part in self.qkv_dwconv(self.qkv(features)).chunk(3, dim=1)
        )
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        attention = (query @ rearrange(key, "B L n -> B n L") * self.temperature).softmax(dim=-1)  # B L L
        mixed = rearrange(attention @ value, "B L (c h w) -> B (L c) h w", h=height, w=width)
        return self.project_out(mixed) + features


class DegradationHead(nn.Sequential):
    """From pooled features ``[B, L·C]`` to ``P``, ``[B, 256]``: Linear, LayerNorm, SiLU, Linear, SiLU.

    Args:
        channels: ``L·C``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            Linear(channels, DEGRADATION_WIDTH),
            LayerNorm(DEGRADATION_WIDTH),
            nn.SiLU(),
            Linear(DEGRADATION_WIDTH, DEGRADATION_WIDTH),
            nn.SiLU(),
        )


FITS = ("resize", "crop")
"""How a DEM brings images to multiples of the patch size."""


class DegradationEstimator(nn.Module):
    """DINOv2 with registers, MIA and head: the whole DEM.

    Args:
        backbone: from :func:`build_dinov2`, any width and depth.
        use_mia: ``False`` pools the backbone's features directly (the ablation "without MIA").
        fit: one of :data:`FITS`. ``"resize"`` is the method's; it interpolates, by another fraction of a pixel at each
            place, which hides noise and is hard to tell from blur and lost resolution. ``"crop"`` leaves out less than
            a patch of the border and does not change the pixels.

    Raises:
        ValueError: an unknown fit.
    """

    def __init__(self, backbone: nn.Module, *, use_mia: bool = True, fit: str = "resize") -> None:
        super().__init__()
        if fit not in FITS:
            raise ValueError(f"a DEM fits images to its patches by {' or '.join(FITS)}, not by {fit!r}")
        self.fit = fit
        self.backbone = backbone
        channels = cast("int", self._config.hidden_size)
        self.attention = MutualInteractionAttention(LAYERS, channels) if use_mia else None
        self.head = DegradationHead(LAYERS * channels)

    @property
    def _config(self) -> Any:
        return self.backbone.config

    @property
    def patch_size(self) -> int:
        """Side of the backbone's patches in pixels."""
        return self._config.patch_size

    def backbone_input(self, images: Tensor) -> Tensor:
        """Bring images down to multiples of the patch size and normalise them as DINOv2 expects.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1].

        Returns:
            ``[B, 3, H', W']`` with H', W' the largest multiples of the patch size not above H, W (at least one patch).
        """
        patch = self.patch_size
        height, width = (max(patch, side // patch * patch) for side in images.shape[-2:])
        if self.fit == "crop":  # images smaller than a patch are still enlarged below
            top, left = max(0, images.shape[-2] - height) // 2, max(0, images.shape[-1] - width) // 2
            images = images[..., top : top + height, left : left + width]
        images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=False)
        images = (images * 0.5 + 0.5).clamp(0, 1)
        mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        return (images - mean) / std

    def backbone_features(self, pixels: Tensor) -> list[Tensor]:
        """Patch features of the four depths, after the backbone's final LayerNorm.

        Args:
            pixels: from :meth:`backbone_input`.

        Returns:
            Four of ``[B, C, h, w]``, one value per patch; class and register tokens are left out.
        """
        return list(self.backbone(pixels).feature_maps)

    def interact(self, features: list[Tensor]) -> Tensor:
        """MIA over the stacked features: from four of ``[B, C, h, w]`` to ``[B, 4·C, h, w]``."""
        stacked = torch.cat(features, dim=1)
        return stacked if self.attention is None else self.attention(stacked)

    def pooled(self, images: Tensor) -> Tensor:
        """The input of the head: MIA's output averaged over all positions.

        Args:
            images: ``[B, 3, H, W]`` in [-1, 1].

        Returns:
            ``[B, 4·C]``.
        """
        features = self.interact(self.backbone_features(self.backbone_input(images)))
        return reduce(features, "B C h w -> B C", "mean")

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


def build_dinov2(config: dict[str, Any]) -> nn.Module:
    """A DINOv2 with registers, with random weights, that returns patch features of four depths.

    Its parameters are named as this version of transformers does, see :func:`hub_name`.

    Args:
        config: fields of transformers' ``Dinov2WithRegistersConfig``: ``hidden_size``, ``num_hidden_layers`` and more.

    Raises:
        ValueError: fewer blocks than the four depths the DEM reads.
    """
    # transformers takes a second to import; ComfyUI must not pay it at start-up
    from transformers import Dinov2WithRegistersBackbone, Dinov2WithRegistersConfig

    depth = config["num_hidden_layers"]
    if depth < LAYERS:
        raise ValueError(f"the DEM reads {LAYERS} depths of its backbone; this one has only {depth} blocks")
    indices = [depth * (i + 1) // LAYERS for i in range(LAYERS)]  # index 0 is the patch embedding
    fields = {**config, "out_indices": indices}
    return Dinov2WithRegistersBackbone(Dinov2WithRegistersConfig(**fields))
