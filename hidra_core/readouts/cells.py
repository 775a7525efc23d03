"""Deviations in the cells of a frame, with the same numbers in whichever program computes them."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor


def deviations(images: Tensor, means: Tensor) -> Tensor:
    """Deviation from the mean in each cell, by a second pass over its pixels.

    The difference of a mean of squares and the square of a mean would need one pass. In cells with little noise nothing
    but rounding is left of it, which every program has its own of.

    Args:
        images: ``[B, 1, H, W]`` float32; height and width may be symbolic.
        means: of their cells by ``adaptive_avg_pool2d``, ``[B, 1, h, w]``.

    Returns:
        The shape of ``means``.
    """
    (rows, in_row), (columns, in_column) = (
        _pixels(length, cells, images) for length, cells in zip(images.shape[-2:], means.shape[-2:], strict=True)
    )
    tall = images[:, 0].index_select(1, rows.flatten())  # cells overlap: pixels at their edges are in two of them
    pixels = tall.index_select(2, columns.flatten()).unflatten(2, columns.shape).unflatten(1, rows.shape)
    squares = (pixels - rearrange(means, "b 1 h w -> b h 1 w 1")).square()  # [B, h, tallest, w, widest]
    sums = (squares * in_row[:, :, None, None]).sum(dim=2)
    variances = (sums * in_column).sum(dim=3) / (in_row.sum(dim=1)[:, None] * in_column.sum(dim=1))
    return variances.sqrt()[:, None]


def borders(length: int | Tensor, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the cells of an axis begin and end, as ``adaptive_avg_pool2d`` has them.

    Args:
        length: pixels of the axis; may be symbolic, or a tensor of one.
        cells: number of cells. Cell ``i`` reaches from ``floor(i·length/cells)`` to ``ceil((i+1)·length/cells)``.
        device: of the results.

    Returns:
        The first pixel of each cell and the one after its last, ``[cells]``.
    """
    cell = torch.arange(cells, device=device)
    return cell * length // cells, ((cell + 1) * length + cells - 1) // cells


def _pixels(length: int, cells: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Which pixels of an axis are in each cell, as ``adaptive_avg_pool2d`` has them.

    Args:
        length: pixels of the axis.
        cells: number of cells.
        like: gives type and device.

    Returns:
        Pixels, ``[cells, most]``, and 1 for each that is in the cell, 0 for those that fill up its row.
    """
    first, end = borders(length, cells, like.device)
    pixel = first[:, None] + torch.arange((length + cells - 1) // cells + 1, device=like.device)
    return pixel.clamp_max(length - 1), (pixel < end[:, None]).to(like.dtype)
