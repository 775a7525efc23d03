"""Small views of whole frames with and without shading, drawn by the thousand, and the loss of their network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hidra_core.sensor.shading import VIEW, ShadingNetwork, field

if TYPE_CHECKING:
    from .scenes import Scenes

CELL = 6
"""Pixels along the side of a cell in the crops that views are made of."""

SHADED = 0.6
"""Share of the views with a field."""


def clean_views(scenes: Scenes, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Means and standard deviations in the cells of clean crops, ``[count, 24, 32]`` each, in [0, 1]."""
    means, deviations = [], []
    for _ in range(count):
        crop = scenes.crop(VIEW[0] * CELL, VIEW[1] * CELL, rng) / 255
        cells = crop.reshape(VIEW[0], CELL, VIEW[1], CELL)
        means.append(cells.mean((1, 3)))
        deviations.append(cells.std((1, 3)))
    return torch.from_numpy(np.stack(means)), torch.from_numpy(np.stack(deviations))


class ShadedViews:
    """Draws batches of views, on the device of the clean ones.

    Args:
        means: of the cells of clean crops, see :func:`clean_views`.
        deviations: within them.
    """

    def __init__(self, means: Tensor, deviations: Tensor) -> None:
        self.means, self.deviations = means, deviations
        self.device = means.device

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """(means, deviations, fields), ``[count, 24, 32]`` each, in grey levels."""
        mean, deviation = self._scenes(count)
        shading = self._fields(count)
        noise = torch.where(self._share(count) < 0.6, 20 * self._share(count), 2 * self._share(count))
        spread = (deviation.square() + noise.square()).sqrt().clamp_min(0.5)
        seen = mean + shading + noise / 12 * torch.randn(mean.shape, device=self.device)
        # A cell of normal values that is cut off at black and white has another mean.
        seen = _clipped_below(seen, spread)
        return 255 - _clipped_below(255 - seen, spread), spread, shading

    def _share(self, count: int) -> Tensor:
        return torch.rand(count, 1, 1, device=self.device)

    def _scenes(self, count: int) -> tuple[Tensor, Tensor]:
        """Clean views in other tones: mirrored, with a gamma, negative, faded, a tenth of them skies and grounds."""
        chosen = torch.randint(0, len(self.means), (count,), device=self.device)
        mean, deviation = self.means[chosen], self.deviations[chosen]
        for axis, odds in ((2, 0.5), (1, 0.3)):
            turned = self._share(count) < odds
            mean = torch.where(turned, mean.flip(axis), mean)
            deviation = torch.where(turned, deviation.flip(axis), deviation)
        gamma = (0.35 * torch.randn(count, 1, 1, device=self.device)).exp()
        dark = mean.clamp_min(0.01)
        mean, deviation = dark**gamma, deviation * gamma * dark ** (gamma - 1)
        mean = torch.where(self._share(count) < 0.12, 1 - mean, mean)
        drawn = self._share(count) < 0.1
        mean = torch.where(drawn, 0.15 * mean + 0.85 * self._skies(count), mean)
        deviation = torch.where(drawn, 0.15 * deviation, deviation)
        faded = self._share(count) < 0.6
        alpha = torch.where(faded, 0.2 + 0.8 * self._share(count), torch.ones(count, 1, 1, device=self.device))
        beta = torch.where(
            self._share(count) < 0.6, 0.2 + 0.2 * self._share(count), 0.8 * (1 - alpha) * self._share(count)
        )
        return 255 * (mean * alpha + beta * faded), 255 * deviation * alpha

    def _skies(self, count: int) -> Tensor:
        y, x = self._grid(0.0, 1.0)
        horizon = 1.6 * self._share(count) - 0.3 + 0.3 * (self._share(count) - 0.5) * x
        above, below = (self._share(count) + 0.5 * (self._share(count) - 0.5) * y for _ in range(2))
        share = torch.sigmoid((y - horizon) * (5 + 40 * self._share(count)))
        return (above * (1 - share) + below * share).clamp(0, 1)

    def _grid(self, low: float, high: float) -> tuple[Tensor, Tensor]:
        y, x = (torch.linspace(low, high, side, device=self.device) for side in VIEW)
        return y[None, :, None], x[None, None]

    def _fields(self, count: int) -> Tensor:
        """Fields of mean 0: both forms of the method (section 6) and plain vignetting, of either sign."""
        y, x = self._grid(0.0, 1.0)
        ratio = VIEW[1] / VIEW[0]
        centre_y, centre_x = (0.25 + 0.5 * self._share(count) for _ in range(2))
        down, right = y - centre_y, (x - centre_x) * ratio
        distance = (down.square() + right.square()).sqrt()
        cosine = torch.cos(distance / distance.amax((1, 2), keepdim=True) * math.pi / 2).clamp_min(0) ** 4
        forms = torch.stack([cosine, self._mirror(centre_y, centre_x), -distance.square()])
        chosen = torch.randint(0, 3, (count,), device=self.device)
        shading = forms[chosen, torch.arange(count, device=self.device)]
        lowest, highest = shading.amin((1, 2), keepdim=True), shading.amax((1, 2), keepdim=True)
        shading = (shading - lowest) / (highest - lowest)
        shading = shading - shading.mean((1, 2), keepdim=True)
        strength = torch.where(self._share(count) < 0.3, 2 + 20 * self._share(count), 15 + 60 * self._share(count))
        sign = torch.where(self._share(count) < 0.5, 1.0, -1.0)
        return shading * strength * sign * (self._share(count) < SHADED)

    def _mirror(self, centre_y: Tensor, centre_x: Tensor) -> Tensor:
        """The field of the method, on a frame of 384x512 pixels."""
        height, width = 384.0, 512.0
        y, x = self._grid(0.0, 1.0)
        y, x, cy, cx = y * height, x * width, centre_y * height, centre_x * width
        near = torch.hypot(y - cy, x - cx).clamp_min(10)
        mirrors = ((cy, -3 * cx), (-3 * cy, cx), (5 * cy, cx), (cy, 5 * cx))
        far = torch.stack([torch.hypot(y - a, x - b) for a, b in mirrors]).amin(0)
        form = -(far / near).log()
        lowest, highest = form.amin((1, 2), keepdim=True), form.amax((1, 2), keepdim=True)
        return ((form - lowest) / (highest - lowest)) ** 4


def _clipped_below(mean: Tensor, spread: Tensor) -> Tensor:
    """The mean of normal values of which those below 0 are set to 0."""
    z = mean / spread
    return spread * (z * torch.special.ndtr(z) + torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi))


def shading_loss(network: ShadingNetwork, means: Tensor, deviations: Tensor, fields: Tensor) -> Tensor:
    """Root mean square of the error of the field, in grey levels, averaged over the batch."""
    error = field(network(means, deviations), *VIEW) - fields
    return error.square().mean((1, 2)).add(0.25).sqrt().mean()


def new_network() -> ShadingNetwork:
    """An untrained network, the same every time."""
    torch.manual_seed(0)
    return ShadingNetwork()
