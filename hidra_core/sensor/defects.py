"""Defective pixels of one frame, told from the scene by what optics can draw, and filled from their neighbours.

A lens spreads even a point over neighbouring pixels. A pixel that stands out although none of its neighbours rises with
it, or a line one pixel wide with nothing beside it, does not come from the scene.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from .noise import noise

_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)


def find_dead(image: np.ndarray, valid: np.ndarray | None = None, *, level: float = 1.0) -> np.ndarray:
    """Find defective pixels.

    Args:
        image: ``[H, W]``, stripes set aside.
        valid: ``[H, W]`` bool: the pixels that count; None: all.
        level: what one of 255 grey levels is in the unit of the image.

    Returns:
        bool ``[H, W]``, true where a pixel is defective.
    """
    if min(image.shape) < 3:
        return np.zeros(image.shape, bool)
    sigma = np.maximum(noise(image, valid), 0.5 * level)
    highest, lowest = (extreme(image, footprint=_RING, mode="mirror") for extreme in (maximum_filter, minimum_filter))
    dead = np.maximum(image - highest, lowest - image) > 8 * sigma
    return dead if valid is None else dead & valid


def replaced(image: np.ndarray, dead: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Fill defective pixels with the median of their good neighbours.

    Args:
        image: ``[H, W]``.
        dead: ``[H, W]`` bool.
        valid: ``[H, W]`` bool: the pixels that may serve as neighbours; None: all.

    Returns:
        ``[H, W]`` floats; the windows grow where a pixel has fewer than three good neighbours. Where no pixel of the
        image is good it is returned as it is.
    """
    result = image.astype(np.float64)
    good = ~dead if valid is None else ~dead & valid
    if not good.any():
        return result
    rows, columns = np.nonzero(dead)
    reach = 1
    while rows.size:
        pixels = np.pad(np.where(good, result, np.nan), reach, constant_values=np.nan)
        around = np.arange(-reach, reach + 1)
        windows = pixels[
            rows[:, None, None] + reach + around[:, None], columns[:, None, None] + reach + around[None, :]
        ].reshape(len(rows), -1)
        enough = np.isfinite(windows).sum(1) >= min(3, int(good.sum()))
        result[rows[enough], columns[enough]] = np.nanmedian(windows[enough], axis=1)
        rows, columns, reach = rows[~enough], columns[~enough], 2 * reach
    return result
