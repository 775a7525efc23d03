"""A Gaussian over large planes that can be stopped on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..checkpoints import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = 128
"""Rows or columns between two checkpoints."""


def gaussian(
    plane: np.ndarray, sigma: float, *, mode: Literal["reflect", "nearest"] = "reflect", truncate: float = 4.0
) -> np.ndarray:
    """SciPy's ``gaussian_filter``, to the bit.

    Args:
        plane: ``[H, W]`` floats.
        sigma: in pixels.
        mode: what lies beyond the edges, as SciPy calls it.
        truncate: where the kernel ends, in multiples of sigma.

    Returns:
        The same shape and type.
    """
    for axis in (0, 1):
        before, plane = plane, np.empty_like(plane)
        for part in _bands(plane.shape[1 - axis], axis):
            checkpoint()
            plane[part] = gaussian_filter1d(before[part], sigma, axis, mode=mode, truncate=truncate)
    return plane


def _bands(lines: int, axis: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a plane with whole lines along an axis."""
    for start in range(0, lines, LINES):
        some = slice(start, start + LINES)
        yield (slice(None), some) if axis == 0 else (some, slice(None))
