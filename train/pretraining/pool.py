"""Frames that are degraded once and read again and again, and linear maps fitted to the DEM's vectors of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RIDGE = 1e-3
"""Weight of ridge regression on degradation vectors, whose components are of the order of 1."""


@dataclass(frozen=True)
class PoolPart:
    """Frames of one size.

    Attributes:
        frames: ``[N, 1, H, W]`` uint8.
        factors: ``[N, factors]``, see :func:`~train.method.data.factors`.
        vectors: degradation vectors of the first frames, from the DEM that the run started from, ``[n, 256]``;
            ``[N, 0]`` where it started from nothing.
    """

    frames: Tensor
    factors: Tensor
    vectors: Tensor


def as_input(frames: Tensor) -> Tensor:
    """What networks read, in [-1, 1], of uint8 frames."""
    return frames / 127.5 - 1


def shuffled(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """The square blocks of images in another order, the same for all; rows and columns beyond whole blocks go.

    Grey levels, noise and blur stay, the scene goes: a DEM that has seen few scenes must not know them by heart.

    Args:
        images: ``[B, 1, H, W]``.
        side: of the blocks in pixels.
        generator: of the order.

    Returns:
        ``[B, 1, h, w]``, the sides the largest multiples of ``side``.
    """
    rows, columns = (length // side for length in images.shape[-2:])
    whole = images[..., : rows * side, : columns * side]
    blocks = rearrange(whole, "b c (row y) (column x) -> (row column) b c y x", y=side, x=side)
    blocks = blocks[torch.randperm(len(blocks), generator=generator)]
    return rearrange(blocks, "(row column) b c y x -> b c (row y) (column x)", row=rows)


@torch.no_grad()
def read_vectors(estimator: nn.Module, frames: Tensor, device: torch.device, *, bfloat16: bool) -> Tensor:
    """Degradation vectors of many frames.

    Args:
        estimator: a DEM, on the device.
        frames: ``[N, 1, H, W]`` uint8.
        device: where to compute.
        bfloat16: whether to compute in bf16, by autocast.

    Returns:
        ``[N, 256]`` float32, on the CPU.
    """
    vectors = []
    for part in frames.split(32):
        seen = as_input(part.to(device)).expand(-1, 3, -1, -1)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            vectors.append(estimator(seen).float().cpu())
    return torch.cat(vectors)


def fit_linear(vectors: Tensor, wanted: Mapping[nn.Linear, Sequence[Tensor]]) -> None:
    """Set linear layers by ridge regression.

    Args:
        vectors: what the layers read, ``[N, D]``.
        wanted: for each layer what it should give, ``[n, outputs]`` tensors of ``N`` rows together.
    """
    known = F.pad(vectors.double(), (0, 1), value=1.0)
    ridge = torch.eye(known.shape[1]).to(known) * (RIDGE * len(known))
    for layer, outputs in wanted.items():
        solution = torch.linalg.solve(known.T @ known + ridge, known.T @ torch.cat(list(outputs)).to(known)).T
        with torch.no_grad():
            layer.weight.copy_(solution[:, :-1])
            layer.bias.copy_(solution[:, -1])
