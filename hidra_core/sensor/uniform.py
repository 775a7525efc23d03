"""Whether the mean of frames shows a uniform surface, as it must for a flat field, or a scene.

A uniform surface shows what the sensor adds: shading, which is smooth across the whole frame; columns and rows; and a
pattern of single pixels, of which neighbours know nothing. With shading, columns and rows taken off, averages over
some pixels are then as small as those of chance. Those of a scene are larger, as its things are larger than a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.ndimage import gaussian_filter

from .noise import NORMAL

BEYOND_CHANCE = 3.0
"""Averages over some pixels, in multiples of those of chance, above which there is structure. Patterns of single pixels
with columns, rows and shading have 1.0 to 1.3; 109 real pictures at half size 8 or more, beneath a pattern of 4 grey
levels 3.6 or more."""

BEYOND_SHADING = 0.075
"""The same averages as a share of all that is smooth, above which they are no rest of the shading: fields that fall off
as r² or cos^4, quadrants and hard vignettes have up to 0.07 where they are beyond chance, the pictures
0.081 or more. Spots and rings narrower than a tenth of the frame, and dust on a tenth of it, are taken for a scene
where they are far stronger than the pattern."""

_DEGREE = 8  # of the polynomial that shading may be: vignettes and hot middles need more than a profile keeps
_CELLS = 48  # along the shorter side, to whose means it is fitted
_SIGMA = 2.0  # pixels over which is averaged
_PART = 0.75  # share of the pixels that are below the size: dust and the corners of a vignette are above
_OF_NORMAL = 1.1503  # that part of the absolute values of a normal distribution of standard deviation 1
_FAR = 6.0  # standard deviations at which single pixels are cut off
_ROUNDED = 0.5  # size of structure that the rounding to whole numbers can make


@dataclass(frozen=True)
class Structure:
    """What is neither shading nor columns, rows or single pixels.

    Attributes:
        size: a standard deviation, in the unit of the frames.
        beyond_chance: the size in multiples of what chance would make of the pattern of single pixels.
        of_shading: the size as a share of all that is smooth.
        is_scene: whether only a scene is like that.
    """

    size: float
    beyond_chance: float
    of_shading: float
    is_scene: bool


def structure_of(mean: np.ndarray, valid: np.ndarray, *, whole: bool) -> Structure:
    """Look for a scene in the mean of frames.

    Args:
        mean: ``[H, W]``, finite.
        valid: ``[H, W]`` bool, the pixels that count.
        whole: the frames were whole numbers, of which rounding makes steps.
    """
    smooth = _shading(mean)
    rest = mean - smooth
    for axis in (0, 1):
        rest = rest - np.median(rest, axis=axis, keepdims=True)
    limit = _FAR * _spread(rest[valid])
    rest = rest.clip(-limit, limit)
    averages = gaussian_filter(rest, _SIGMA, mode="nearest")
    by_chance = _spread((rest - averages)[valid]) / (2 * np.sqrt(np.pi) * _SIGMA)
    seen = averages[valid]
    size = float(np.quantile(np.abs(seen - np.median(seen)), _PART)) / _OF_NORMAL
    beyond = size / max(by_chance, 1e-30)
    share = size / max(float(np.hypot(smooth[valid].std(), size)), 1e-30)
    shows = size > (_ROUNDED if whole else 0.0)
    return Structure(size, beyond, share, shows and beyond > BEYOND_CHANCE and share > BEYOND_SHADING)


def _spread(values: np.ndarray) -> float:
    return NORMAL * float(np.median(np.abs(values - np.median(values))))


def _shading(mean: np.ndarray) -> np.ndarray:
    """The polynomial that is near most of the frame, ``[H, W]``; small things hardly move it."""
    height, width = mean.shape
    side = max(1, min(height, width) // _CELLS)
    down, across = height // side, width // side
    cells = mean[: down * side, : across * side].reshape(down, side, across, side).mean((1, 3)).ravel()
    pairs = [(a, b) for a in range(_DEGREE + 1) for b in range(_DEGREE + 1 - a)]
    rows, columns = (
        legvander(((np.arange(count) + 0.5) * side - 0.5) / (whole - 1) * 2 - 1, _DEGREE)
        for count, whole in ((down, height), (across, width))
    )
    terms = np.stack([np.outer(rows[:, a], columns[:, b]).ravel() for a, b in pairs], 1)
    weights = np.ones_like(cells)
    found = np.zeros(len(pairs))
    for _ in range(3):
        found = np.linalg.lstsq(terms * weights[:, None], cells * weights, rcond=None)[0]
        off = cells - terms @ found
        weights = np.sqrt(np.minimum(1, 2 * _spread(off) / np.maximum(np.abs(off), 1e-12)))
    coefficients = np.zeros((_DEGREE + 1, _DEGREE + 1))
    for (a, b), weight in zip(pairs, found, strict=True):
        coefficients[a, b] = weight
    return (
        legvander(np.linspace(-1, 1, height), _DEGREE) @ coefficients @ legvander(np.linspace(-1, 1, width), _DEGREE).T
    )
