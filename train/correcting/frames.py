"""Small clean frames: measured off images once, and drawn in ever new variations that no scene is known by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hidra_core.readouts.corrector import GRID
from train.method.data import source_odds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STORED = (96, 120)
"""Rows and columns that images are stored with, more than are needed of a whole one, as parts are cut out."""

FINE = (2 * GRID[0], 2 * GRID[1])
"""Rows and columns that frames are degraded with: each cell of the corrector's view has four values."""

DETAIL_SCALE = 500.0
"""Of stored deviations: up to half of the range in steps of half a grey level."""


@dataclass(frozen=True)
class Stored:
    """Images as few numbers.

    Attributes:
        means: of areas of the image, uint8 ``[N, 96, 120]``.
        details: deviation of its pixels within areas, times :data:`DETAIL_SCALE`, uint8 ``[N, 64, 80]``.
        odds: how often each is drawn, ``[N]``.
    """

    means: np.ndarray
    details: np.ndarray
    odds: np.ndarray


def stored(images: Sequence[tuple[Path, np.ndarray]]) -> Stored:
    """Measure images.

    Args:
        images: files and their grey pixels, uint8 ``[H, W]``; the names tell the sources, see
            :func:`~train.method.data.source_odds`.
    """
    means, details = [], []
    for _, pixels in images:
        image = torch.from_numpy(pixels.copy())[None, None].float() / 255
        means.append((F.adaptive_avg_pool2d(image, STORED)[0, 0] * 255).round().to(torch.uint8).numpy())
        mean, square = (F.adaptive_avg_pool2d(values, FINE)[0, 0] for values in (image, image.square()))
        deviation = (square - mean.square()).clamp_min(0).sqrt()
        details.append((deviation * DETAIL_SCALE).round().clamp(0, 255).to(torch.uint8).numpy())
    odds = np.array(source_odds([path for path, _ in images]), dtype=np.float32)
    return Stored(np.stack(means), np.stack(details), odds / odds.sum())


@dataclass(frozen=True)
class Clean:
    """Frames without degradation, ``[B, 64, 80]`` each.

    Attributes:
        mean: in [0, 1].
        detail: deviation of the pixels behind each value.
    """

    mean: Tensor
    detail: Tensor


