"""Shading of one frame: the smooth field that lens and housing add.

One image alone cannot tell shading from a scene that is warm in its middle, but scenes are seldom smooth and round. A
small network that has seen many scenes with and without fields judges a view of 24x32 cells of the whole frame and
gives the coefficients of a polynomial of degree four. Trained by ``train/sensor.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv2d, Linear

if TYPE_CHECKING:
    import numpy as np

VIEW = (24, 32)
"""Cells of the view, down and across."""

DEGREE = 4
PAIRS = tuple((down, across) for down in range(DEGREE + 1) for across in range(DEGREE + 1 - down) if down or across)
"""Degrees of the products of Legendre polynomials down and across the frame that make the field."""

TERMS = len(PAIRS)
"""Coefficients of a polynomial in x and y of :data:`DEGREE` without its constant."""

SCALE = 32.0
"""Grey levels that count as 1 in the network."""


class ShadingNetwork(nn.Module):
    """Estimates the field of shading from a small view of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            Conv2d(4, 32, 3, padding=1),
            nn.SiLU(),
            Conv2d(32, 40, 3, stride=2, padding=1),
            nn.SiLU(),
            Conv2d(40, 56, 3, stride=2, padding=1),
            nn.SiLU(),
            Conv2d(56, 64, 3, stride=2, padding=1),
            nn.SiLU(),
        )
        last = Linear(128, TERMS)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(Linear(64 * 3 * 4 + 1, 128), nn.SiLU(), last)

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
    down, across = (_legendre(length).to(coefficients) for length in (height, width))
    matrix = coefficients.new_zeros(len(coefficients), DEGREE + 1, DEGREE + 1)
    rows, columns = zip(*PAIRS, strict=True)
    matrix[:, rows, columns] = coefficients
    surface = down @ matrix @ across.T
    return surface - surface.mean((1, 2), keepdim=True)


@lru_cache(maxsize=16)
def _legendre(length: int) -> Tensor:
    """Legendre polynomials up to :data:`DEGREE` at the pixels of a line, ``[length, DEGREE + 1]``."""
    x = (torch.arange(length, dtype=torch.float32) + 0.5) / length * 2 - 1
    p = [torch.ones_like(x), x]
    for n in range(1, DEGREE):
        p.append(((2 * n + 1) * x * p[n] - n * p[n - 1]) / (n + 1))
    return torch.stack(p, 1)


def estimate_shading(image: Tensor, network: ShadingNetwork) -> tuple[np.ndarray, float]:
    """The shading of a frame, and how much four views of the frame disagree about it.

    The views are the frame, its mirror image, and the negatives of both: shading turns with them.

    Args:
        image: ``[H, W]`` grey levels.
        network: that estimates.

    Returns:
        (the field, ``[H, W]`` float64 grey levels of mean 0; root mean square of the differences from the views' mean)
    """
    view, detail = view_of(image[None])
    views = torch.cat([view, view.flip(2), -view, -view.flip(2)])
    details = torch.cat([detail, detail.flip(2), detail, detail.flip(2)])
    with torch.no_grad():
        coefficients = network(views, details)
    # Legendre polynomials of odd degree change their sign in the mirror
    odd = torch.tensor([-1.0 if across % 2 else 1.0 for _, across in PAIRS])
    coefficients = coefficients * torch.stack([torch.ones(TERMS), odd, -torch.ones(TERMS), -odd])
    small = field(coefficients, *VIEW)
    doubt = float((small - small.mean(0)).square().mean().sqrt())
    return field(coefficients.mean(0, keepdim=True), *image.shape)[0].double().numpy(), doubt


def view_of(image: Tensor) -> tuple[Tensor, Tensor]:
    """What :class:`ShadingNetwork` sees of frames ``[B, H, W]``: means and deviations of cells, ``[B, 24, 32]``."""
    mean = F.adaptive_avg_pool2d(image[:, None], VIEW)[:, 0]
    power = F.adaptive_avg_pool2d(image[:, None].square(), VIEW)[:, 0]
    return mean, (power - mean.square()).clamp_min(0).sqrt()
