"""The smooth part of a pattern, from how frames that show the same things at other places differ there.

Where one frame shows at ``x`` what another shows at ``x + d``, their difference is that of the pattern at the two
places, whatever the scene is. Many such pairs together give the whole pattern; only a ramp across the frame cannot be
told from a level that drifts, and is taken from how the level of the difference goes with the displacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.fft import irfft2, rfft2

from .gradients import conjugate_gradients

_STEP = 4  # pixels of the frame in one of the grid on which the smooth part is found
_SIGNIFICANT = 12.0  # peak of a correlation, in standard deviations: chance gives 5
_NEAREST = 3.0  # pixels: displacements below say nothing of a smooth part
_FARTHEST = 0.7  # share of a side
_KEYS = 24  # frames that all others are compared with
_PAIRS = 600  # at most
_OUTLIERS = 3.0  # standard deviations to which differences are clipped: moving things, parallax
_FEWEST = 8  # pairs that must be found
_RIDGE = 0.03  # share of the pairs' weight: holds what they leave open, such as waves much longer than displacements
_LEAST_REACH = 3.0  # pixels: displacements along a direction that tell a ramp
_SYSTEMATIC = 0.03  # of the spread of differences: what inexact displacements may do to their levels


class Registrar:
    """Finds by how much frames are displaced against each other: phase correlation at half their size.

    Args:
        shape: height and width of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        height, width = self._shape = (shape[0] // 2, shape[1] // 2)
        self._window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
        self._band = np.exp(-((frequency / 0.2) ** 2)) * (1 - np.exp(-((frequency / 0.02) ** 2)))

    def spectrum(self, frame: np.ndarray) -> np.ndarray:
        """What :meth:`displacement` needs of a frame ``[H, W]``."""
        height, width = self._shape
        half = frame[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))
        spectrum = np.asarray(rfft2((half - half.mean()) * self._window))
        size = np.abs(spectrum)
        return spectrum / (size + 1e-6 * size.max() + 1e-30)

    def displacement(self, first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
        """(d down, d across) in pixels, so that the second frame shows at ``x + d`` what the first shows at ``x``.

        None where the two do not show the same.
        """
        correlation = np.asarray(irfft2(np.conj(first) * second * self._band, self._shape))
        spread = float(correlation.std())
        peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
        if not spread or correlation[peak] < _SIGNIFICANT * spread:
            return None
        found = []
        for axis, length in enumerate(self._shape):
            around = [list(peak) for _ in range(3)]
            for place, offset in zip(around, (-1, 0, 1), strict=True):
                place[axis] = (peak[axis] + offset) % length
            low, middle, high = (float(correlation[tuple(place)]) for place in around)
            bend = low - 2 * middle + high
            place = float(peak[axis]) + (0.5 * (low - high) / bend if bend else 0.0)
            found.append(2 * (place - length if place > length / 2 else place))
        return found[0], found[1]


@dataclass
class Pair:
    """Two frames that show the same, displaced.

    Attributes:
        key: index of the key frame.
        shift: pixels down and across.
        half: 0 or 1, the half of the sequence that it counts for.
        level: of the difference, from the last round.
        spread: standard deviation of the difference, from the last round.
    """

    key: int
    shift: tuple[float, float]
    half: int
    level: float = 0.0
    spread: float = 0.0


class Overlaps:
    """Pairs of frames of one sequence, and the smooth pattern that they give.

    Every frame is added in each round, with what is known of the pattern taken off; the first round finds the pairs.

    Args:
        use: ``[H, W]`` bool, the pixels that count.
        count: number of frames.
    """

    def __init__(self, use: np.ndarray, count: int) -> None:
        self.use, self.count = use, count
        self.grid = (use.shape[0] // _STEP, use.shape[1] // _STEP)
        share = self._coarse(use.astype(np.float64))
        self.mask = (share >= 0.5).astype(np.float64)
        self.field = np.zeros(self.grid)
        self.ramp = (0.0, 0.0)
        self.ramp_unknown = 0.0  # from edge to edge
        self.path: list[tuple[float, float] | None] = []
        self._registrar = Registrar(use.shape)
        self._pairs: dict[int, list[Pair]] = {}
        self._right = [np.zeros(self.grid) for _ in range(2)]
        self._keys: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._last: np.ndarray | None = None
        self._spacing = max(1, count // _KEYS)
        self._every = max(1, -(-3 * count // _PAIRS))

    @property
    def pairs(self) -> list[Pair]:
        """All pairs found."""
        return [pair for pairs in self._pairs.values() for pair in pairs]

    @property
    def is_enough(self) -> bool:
        """Whether there are pairs enough to tell a pattern from a scene."""
        return len(self.pairs) >= _FEWEST

    @property
    def length(self) -> float:
        """How far the camera moved from frame to frame, in pixels in all."""
        return float(sum(np.hypot(*step) for step in self.path if step is not None))

    @property
    def registered(self) -> float:
        """The share of the frames that show what the one before shows, 0 to 1."""
        return sum(step is not None for step in self.path) / max(self.count - 1, 1)

    def add(self, index: int, frame: np.ndarray, *, first: bool) -> None:
        """Add a frame.

        Args:
            index: of the frame in its sequence, in order.
            frame: ``[H, W]`` finite numbers, less the pattern as far as it is known, without :attr:`field`.
            first: whether this is the round that finds the pairs.
        """
        if index == 0:
            self._keys = {}
        spectrum = None
        if first:
            spectrum = self._registrar.spectrum(frame)
            self.path.append(None if self._last is None else self._registrar.displacement(self._last, spectrum))
            self._last = spectrum
            if index % self._every == 0:
                self._pairs[index] = self._found(index, spectrum)
        for pair in self._pairs.get(index, ()):
            self._compare(frame, self._keys[pair.key][0], pair)
        if index % self._spacing == 0:
            self._keys[index] = (frame.astype(np.float32), spectrum)

    def _found(self, index: int, spectrum: np.ndarray) -> list[Pair]:
        keys = list(self._keys)
        # recent ones surely overlap; the others go through all that there are, for farther displacements
        places = (-1, max(-3, -len(keys)), *((index * step) % len(keys) for step in (1, 7))) if keys else ()
        tried = dict.fromkeys(keys[place] for place in places)
        pairs = []
        for key in tried:
            other = self._keys[key][1]
            assert other is not None  # keys of the first round have their spectrum
            found = self._registrar.displacement(spectrum, other)
            if found is None or np.hypot(*found) < _NEAREST:
                continue
            if all(abs(step) < _FARTHEST * side for step, side in zip(found, self.use.shape, strict=True)):
                pairs.append(Pair(key, found, int(2 * index >= self.count)))
        return pairs

    def _compare(self, frame: np.ndarray, other: np.ndarray, pair: Pair) -> None:
        """Add how much the difference of two frames is unlike that of the field known so far."""
        here, corner = _seen_twice(pair.shift, frame.shape)
        both = np.zeros(frame.shape)
        both[here] = self.use[here] & (_moved(self.use, here, corner) > 0.99)
        difference = np.zeros(frame.shape)
        difference[here] = (frame[here] - _moved(other, here, corner)) * both[here]
        share = self._coarse(both)
        rest = self._coarse(difference) / np.maximum(share, 1e-9)
        place, weight, corner = self._place(pair.shift)
        weight = weight * (share[place] > 0.3)
        if not weight.any():
            return
        rest = rest[place] - (self.field[place] - _moved(self.field, place, corner))
        counted = rest[weight > 0]
        pair.level = float(np.median(counted))
        pair.spread = 1.4826 * float(np.median(np.abs(counted - pair.level)))
        rest = np.clip(rest - pair.level, -_OUTLIERS * pair.spread, _OUTLIERS * pair.spread) * weight
        self._spread_out(self._right[pair.half], rest - weight * (rest.sum() / weight.sum()), place, corner)

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """End a round: improve :attr:`field` and :attr:`ramp`.

        Returns:
            What the field would be with each half of the sequence alone, ``[h, w]`` each, of the grid.
        """
        halves = [[pair for pair in self.pairs if pair.half == half] for half in range(2)]
        change = self._solved(self._right[0] + self._right[1], self.pairs)
        alone = [
            self.field + (self._solved(right, pairs) if len(pairs) >= _FEWEST // 2 else change)
            for right, pairs in zip(self._right, halves, strict=True)
        ]
        self.field = self.field + change
        self._right = [np.zeros(self.grid) for _ in range(2)]
        self._fit_ramp()
        return alone[0], alone[1]

    def full(self, field: np.ndarray, ramp: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """A field of the grid on the pixels of the frame, ``[H, W]``, with a ramp in units per pixel."""
        height, width = self.use.shape
        down, across = _interpolation(height, self.grid[0]), _interpolation(width, self.grid[1])
        rise = ramp[0] * (np.arange(height) - (height - 1) / 2)[:, None] + ramp[1] * (
            np.arange(width) - (width - 1) / 2
        )
        return down @ field @ across.T + rise

    def _fit_ramp(self) -> None:
        """The ramp that the levels of the differences ask for, as far as they do so beyond doubt."""
        pairs = self.pairs
        shifts = -np.array([pair.shift for pair in pairs], np.float64)
        levels = np.array([pair.level for pair in pairs])
        weights, rest = np.ones(len(pairs)), levels
        reach, axes = np.linalg.eigh(shifts.T @ shifts / len(pairs))
        reach, along = np.sqrt(reach.clip(0)), shifts @ axes  # root mean square displacements along two directions
        ramp = np.zeros(2)
        known = reach > _LEAST_REACH
        for _ in range(10):
            weighted = (along[:, known] * weights[:, None]).T
            if known.any():
                ramp[known] = np.linalg.solve(weighted @ along[:, known], weighted @ levels)
            rest = levels - along @ ramp
            spread = 1.4826 * float(np.median(np.abs(rest))) + 1e-12
            weights = 1 / np.maximum(1, np.abs(rest) / (2 * spread))
        spread = 1.4826 * float(np.median(np.abs(rest)))
        # pairs share their key frames, and so their levels: the key frames count, not the pairs
        keys = max(len({pair.key for pair in pairs}), 1)
        systematic = _SYSTEMATIC * float(np.median([pair.spread for pair in pairs]))
        error = np.hypot(spread / np.sqrt(keys), systematic) / np.maximum(reach, _LEAST_REACH)
        ramp = np.where(np.abs(ramp) > 3 * error, ramp, 0)
        self.ramp = (float(axes[0] @ ramp), float(axes[1] @ ramp))
        self.ramp_unknown = float(3 * error.max() * max(self.use.shape)) if known.all() else np.inf

    def _solved(self, right: np.ndarray, pairs: list[Pair]) -> np.ndarray:
        places = [self._place(pair.shift) for pair in pairs]
        diagonal = np.zeros(self.grid)
        for place, weight, corner in places:
            diagonal[place] += weight
            _add_moved(diagonal, weight, place, corner)
        ridge = _RIDGE * float(diagonal.mean()) / 2 + 1e-9
        diagonal += ridge

        def operator(field: np.ndarray) -> np.ndarray:
            result = ridge * field
            for place, weight, corner in places:
                rest = (field[place] - _moved(field, place, corner)) * weight
                rest -= weight * (rest.sum() / max(weight.sum(), 1e-9))
                self._spread_out(result, rest, place, corner)
            return result

        field = conjugate_gradients(operator, right, lambda rest: rest / diagonal)
        counted = self.mask.sum()
        return field - (field * self.mask).sum() / counted if counted else field

    @staticmethod
    def _spread_out(result: np.ndarray, rest: np.ndarray, place: tuple[slice, slice], corner: Corner) -> None:
        result[place] += rest
        _add_moved(result, -rest, place, corner)

    def _place(self, shift: tuple[float, float]) -> tuple[tuple[slice, slice], np.ndarray, Corner]:
        """(the part of the grid that is seen twice, weights there, where to)."""
        where, corner = _seen_twice((shift[0] / _STEP, shift[1] / _STEP), self.grid)
        return where, self.mask[where] * (_moved(self.mask, where, corner) > 0.99), corner

    def _coarse(self, plane: np.ndarray) -> np.ndarray:
        height, width = self.grid
        return plane[: height * _STEP, : width * _STEP].reshape(height, _STEP, width, _STEP).mean((1, 3))


Corner = tuple[int, int, float, float]
"""A displacement on the grid: whole steps down and across, and the fractions beyond them."""


def _seen_twice(shift: tuple[float, float], size: tuple[int, ...]) -> tuple[tuple[slice, slice], Corner]:
    """(the part of a plane of this size that lies within it after a displacement too, where to)."""
    whole = [int(np.floor(step)) for step in shift]
    place = [
        slice(max(0, -step), max(min(side, side - step - 1), max(0, -step)))
        for step, side in zip(whole, size, strict=True)
    ]
    return (place[0], place[1]), (whole[0], whole[1], shift[0] - whole[0], shift[1] - whole[1])


def _corners(place: tuple[slice, slice], corner: Corner) -> list[tuple[tuple[slice, slice], float]]:
    down, across, below, right = corner
    return [
        (
            (
                slice(place[0].start + down + y, place[0].stop + down + y),
                slice(place[1].start + across + x, place[1].stop + across + x),
            ),
            (below if y else 1 - below) * (right if x else 1 - right),
        )
        for y in (0, 1)
        for x in (0, 1)
    ]


def _moved(field: np.ndarray, place: tuple[slice, slice], corner: Corner) -> np.ndarray:
    """A field at the displaced places, between its points by bilinear interpolation."""
    parts = [share * field[there] for there, share in _corners(place, corner)]
    return parts[0] + parts[1] + parts[2] + parts[3]


def _add_moved(result: np.ndarray, values: np.ndarray, place: tuple[slice, slice], corner: Corner) -> None:
    """The transpose of :func:`_moved`."""
    for there, share in _corners(place, corner):
        result[there] += share * values


def _interpolation(length: int, points: int) -> np.ndarray:
    """The matrix ``[length, points]`` that interpolates between the middles of the steps of a grid."""
    at = ((np.arange(length) + 0.5) / _STEP - 0.5).clip(0, points - 1)
    first = np.minimum(at.astype(int), max(points - 2, 0))
    matrix = np.zeros((length, points))
    matrix[np.arange(length), first] = 1 - (at - first)
    matrix[np.arange(length), np.minimum(first + 1, points - 1)] += at - first
    return matrix