class Frames:
    """Draws clean frames on one device.

    Args:
        images: to draw from.
        generator: of the device to compute on.
        synthetic: share of frames that show no image but a drawn sky, ground and things.
    """

    def __init__(self, images: Stored, generator: torch.Generator, synthetic: float = 0.15) -> None:
        self.device = generator.device
        self.generator = generator
        self.synthetic = synthetic
        self._means, self._details = (
            torch.from_numpy(values)[:, None].to(self.device) for values in (images.means, images.details)
        )
        self._odds = torch.from_numpy(images.odds).to(self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly drawn numbers of a shape."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Normally drawn numbers of a shape."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, count: int) -> Tensor:
        """``[count, 1, 1]``: 1 with this probability, else 0."""
        return (self.uniform(0, 1, count, 1, 1) < probability).float()

    def draw(self, count: int) -> Clean:
        """Draw frames: crops of images, partly covered by others, or synthetic; mirrored, in other tones."""
        drawn = round(self.synthetic * count)
        (mean, detail), (drawn_mean, drawn_detail) = self._crops(count - drawn), self._synthetic(drawn)
        mean, detail = torch.cat([mean, drawn_mean]), torch.cat([detail, drawn_detail])
        block = self._blocks(count) * self.chance(0.25, count)
        mean, detail = torch.lerp(mean, mean.roll(1, 0), block), torch.lerp(detail, detail.roll(1, 0), block)
        # a scene has wide unevenness of its own, another one each time
        uneven = self._uneven(count, 4) * self.uniform(0, 0.1, count, 1, 1) * self.chance(0.25, count)
        return self._toned((mean + uneven).clamp(0, 1), detail)

    def _crops(self, count: int) -> tuple[Tensor, Tensor]:
        """Parts of images from 60 % of their sides up, stretched a little and mirrored."""
        chosen = torch.multinomial(self._odds, count, replacement=True, generator=self.generator)
        size = self.uniform(0.6, 1.0, count, 1).maximum(self.chance(0.3, count)[:, :, 0])
        sides = (size * self.uniform(0.87, 1.15, count, 2)).clamp(0.5, 1)
        centre = self.uniform(-1, 1, count, 2) * (1 - sides)
        mirror = self.chance(0.5, count)[:, 0, 0] * 2 - 1
        upside = self.chance(0.1, count)[:, 0, 0] * -2 + 1
        theta = torch.zeros(count, 2, 3, device=self.device)
        theta[:, 0, 0], theta[:, 1, 1] = sides[:, 0] * mirror, sides[:, 1] * upside
        theta[:, :, 2] = centre
        grid = F.affine_grid(theta, [count, 1, *FINE], align_corners=False)
        mean, detail = (
            F.grid_sample(stored[chosen].float(), grid, padding_mode="border", align_corners=False)[:, 0]
            for stored in (self._means, self._details)
        )
        return mean / 255, detail / DETAIL_SCALE

    def _blocks(self, count: int) -> Tensor:
        """1 within one rectangle of each frame, ``[count, 64, 80]``."""
        planes = []
        for axis in (1, 2):
            position = _positions(axis, self.device)
            middle, half = self.uniform(-1, 1, count, 1, 1), self.uniform(0.1, 0.8, count, 1, 1)
            planes.append(((position - middle).abs() < half).float())
        return planes[0] * planes[1]

    def _synthetic(self, count: int) -> tuple[Tensor, Tensor]:
        """A sky and a ground with slopes of their own, wide unevenness and a few things before them."""
        down, across = _positions(1, self.device), _positions(2, self.device)
        tilt = self.normal(count, 1, 1) * 0.1
        below = torch.sigmoid((down - self.uniform(-1.5, 1.5, count, 1, 1) - tilt * across) * 60)
        halves = [
            self.uniform(0, 1, count, 1, 1)
            + 0.15 * self.normal(count, 1, 1) * down
            + 0.1 * self.normal(count, 1, 1) * across
            for _ in range(2)
        ]
        uneven = [self._uneven(count, side) * self.uniform(0, 0.12, count, 1, 1) for side in (4, 12)]
        mean = torch.lerp(halves[0] + uneven[0], halves[1] + uneven[0] + uneven[1], below)
        for _ in range(3):
            mean = torch.lerp(mean, self.uniform(0, 1, count, 1, 1).expand_as(mean), self._thing(count))
        smooth, rough = self.uniform(0, 0.01, count, 1, 1), self.uniform(0, 0.08, count, 1, 1)
        return mean.clamp(0, 1), torch.lerp(smooth.expand_as(mean), rough.expand_as(mean), below)

    def _uneven(self, count: int, side: int) -> Tensor:
        coarse = self.normal(count, 1, side, side)
        return F.interpolate(coarse, FINE, mode="bicubic", align_corners=False)[:, 0]

    def _thing(self, count: int) -> Tensor:
        down, across = _positions(1, self.device), _positions(2, self.device)
        middle = self.uniform(-1, 1, 2, count, 1, 1)
        half = torch.exp(self.uniform(math.log(0.03), math.log(0.4), 2, count, 1, 1))
        distance = ((down - middle[0]) / half[0]).square() + ((across - middle[1]) / half[1]).square()
        return torch.sigmoid((1 - distance) * 8) * self.chance(0.6, count)

    def _toned(self, mean: Tensor, detail: Tensor) -> Clean:
        """Other tones: gamma, compressed and stretched ranges, and black for white; the first two for most frames."""
        count = len(mean)
        gamma = torch.exp(0.2 * self.normal(count, 1, 1))
        # seldom: that pictures mostly fill the range of grey is what their brightness is known by
        gain = 1 - self.chance(0.15, count) * self.uniform(0, 0.35, count, 1, 1)
        gain = gain + self.chance(0.08, count) * self.uniform(0, 0.5, count, 1, 1)
        offset = torch.where(gain < 1, self.uniform(0, 1, count, 1, 1) * (1 - gain), 0.4 * (1 - gain))
        darkest = mean.clamp_min(1 / 255)
        slope = gamma * darkest ** (gamma - 1)
        toned = darkest**gamma * gain + offset
        inverted = self.chance(0.05, count)
        toned = torch.lerp(toned, 1 - toned, inverted)
        within = ((toned > 0) & (toned < 1)).float()
        return Clean(toned.clamp(0, 1), detail * slope.clamp(0.2, 3) * gain * within)


def _positions(axis: int, device: torch.device) -> Tensor:
    """Position of rows (axis 1) or columns (axis 2) from -1 to 1, shaped for broadcasting over ``[B, 64, 80]``."""
    side = FINE[axis - 1]
    line = torch.linspace(1 / side - 1, 1 - 1 / side, side, device=device)
    return line[None, :, None] if axis == 1 else line[None, None, :]
