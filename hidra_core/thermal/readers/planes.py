"""Planes of 16-bit counts as bytes: their byte order, and the sizes that sensors have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

ByteOrder = Literal["little", "big"]

SENSOR_SIZES = (
    *((80, 60), (160, 120), (160, 128), (206, 156), (256, 192), (320, 240), (320, 256), (324, 256), (336, 256)),
    *((384, 288), (464, 348), (640, 480), (640, 512), (1024, 768), (1280, 1024)),
)
"""(width, height) of thermal sensors; no two have the same number of pixels."""

_FOURTEEN_BITS = 16383  # the largest count of most sensors that are not set to counts of kelvin
_CLEARLY_SMOOTHER = 0.7  # the wrong order is some 20 times rougher; orders closer than this decide nothing
_FAR_SMOOTHER = 0.2  # the same for files whose format says the order


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
    swapped = counts.byteswap()
    return (swapped, True) if _roughness(swapped) < _roughness(counts) else (counts, False)


@dataclass(frozen=True)
class OrderGuess:
    """A byte order that was inferred from counts.

    Attributes:
        order: the byte order.
        reason: what decided, in words; empty where nothing did, and the order is little for want of anything better.
    """

    order: ByteOrder
    reason: str


def guess_order(planes: Iterable[np.ndarray]) -> OrderGuess:
    """The byte order of several planes of one recording.

    The order in which neighbouring pixels differ clearly less is taken. Where neither is clearly smoother, counts of
    more than 14 bits in one order only speak for the other. Planes of one value say nothing.

    Args:
        planes: ``[H, W]`` uint16 each, read as little endian.
    """
    little = big = 0
    highest_little = highest_big = 0
    for plane in planes:
        if plane.min() == plane.max():
            continue
        swapped = plane.byteswap()
        little += _roughness(plane)
        big += _roughness(swapped)
        highest_little = max(highest_little, int(plane.max()))
        highest_big = max(highest_big, int(swapped.max()))
    if little < _CLEARLY_SMOOTHER * big:
        return OrderGuess("little", "neighbouring pixels differ less")
    if big < _CLEARLY_SMOOTHER * little:
        return OrderGuess("big", "neighbouring pixels differ less")
    if highest_little <= _FOURTEEN_BITS < highest_big:
        return OrderGuess("little", "counts stay within 14 bits")
    if highest_big <= _FOURTEEN_BITS < highest_little:
        return OrderGuess("big", "counts stay within 14 bits")
    return OrderGuess("little", "")


def is_swapped(planes: Iterable[np.ndarray]) -> bool:
    """Whether planes would be far smoother with their bytes swapped, as nothing but a wrong byte order explains.

    Args:
        planes: ``[H, W]`` uint16 each, as they were read.
    """
    planes = [plane for plane in planes if np.ptp(plane & 255)]  # 8 bits in the upper bytes are in the right order
    read, swapped = (sum(_roughness(plane) for plane in some) for some in (planes, [p.byteswap() for p in planes]))
    return swapped < _FAR_SMOOTHER * read


def _roughness(plane: np.ndarray) -> int:
    wide = plane.astype(np.int32)
    return int(np.abs(np.diff(wide, axis=0)).sum()) + int(np.abs(np.diff(wide, axis=1)).sum())
