"""The equations of a flight: what the overlaps of its frames say about their offsets, and their solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu

from .overlaps import Overlap, SmallFrame, differences, find_overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELD = (2.0, 2.0, 0.5, 0.5, 0.5, 0.5)  # likely sizes of slopes and bends of the field, in those of the offsets

_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution
_ROUNDS = 8  # of reducing the weight of what does not fit
_TUNING = 2.0  # residuals, in standard deviations, from which the weight falls (Cauchy)
_AGREEING = 0.5  # share of the parts of an overlap that must fit its offset
_TOGETHER = 4.0  # parts of an overlap whose errors go together, as they share one shift


@dataclass(frozen=True, eq=False)
class Pair:
    """What an overlap says: ``differences = offset(first) - offset(second) + fields @ coefficients``."""

    overlap: Overlap
    differences: np.ndarray
    fields: np.ndarray
    scatter: float


def _fields(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The smooth fields of the sensor at places ``[n, 2]``: slopes, bends and the rim of the lens, ``[n, 6]``."""
    y, x = (2 * places[:, axis] / max(1, shape[axis] - 1) - 1 for axis in (0, 1))
    radius = (x**2 + y**2) / 2
    return np.stack([x, y, x * y, x**2, y**2, radius**2], -1)


def pair_of(small: list[SmallFrame], first: int, second: int) -> list[Pair]:
    """The equations of two frames; empty where they show nothing alike, or where what they show has changed."""
    both = (small[first], small[second])
    overlap = find_overlap(both, first, second)
    if overlap is None:
        return []
    places, found = differences(both, overlap)
    if not len(found):
        return []
    shape, step = both[0].level.shape, np.array([overlap.down, overlap.across]) / both[0].factor
    fields = _fields(places, shape) - _fields(places - step, shape)
    # a plane leaves room for the field: what departs from it is noise, or ground that has changed
    y, x = places.T - places.mean(0)[:, None]
    plane = np.stack([np.ones_like(x), x, y], -1)
    rest = found - plane @ np.linalg.lstsq(plane, found, rcond=None)[0]
    return [Pair(overlap, found, fields, _NORMAL * float(np.median(np.abs(rest))))]


@dataclass(frozen=True, eq=False)
class Solution:
    """What the equations say.

    Attributes:
        offsets: ``[N]``.
        deviations: their standard deviations ``[N]``.
        agreeing: bool per pair, whether most parts of its overlap fit as usual.
    """

    offsets: np.ndarray
    deviations: np.ndarray
    agreeing: np.ndarray


class Equations:
    """Equations in the offsets of all frames, unknowns 0 to ``count - 1``, and the field's coefficients after them.

    Args:
        count: number of frames.
        pairs: their overlaps.
    """

    def __init__(self, count: int, pairs: Sequence[Pair]) -> None:
        self._count = count
        self._length = 0
        self._targets: list[np.ndarray] = []
        self._sigmas: list[np.ndarray] = []
        self._owners: list[np.ndarray] = []
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for pair in pairs:
            self._add_pair(pair)
        self._seen = self._length

    def _add_pair(self, pair: Pair) -> None:
        """The equations of an overlap."""
        number = len(pair.differences)
        lines = np.arange(self._length, self._length + number)
        for column, value in ((pair.overlap.first, 1.0), (pair.overlap.second, -1.0)):
            self._entries.append((lines, np.full(number, column), np.full(number, value)))
        for index in range(len(FIELD)):
            self._entries.append((lines, np.full(number, self._count + index), pair.fields[:, index]))
        self._owners.append(np.full(number, len(self._owners)))
        self._end(pair.differences, np.full(number, pair.scatter))

    def add(self, entries: dict[int, float], target: float, sigma: float) -> None:
        """One equation: coefficients by unknown, right side and standard deviation."""
        lines = np.full(len(entries), self._length)
        self._entries.append((lines, np.array([*entries]), np.array([*entries.values()])))
        self._end(np.array([target]), np.array([sigma]))

    def _end(self, targets: np.ndarray, sigmas: np.ndarray) -> None:
        self._targets.append(targets)
        self._sigmas.append(sigmas)
        self._length += len(targets)

    def solve(self, floor: float) -> Solution:
        """Least squares with reduced weights for parts of overlaps that do not fit.

        Args:
            floor: the least standard deviation of a part.
        """
        matrix, target, owner = self._matrix(), np.concatenate(self._targets), np.concatenate(self._owners)
        sigma, weights, seen = np.concatenate(self._sigmas), np.ones(self._length), self._seen
        sigma[:seen] = np.maximum(sigma[:seen], floor)

        def solved() -> tuple[SuperLU, np.ndarray, np.ndarray]:
            scaled = csc_matrix(matrix.multiply((weights / sigma**2)[:, None]))
            normal = splu(csc_matrix(matrix.T @ scaled))
            solution = normal.solve(scaled.T @ target)
            return normal, solution, np.abs(target - matrix @ solution)[:seen]

        normal, solution, rest = solved()
        for _ in range(_ROUNDS):
            sigma[:seen] = np.maximum(_scatter(rest, owner), floor)
            weights[:seen] = 1 / (1 + (rest / (_TUNING * sigma[:seen])) ** 2) / _TOGETHER
            normal, solution, rest = solved()
        limit = 3 * max(_NORMAL * float(np.median(rest)), floor)
        agreeing = np.bincount(owner, rest <= limit) >= _AGREEING * np.bincount(owner)
        return Solution(solution[: self._count], _deviations(normal, self._count), agreeing)

    def _matrix(self) -> csc_matrix:
        """All equations, ``[length, unknowns]``."""
        lines, columns, values = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        return csc_matrix((values, (lines, columns)), shape=(self._length, self._count + len(FIELD)))


def _scatter(rest: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The standard deviation of each equation: half that of its own overlap, half that of all."""
    order = np.argsort(owner, kind="stable")
    parts = np.split(rest[order], np.cumsum(np.bincount(owner))[:-1])
    own = np.array([np.median(part) for part in parts])
    return _NORMAL * (0.5 * own[owner] + 0.5 * float(np.median(rest)))


def _deviations(normal: SuperLU, count: int) -> np.ndarray:
    """Standard deviations of the first unknowns, from the factors of the normal equations."""
    variance = np.empty(count)
    for start in range(0, count, 256):
        some = np.arange(start, min(count, start + 256))
        unit = np.zeros((normal.shape[0], len(some)))
        unit[some, np.arange(len(some))] = 1
        variance[some] = normal.solve(unit)[some, np.arange(len(some))]
    return np.sqrt(variance.clip(min=0))
