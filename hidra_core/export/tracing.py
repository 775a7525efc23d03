"""Operators of PyTorch that ONNX has none for, as products with small matrices that are made within the graph.

Both resample rows and columns by themselves. The matrices depend on the size of the image
alone and are computed from it at run time, which keeps height and width free.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..readouts.cells import borders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CUBIC = -0.5
"""The constant of the cubic kernel that PyTorch uses where it averages over areas; elsewhere it is -0.75."""


def membership(length: int, cells: int, like: Tensor) -> Tensor:
    """Which pixels of an axis belong to which cell, see :func:`~hidra_core.readouts.cells.borders`.

    Args:
        length: pixels of the axis; may be symbolic.
        cells: number of cells.
        like: gives type and device.

    Returns:
        ``[cells, length]`` of zeros and ones.
    """
    pixel = torch.arange(length, device=like.device)
    first, end = borders(pixel[-1:] + 1, cells, like.device)  # the length as a tensor: it stays free in the graph
    return ((pixel >= first[:, None]) & (pixel < end[:, None])).to(like.dtype)


def resampling(length: int, wanted: int, like: Tensor) -> Tensor:
    """The matrix that resamples an axis with a cubic kernel which is widened when the axis becomes shorter.

    Args:
        length: number of values of the axis.
        wanted: number of values of the result; may be symbolic.
        like: gives type and device.

    Returns:
        ``[wanted, length]``; each row sums to 1.
    """
    index = torch.arange(wanted, device=like.device, dtype=torch.float32)
    scale = length / (index[-1:] + 1)
    centre = scale * (index + 0.5)
    position = torch.arange(length, device=like.device, dtype=torch.float32) + 0.5
    distance = ((position - centre[:, None]) / scale.clamp_min(1)).abs()
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    return (weights / weights.sum(dim=1, keepdim=True)).to(like.dtype)


def adaptive_avg_pool2d(images: Tensor, output_size: Sequence[int]) -> Tensor:
    """``torch.nn.functional.adaptive_avg_pool2d`` of ``[B, C, H, W]``.

    Cells are summed before they are divided, as there, so that the mean of what is all white is 1 to the bit.
    """
    rows, columns = (
        membership(side, cells, images) for side, cells in zip(images.shape[-2:], output_size, strict=True)
    )
    # products of plain matrices: OpenVINO fails on stacks of them whose size is free
    across = (images.flatten(0, 2) @ columns.T).unflatten(0, images.shape[:3]).transpose(2, 3)
    down = (across.flatten(0, 2) @ rows.T).unflatten(0, across.shape[:3])
    return down.transpose(2, 3) / (rows.sum(dim=1)[:, None] * columns.sum(dim=1))


@contextmanager
def positions_of_any_size(backbone: Any) -> Iterator[None]:
    """Within the block a DINOv2 resamples its position embeddings by :func:`resampling`, for any number of patches.

    transformers fixes the number of patches when its code is traced.

    Args:
        backbone: of :func:`~hidra_core.dem.build_dinov2`.
    """
    embeddings = backbone.embeddings

    def interpolate(_tokens: Tensor, height: int, width: int) -> Tensor:
        stored = embeddings.position_embeddings
        side, patch = round((stored.shape[1] - 1) ** 0.5), embeddings.config.patch_size
        grid = stored[0, 1:].float()
        rows, columns = (resampling(side, pixels // patch, grid) for pixels in (height, width))
        down = (rows @ grid.view(side, -1)).view(-1, side, grid.shape[1]).transpose(0, 1)  # w h' c, as plain matrices
        positions = (columns @ down.flatten(1)).view(columns.shape[0], rows.shape[0], -1).transpose(0, 1).flatten(0, 1)
        positions = positions[None]
        return torch.cat([stored[:, :1], positions.to(stored.dtype)], dim=1)

    embeddings.interpolate_pos_encoding = interpolate  # hides the method of the class
    try:
        yield
    finally:
        del embeddings.interpolate_pos_encoding


@contextmanager
def traceable(backbone: Any) -> Iterator[None]:
    """Within the block the whole method can be traced for any size of the image.

    Args:
        backbone: the DEM's, see :func:`positions_of_any_size`; None where no DEM is traced.
    """
    pool = F.adaptive_avg_pool2d
    F.adaptive_avg_pool2d = adaptive_avg_pool2d  # the corrector's cells
    try:
        with nullcontext() if backbone is None else positions_of_any_size(backbone):
            yield
    finally:
        F.adaptive_avg_pool2d = pool
