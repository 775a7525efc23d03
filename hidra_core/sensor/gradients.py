"""The pattern that stays put while the scene moves, from the differences of neighbouring pixels.

A scene that moves has no preferred difference at any place, and most of its differences are small; those of the pattern
are the same in every frame. So the location of the differences over time, weighted as for a Cauchy distribution, is the
pattern's difference, whatever edges pass by; and where the level changes from frame to frame, the slope of the
differences over the level is the gain's. The differences are then integrated by weighted least squares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALE = 2.0  # of the Cauchy distribution, in multiples of the noise
_GAIN_EXPECTED = 0.02  # standard deviation of gains; a weak hold where the level hardly changes
_LEVEL_WIDTH = 3.0  # sigma in pixels of the surroundings whose level counts
_ROUNDS, _TOLERANCE = 80, 1e-3  # of the conjugate gradients


class Line:
    """Sums for straight lines of a value over the level, one for each place.

    Args:
        shape: of the places.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.weight, self.level, self.level2, self.value, self.product = (np.zeros(shape) for _ in range(5))

    def add(self, weight: np.ndarray, level: np.ndarray, value: np.ndarray) -> None:
        """Add one value at each place."""
        weighted = weight * level
        self.weight += weight
        self.level += weighted
        self.level2 += weighted * level
        self.value += weight * value
        self.product += weighted * value

    def __add__(self, other: Line) -> Line:
        both = Line(self.weight.shape)
        for name in vars(both):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def mean(self) -> np.ndarray:
        """The value whatever the level; 0 where none was added."""
        return self.value / np.maximum(self.weight, 1e-30)

    def fit(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(value at level 0, slope, weight of the slope); slopes are held to 0 where the levels say little."""
        weight = np.maximum(self.weight, 1e-30)
        level = self.level / weight
        certain = np.maximum(self.level2 - weight * level**2, 0)
        hold = 1 / (_SCALE * _GAIN_EXPECTED) ** 2  # weights are inverse variances, less the square of the scale
        slope = (self.product - level * self.value) / (certain + hold)
        return self.value / weight - slope * level, slope, certain


class Gradients:
    """Differences of neighbouring pixels over many frames.

    Args:
        shape: height and width of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        height, width = shape
        self.across, self.down = Line((height, width - 1)), Line((height - 1, width))

    def __add__(self, other: Gradients) -> Gradients:
        height, width = self.across.weight.shape
        both = Gradients((height, width + 1))
        both.across, both.down = self.across + other.across, self.down + other.down
        return both

    def add(
        self,
        frame: np.ndarray,
        valid: np.ndarray | None,
        pattern: np.ndarray,
        pivot: float,
        sigma: float,
    ) -> None:
        """Add a frame.

        Args:
            frame: ``[H, W]``, finite everywhere.
            valid: ``[H, W]`` bool, the pixels that count; None: all.
            pattern: the offsets known so far, ``[H, W]``: what differs from them counts little.
            pivot: the level of ``pattern``.
            sigma: noise of a pixel.
        """
        level = gaussian_filter(frame - pattern, _LEVEL_WIDTH, mode="nearest", truncate=2.5) - pivot
        floor = 2 * (_SCALE * sigma) ** 2
        for line, first, second in ((self.across, np.s_[:, :-1], np.s_[:, 1:]), (self.down, np.s_[:-1], np.s_[1:])):
            value, at = frame[second] - frame[first], level[first]
            rest = value - (pattern[second] - pattern[first])
            weight = 1 / (floor + rest * rest)
            if valid is not None:
                weight *= valid[first] & valid[second]
            line.add(weight, at, value)

    def offsets(self, use: np.ndarray) -> np.ndarray:
        """The pattern of mean 0, whatever the level, ``[H, W]``; pixels that are not of ``use`` follow the others."""
        return integrate(self.across.mean(), self.down.mean(), self.across.weight, self.down.weight, use)

    def offsets_and_gain(self, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(the pattern at the pivot, the gain less 1), each of mean 0 and ``[H, W]``."""
        (at, slope, certain), (at_down, slope_down, certain_down) = self.across.fit(), self.down.fit()
        offsets = integrate(at, at_down, self.across.weight, self.down.weight, use)
        return offsets, integrate(slope, slope_down, certain, certain_down, use)


def integrate(
    across: np.ndarray, down: np.ndarray, across_weight: np.ndarray, down_weight: np.ndarray, use: np.ndarray
) -> np.ndarray:
    """The field whose differences are nearest to those given, by weighted least squares.

    Args:
        across: differences to the pixel on the right, ``[H, W - 1]``.
        down: differences to the pixel below, ``[H - 1, W]``.
        across_weight: of ``across``.
        down_weight: of ``down``.
        use: ``[H, W]`` bool: differences to other pixels do not count.

    Returns:
        ``[H, W]`` of mean 0 over ``use``. Parts that nothing connects are smooth.
    """
    height, width = use.shape
    across_weight = across_weight * (use[:, 1:] & use[:, :-1])
    down_weight = down_weight * (use[1:] & use[:-1])
    known = np.concatenate([across_weight[across_weight > 0], down_weight[down_weight > 0]])
    if not known.size:
        return np.zeros(use.shape)
    # a weak wish for smoothness connects what no difference does
    middle = float(np.median(known))
    across_weight, down_weight = across_weight / middle + 1e-4, down_weight / middle + 1e-4
    across, down = (
        np.where(weight > 2e-4, field, 0) for weight, field in ((across_weight, across), (down_weight, down))
    )

    def divergence(right: np.ndarray, below: np.ndarray) -> np.ndarray:
        field = np.zeros((height, width))
        field[:, :-1] -= right
        field[:, 1:] += right
        field[:-1] -= below
        field[1:] += below
        return field

    def operator(field: np.ndarray) -> np.ndarray:
        return divergence(across_weight * np.diff(field, axis=1), down_weight * np.diff(field, axis=0))

    waves = [2 - 2 * np.cos(np.pi * np.arange(length) / length) for length in (height, width)]
    laplacian = waves[0][:, None] + waves[1]
    laplacian[0, 0] = 1

    def nearly_inverse(field: np.ndarray) -> np.ndarray:
        from scipy.fft import dctn, idctn  # it takes time to import, which only a calibration should spend

        spectrum = np.asarray(dctn(field, norm="ortho")) / laplacian
        spectrum[0, 0] = 0
        return np.asarray(idctn(spectrum, norm="ortho"))

    field = conjugate_gradients(operator, divergence(across_weight * across, down_weight * down), nearly_inverse)
    return field - field[use].mean()


def conjugate_gradients(
    operator: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    nearly_inverse: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Solve ``operator(field) = right``, both symmetric and not negative."""
    field, rest = np.zeros_like(right), right
    step = direction = nearly_inverse(rest)
    power = first = float((rest * step).sum())
    for _ in range(_ROUNDS):
        if power <= _TOLERANCE**2 * first or power <= 0:
            break
        changed = operator(direction)
        share = power / float((direction * changed).sum())
        field = field + share * direction
        rest = rest - share * changed
        step = nearly_inverse(rest)
        before, power = power, float((rest * step).sum())
        direction = step + power / before * direction
    return field
