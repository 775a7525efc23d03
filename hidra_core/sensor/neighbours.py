"""Pixels that do not follow the scene, told by how each goes with its neighbours over many frames."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label, median_filter

_UNLIKE = 6.0  # variance of a defective pixel against its neighbours, in multiples of the usual one
_OUTLIER = 8.0  # the same in robust standard deviations of its logarithm
_FOLLOWS = 0.5  # slope over the neighbours below which a pixel does not follow the scene
_FAR = 12.0  # offset in robust standard deviations of all offsets
_CLIPPED = 4.0  # the same for a pixel that is always at the limit of the numbers
_FROZEN = 0.02  # variance of a pixel that does not change, in multiples of the usual one
_AROUND = 9  # side in pixels of the surroundings that say what is usual
_CLUSTER = 64  # pixels: larger things that do not follow the scene are no defects

# sorts eight values as far as the two in the middle
_NETWORK = (
    *((0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6), (0, 4), (3, 7), (1, 5), (2, 6)),
    *((1, 4), (3, 6), (2, 4), (3, 5), (3, 4)),
)


class Neighbours:
    """Sums over frames of each pixel, of the median of the eight around it, and of their products.

    Args:
        shape: height and width of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        names = ("weight", "pixel", "around", "pixel2", "around2", "product")
        self._sums = {name: np.zeros(shape) for name in names}
        self._limits = (np.inf, -np.inf)

    def add(self, frame: np.ndarray, valid: np.ndarray | None, sigma: float, reference: float) -> None:
        """Add a frame.

        Args:
            frame: ``[H, W]``, finite everywhere.
            valid: ``[H, W]`` bool, the pixels that count; None: all.
            sigma: noise of a pixel: places with steeper edges count less.
            reference: a level near that of all frames, which keeps the sums exact.
        """
        around = ring_median(frame)
        slope = sum(np.gradient(around, axis=axis) ** 2 for axis in (0, 1))
        weight = 1 / (4 * sigma**2 + slope)
        if valid is not None:
            weight = weight * valid
        # in double precision: variances are small differences of large sums
        pixel, around = (plane.astype(np.float64) - reference for plane in (frame, around))
        self._limits = min(self._limits[0], float(pixel.min())), max(self._limits[1], float(pixel.max()))
        for name, term in (
            ("weight", 1.0),
            ("pixel", pixel),
            ("around", around),
            ("pixel2", pixel * pixel),
            ("around2", around * around),
            ("product", pixel * around),
        ):
            self._sums[name] += weight * term

    @property
    def unchanging(self) -> float:
        """The share of the pixels that have one value in all frames, 0 to 1."""
        weight = np.maximum(self._sums["weight"], 1e-30)
        own = self._sums["pixel2"] / weight - (self._sums["pixel"] / weight) ** 2
        return float((own < 1e-9 * (1 + np.abs(self._sums["pixel2"] / weight))).mean())

    def defective(self, floor: float) -> tuple[np.ndarray, np.ndarray]:
        """The pixels that do not follow the scene.

        Args:
            floor: standard deviation below which nothing is told apart, such as that of rounding.

        Returns:
            bool ``[H, W]`` each: single pixels, lines and small groups, which are defects; and larger things, which
            are something in the picture: parts of the vehicle, symbols that the camera draws.
        """
        weight = np.maximum(self._sums["weight"], 1e-30)
        mean = {name: total / weight for name, total in self._sums.items()}
        own, beside = mean["pixel2"] - mean["pixel"] ** 2, mean["around2"] - mean["around"] ** 2
        together = mean["product"] - mean["pixel"] * mean["around"]
        offset = mean["pixel"] - mean["around"]
        unlike = np.maximum(own + beside - 2 * together, 0) + floor**2
        usual = _usual(unlike)
        excess = np.log(unlike / usual)
        spread = 1.4826 * float(np.median(np.abs(excess))) + 1e-3
        defective = (excess > np.log(_UNLIKE)) & (excess > _OUTLIER * spread)
        scene = beside + floor**2
        defective |= (together < _FOLLOWS * beside) & (scene > 4 * usual) & (unlike > 3 * usual)
        low, high = self._limits
        clipped = (mean["pixel"] <= low + 3 * floor) | (mean["pixel"] >= high - 3 * floor)
        frozen = (own + 1e-12 < _FROZEN * _usual(own)) & (scene > 4 * floor**2)
        # at its limits a sound pixel does not change either, unless its neighbours are far from them
        defective |= frozen & (~clipped | _far(offset, _CLIPPED)) | _far(offset, _FAR)
        defective &= self._sums["weight"] > 0
        return _parted(defective)


def _usual(field: np.ndarray) -> np.ndarray:
    """The median of the surroundings; at the edges, whose pixels have fewer neighbours, of those along them."""
    usual = median_filter(field, _AROUND, mode="mirror")
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        usual[edge] = np.maximum(usual[edge], median_filter(field[edge], 2 * _AROUND + 1, mode="mirror"))
    return usual


def _far(offset: np.ndarray, limit: float) -> np.ndarray:
    """Offsets that are ``limit`` robust standard deviations from the others; stripes are set aside."""
    for axis in (0, 1):
        offset = offset - np.median(offset, axis=axis, keepdims=True)
    spread = 1.4826 * float(np.median(np.abs(offset)))
    return np.abs(offset) > limit * spread if spread else np.zeros(offset.shape, bool)


def _parted(defective: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups, count = np.zeros(defective.shape, np.int32), 0
    if defective.any():
        count = int(label(defective, np.ones((3, 3)), groups))  # type: ignore[arg-type]  (it fills groups)
    large = np.zeros(count + 1, bool)
    for index in np.flatnonzero(np.bincount(groups.ravel()) > _CLUSTER):
        if index:  # 0 is everything else; a whole row or column is a defect, however long
            place = np.nonzero(groups == index)
            span = max(int(np.ptp(along)) + 1 for along in place)
            large[index] = len(place[0]) > 3 * span
    return defective & ~large[groups], large[groups]


def ring_median(frame: np.ndarray) -> np.ndarray:
    """The median of the eight pixels around each, ``[H, W]``; beyond the edges the frame is mirrored."""
    height, width = frame.shape
    padded = np.pad(frame, 1, mode="reflect")
    planes = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    for low, high in _NETWORK:
        planes[low], planes[high] = np.minimum(planes[low], planes[high]), np.maximum(planes[low], planes[high])
    return (planes[3] + planes[4]) / 2
