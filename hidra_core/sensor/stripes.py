"""Stripes of one frame: the offset and the gain of every column or row.

A stripe has one offset and one gain along its whole length; the scene has not. So a frame is cut across its columns
into segments, whose means hardly hold noise. A small network looks at the segments side by side and says how much of
each mean is scene and how far to trust it; what remains of a column is fitted by an offset and a gain, with all its
segments (weighted least squares). Trained by ``train/sensor.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv2d

SEGMENTS = 16
"""Parts of a column."""

LEVEL_SPAN = 64.0
"""Grey levels above the pivot at which a column's gain weighs as much as its offset."""

_SMOOTH = 12.0  # sigma in pixels of the first guess at the scene
_WIDTH = 16  # channels
_DILATIONS = (1, 2, 4, 8, 16, 1)
_KERNEL = 9
_SMALLEST = 0.25  # grey levels below which a frame's column differences do not set its scale


class ColumnStripes(NamedTuple):
    """What :class:`StripeNetwork` finds, in grey levels.

    Attributes:
        offsets: of the columns at the pivot, ``[B, W]``.
        gains: change of the offset per :data:`LEVEL_SPAN` grey levels above the pivot, ``[B, W]``.
        pivot: ``[B]``.
        levels: level of the scene above the pivot in units of :data:`LEVEL_SPAN`, ``[B, S, W]``.
    """

    offsets: Tensor
    gains: Tensor
    pivot: Tensor
    levels: Tensor

    @property
    def segments(self) -> Tensor:
        """The stripes' mean in every segment, ``[B, S, W]``."""
        return self.offsets[:, None] + self.gains[:, None] * self.levels


class StripeNetwork(nn.Module):
    """Estimates the stripes along columns; for rows, transpose the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv2d(5, _WIDTH, (1, _KERNEL), padding=(0, _KERNEL // 2), padding_mode="replicate")
        self.layers = nn.ModuleList(
            Conv2d(
                2 * _WIDTH,
                _WIDTH,
                (1, _KERNEL),
                padding=(0, _KERNEL // 2 * dilation),
                dilation=(1, dilation),
                padding_mode="replicate",
            )
            for dilation in _DILATIONS
        )
        self.last = Conv2d(2 * _WIDTH, 2, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias.data)  # pyright: ignore[reportOptionalMemberAccess]
        self.prior = nn.Parameter(torch.tensor([-3.0, -1.0]))

    def forward(self, images: Tensor) -> ColumnStripes:
        """Estimate.

        Args:
            images: ``[B, H, W]`` grey levels (0-255, may exceed it), without defective pixels.
        """
        means = segment_means(images)
        smooth = smoothed(means)
        rest = means - smooth
        across = F.pad(images[..., 1:] - images[..., :-1], (0, 1))
        scale = rest.abs().flatten(1).median(1).values.clamp_min(_SMALLEST)[:, None, None]
        detail = segment_means(across.abs())
        pivot = means.mean((1, 2))
        levels = (smooth - pivot[:, None, None]) / LEVEL_SPAN
        common = rest.mean(1, keepdim=True).expand_as(rest)
        rows = images.shape[1] / SEGMENTS
        features = torch.stack(
            [rest / scale, common / scale, levels, torch.log1p(detail / scale), (detail / rows**0.5 / scale).log1p()], 1
        )
        features = features.clamp(-8, 8)
        hidden = F.silu(self.first(features))
        for layer in self.layers:
            hidden = hidden + F.silu(_with_context(layer, hidden))
        scene, trust = _with_context(self.last, hidden).unbind(1)
        return self._fit(rest - scene * scale, F.softplus(trust + 0.5), levels, pivot)

    def _fit(self, rest: Tensor, weights: Tensor, levels: Tensor, pivot: Tensor) -> ColumnStripes:
        """Weighted least squares of an offset and a gain per column, both drawn towards 0."""
        ridge = F.softplus(self.prior)
        a = weights.mean(1) + ridge[0] * 0.1
        b = (weights * levels).mean(1)
        c = (weights * levels.square()).mean(1) + ridge[1] * 0.1
        d, e = (weights * rest).mean(1), (weights * rest * levels).mean(1)
        determinant = a * c - b * b
        return ColumnStripes((c * d - b * e) / determinant, (a * e - b * d) / determinant, pivot, levels)


def segment_means(images: Tensor) -> Tensor:
    """Means ``[B, S, W]`` over the segments of the columns of ``[B, H, W]``."""
    return F.adaptive_avg_pool2d(images[:, None], (SEGMENTS, images.shape[-1]))[:, 0]


def smoothed(means: Tensor, sigma: float = _SMOOTH) -> Tensor:
    """Gaussian smoothing of ``[B, S, W]`` along the last axis."""
    reach = min(int(3 * sigma), means.shape[-1] - 1)
    x = torch.arange(-reach, reach + 1, dtype=means.dtype, device=means.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    batch, segments, width = means.shape
    padded = F.pad(means.reshape(batch * segments, 1, width), (reach, reach), mode="replicate")
    return F.conv1d(padded, kernel).reshape(batch, segments, width)


def _with_context(layer: Any, hidden: Tensor) -> Tensor:
    """A convolution of each segment together with the mean over all segments, which has the same part in all of them.

    Args:
        layer: a convolution along the last axis with twice as many inputs as ``hidden`` has channels.
        hidden: ``[B, C, S, W]``.
    """
    own, common = layer.weight.chunk(2, dim=1)
    reach = layer.dilation[1] * (layer.kernel_size[1] // 2)

    def along(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        padded = F.pad(values, (reach, reach, 0, 0), mode="replicate") if reach else values
        # in this layout dilated convolutions of few channels take a fifth of the time
        padded, weight = (part.contiguous(memory_format=torch.channels_last) for part in (padded, weight))
        return F.conv2d(padded, weight, bias, dilation=layer.dilation)

    return along(hidden, own) + along(hidden.mean(2, keepdim=True), common, layer.bias)
