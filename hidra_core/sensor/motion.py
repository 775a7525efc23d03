"""Whether a scene moves enough for what stays put to be the sensor's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

BLOCK = 24
"""Side in pixels of the blocks in which motion is judged."""

_WIDTH = 4.0  # sigma in pixels: structure is what is finer
_LAG = 2  # pixels: structure reaches so far, the noise and the pattern of single pixels do not
_CHANGED = 0.35  # share of its structure that a block must change to count as moving
_STILL = 0.4  # share of the structured blocks that may stand still
_SOME = 0.1  # structure that counts, in multiples of the variance of noise and pattern


@dataclass(frozen=True)
class Motion:
    """How a scene moves.

    Attributes:
        structured: share of the picture that has structure at all, 0 to 1.
        still: share of that which stands still, 0 to 1.
        moving: share of the picture in which structure comes and goes, 0 to 1.
        mask: ``[H, W]`` bool, where it stands still.
    """

    structured: float
    still: float
    moving: float
    mask: np.ndarray

    @property
    def is_still(self) -> bool:
        """Whether too little moves for a profile."""
        return self.still > _STILL


def judge(samples: np.ndarray, valid: np.ndarray) -> Motion:
    """Compare the structure of frames with that of their differences, in which whatever stands still has gone.

    Structure is how alike pixels a little apart along both diagonals are: stripes and the pattern of single pixels have
    none, a scene has.

    Args:
        samples: ``[K, H, W]`` frames spread over the sequence, finite.
        valid: ``[H, W]`` bool, the pixels that count.
    """
    fine = np.stack([_without_stripes(frame - gaussian_filter(frame, _WIDTH), valid) for frame in samples])
    whole = _blocks(np.mean([_likeness(frame, valid) for frame in fine], axis=0))
    # of each frame with the one half the sequence away: the differences hold twice what moves
    half = len(fine) // 2
    moving = _blocks(np.mean([_likeness(fine[k] - fine[k + half], valid) for k in range(half)], axis=0)) / 2
    noise = _blocks(np.mean([np.where(valid, frame**2, 0) for frame in fine], axis=0))
    some = whole > _SOME * np.median(noise)
    # what is there only now and then has little structure on the whole and moves all the same
    still = some & (moving < _CHANGED * whole)
    mask = np.zeros(valid.shape, bool)
    tall, wide = (np.repeat(np.arange(count), BLOCK) for count in still.shape)
    down, across = (
        np.minimum(np.arange(side), len(index) - 1) for side, index in zip(valid.shape, (tall, wide), strict=True)
    )
    mask = binary_dilation(still)[tall[down]][:, wide[across]] if still.any() else mask
    shares = float(some.mean()), float(still.sum() / max(some.sum(), 1)), float((moving > _SOME * noise).mean())
    return Motion(*shares, mask & valid)


def _without_stripes(plane: np.ndarray, valid: np.ndarray) -> np.ndarray:
    plane = np.where(valid, plane, 0)
    for axis in (0, 1):
        plane = plane - plane.sum(axis, keepdims=True) / np.maximum(valid.sum(axis, keepdims=True), 1)
    return np.where(valid, plane, 0)


def _likeness(plane: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Products of pixels a little apart, ``[H, W]``, clipped so that no single thing decides for a block."""
    limit = 6 * float(np.sqrt(np.mean(plane[valid] ** 2))) if valid.any() else 0.0
    plane = plane.clip(-limit, limit)
    result = np.zeros(plane.shape)
    inner = np.s_[_LAG:-_LAG, _LAG:-_LAG]
    middle = plane[inner]
    for down in (-_LAG, _LAG):
        for across in (-_LAG, _LAG):
            result[inner] += middle * np.roll(plane, (down, across), (0, 1))[inner] / 4
    return result


def _blocks(plane: np.ndarray) -> np.ndarray:
    height, width = (max(1, side // BLOCK) for side in plane.shape)
    tall, wide = min(BLOCK, plane.shape[0]), min(BLOCK, plane.shape[1])
    return plane[: height * tall, : width * wide].reshape(height, tall, width, wide).mean((1, 3))
