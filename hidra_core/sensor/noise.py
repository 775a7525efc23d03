"""How strong the random noise of an image's pixels is."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve1d, distance_transform_edt, minimum_filter, percentile_filter

from ..checkpoints import checkpoint

NORMAL = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""

BLOCK = 16
"""Side in pixels of the blocks in which noise is measured."""

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])


def noise(image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Standard deviation of the pixel noise around every pixel.

    It is the median absolute response to a second-difference kernel (Immerkær, 1996) in blocks of 16 pixels; of each
    block and its neighbours a low percentile, because texture only ever adds to it.

    Args:
        image: ``[H, W]``.
        valid: ``[H, W]`` bool: the pixels that count; None: all. Blocks without any take their neighbours' value.

    Returns:
        ``[H, W]``, in the unit of the image.
    """
    height, width = image.shape
    checkpoint()
    response = convolve1d(convolve1d(image, _SECOND_DIFFERENCE, 0, mode="mirror"), _SECOND_DIFFERENCE, 1, mode="mirror")
    response = np.abs(response) / 6
    checkpoint()
    if valid is not None:  # the kernel reaches one pixel far
        response = np.where(minimum_filter(valid, 3, mode="nearest"), response, np.nan)
    blocks_down, blocks_across = max(1, height // BLOCK), max(1, width // BLOCK)
    tall, wide = height // blocks_down, width // blocks_across  # the rest at the edges belongs to the last block
    blocks = response[: tall * blocks_down, : wide * blocks_across].reshape(blocks_down, tall, blocks_across, wide)
    levels = NORMAL * (np.median(blocks, axis=(1, 3)) if valid is None else _completed(blocks))
    checkpoint()
    quiet = percentile_filter(levels, 35, size=3, mode="nearest")
    down = (np.arange(height) // tall).clip(max=blocks_down - 1)
    across = (np.arange(width) // wide).clip(max=blocks_across - 1)
    return quiet[down][:, across]


def _completed(blocks: np.ndarray) -> np.ndarray:
    """Medians of ``[down, tall, across, wide]``, those of blocks without a number from the nearest other one."""
    known = np.isfinite(blocks).sum((1, 3)) >= 16
    if not known.any():
        return np.zeros(known.shape)
    medians = np.zeros(known.shape)
    medians[known] = np.nanmedian(blocks.transpose(0, 2, 1, 3)[known], axis=(1, 2))
    nearest = np.asarray(distance_transform_edt(~known, return_distances=False, return_indices=True))
    return medians[nearest[0], nearest[1]]
