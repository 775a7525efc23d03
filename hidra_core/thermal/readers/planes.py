"""Planes of 16-bit counts as bytes: their byte order, and the sizes that sensors have."""

from __future__ import annotations

from typing import Literal

import numpy as np

ByteOrder = Literal["little", "big"]

SENSOR_SIZES = (
    *((80, 60), (160, 120), (160, 128), (206, 156), (256, 192), (320, 240), (320, 256), (324, 256), (336, 256)),
    *((384, 288), (464, 348), (640, 480), (640, 512), (1024, 768), (1280, 1024)),
)
"""(width, height) of thermal sensors; no two have the same number of pixels."""


def by_length(size: int) -> tuple[int, int] | None:
    """(width, height) of the sensor whose frame of 16-bit counts has this many bytes; None for no known sensor."""
    return next(((width, height) for width, height in SENSOR_SIZES if width * height * 2 == size), None)


def smoother(counts: np.ndarray) -> tuple[np.ndarray, bool]:
    """Choose the byte order in which neighbouring pixels differ less.

    In real frames with the wrong byte order neighbours differ by thousands. If both orders are equal, the order stays.

    Args:
        counts: ``[H, W]`` uint16.

    Returns:
        (counts in the chosen order, whether their bytes were swapped)
    """

    def roughness(plane: np.ndarray) -> int:
        wide = plane.astype(np.int32)
        return int(np.abs(np.diff(wide, axis=0)).sum()) + int(np.abs(np.diff(wide, axis=1)).sum())

    swapped = counts.byteswap()
    return (swapped, True) if roughness(swapped) < roughness(counts) else (counts, False)
