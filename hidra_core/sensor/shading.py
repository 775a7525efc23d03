"""Shading of one frame: the smooth field that lens and housing add.

One image alone cannot tell shading from a scene that is warm in its middle, but scenes are seldom smooth and round. A
small network that has seen many scenes with and without fields judges a view of 24x32 cells of the whole frame and
gives the coefficients of a polynomial of degree four. Trained by ``train/sensor.py``.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VIEW = (24, 32)
"""Cells of the view, down and across."""

DEGREE = 4
TERMS = (DEGREE + 1) * (DEGREE + 2) // 2 - 1
"""Coefficients of a polynomial in x and y of :data:`DEGREE` without its constant."""

SCALE = 32.0
"""Grey levels that count as 1 in the network."""


class ShadingNetwork(nn.Module):
    """Estimates the field of shading from a small view of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(4, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 40, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(40, 56, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(56, 64, 3, stride=2, padding=1),
            nn.SiLU(),
        )
        last = nn.Linear(128, TERMS)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(64 * 3 * 4 + 1, 128), nn.SiLU(), last)

    def forward(self, view: Tensor, detail: Tensor) -> Tensor:
        """Estimate.

        Args:
            view: ``[B, 24, 32]`` grey levels, means over the cells of the frame.
            detail: ``[B, 24, 32]`` grey levels, standard deviation within the cells.

        Returns:
            Coefficients ``[B, TERMS]`` in grey levels, see :func:`field`.
        """
        mean = view.mean((1, 2), keepdim=True)
        spread = view.std((1, 2))
        y, x = (torch.linspace(-1, 1, side, device=view.device) for side in VIEW)
        planes = [
            (view - mean) / SCALE,
            torch.log1p(detail),
            y[:, None].expand_as(view),
            x.expand_as(view),
        ]
        seen = self.convolutions(torch.stack(planes, 1)).flatten(1)
        known = torch.log1p(spread)[:, None] / 3
        return self.head(torch.cat([seen, known], 1)) * SCALE


def field(coefficients: Tensor, height: int, width: int) -> Tensor:
    """The polynomial with these coefficients over a frame.

    Args:
        coefficients: ``[B, TERMS]``.
        height: of the frame.
        width: of the frame.

    Returns:
        ``[B, height, width]`` of mean 0, in the unit of the coefficients.
    """
    down, across, pairs = _terms(height, width)
    down, across = down.to(coefficients), across.to(coefficients)
    matrix = coefficients.new_zeros(len(coefficients), DEGREE + 1, DEGREE + 1)
    rows, columns = zip(*pairs, strict=True)
    matrix[:, rows, columns] = coefficients
    surface = down @ matrix @ across.T
    return surface - surface.mean((1, 2), keepdim=True)


@lru_cache(maxsize=8)
def _terms(height: int, width: int) -> tuple[Tensor, Tensor, tuple[tuple[int, int], ...]]:
    """Legendre polynomials down ``[H, 5]`` and across ``[W, 5]`` the frame, and which products of them count."""
    pairs = tuple((i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) if i or j)
    return _legendre(height), _legendre(width), pairs


def _legendre(length: int) -> Tensor:
    x = (torch.arange(length, dtype=torch.float32) + 0.5) / length * 2 - 1
    p = [torch.ones_like(x), x]
    for n in range(1, DEGREE):
        p.append(((2 * n + 1) * x * p[n] - n * p[n - 1]) / (n + 1))
    return torch.stack(p, 1)


def view_of(image: Tensor) -> tuple[Tensor, Tensor]:
    """What :class:`ShadingNetwork` sees of frames ``[B, H, W]``: means and deviations of cells, ``[B, 24, 32]``."""
    mean = F.adaptive_avg_pool2d(image[:, None], VIEW)[:, 0]
    power = F.adaptive_avg_pool2d(image[:, None].square(), VIEW)[:, 0]
    return mean, (power - mean.square()).clamp_min(0).sqrt()
