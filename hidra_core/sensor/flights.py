"""Frames of one flight brought to one level: offsets that drift between shutter events are found and taken off.

The sensor of an uncooled camera warms and cools in the wind, and its level drifts with it until the shutter closes for
a moment and the camera corrects itself: neighbouring frames of a flight differ by kelvins in a sawtooth. Neighbours show
the same ground, at different places of the sensor. So where they overlap

    first - second = offset of the first - offset of the second + field here - field there

with one smooth field of the sensor (lens and housing), the same for all frames. All these equations are solved together
by least squares with reduced weights for what does not fit. Three things they do not say, and other knowledge does:

- The common level. After a shutter event the camera is right; where two or more events are seen as jumps, their frames
  are held at 0. Otherwise the mean of all frames stays.
- A slope of the field and offsets that grow with the way flown look the same. Events decide; else the offsets that are
  least are taken, so that what grows steadily along the way stays in the frames.
- Frames without overlap are tied to their neighbours by their own levels, with the weight that suits how much the level
  of the ground was seen to change from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csc_matrix, diags
from scipy.sparse.linalg import splu

from .overlaps import Overlap, SmallFrame, confirmed, differences, find_overlap, small_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Anchor = Literal["events", "mean", "none"]
"""What stays as it is: the frames after shutter events, the mean of all frames, or every frame."""

FEWEST = 3
"""Frames that a flight needs."""

_REACH = 3  # frames are compared with so many that follow
_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution
_ROUNDS = 8  # of reducing the weight of what does not fit
_TUNING = 2.0  # residuals, in standard deviations, from which the weight falls (Cauchy)
_AGREEING = 0.5  # share of the parts of an overlap that must fit its offset
_TOGETHER = 4.0  # parts of an overlap whose errors go together, as they share one shift
_FIELD = (2.0, 2.0, 0.5, 0.5, 0.5, 0.5)  # likely sizes of slopes and bends of the field, in those of the offsets
_LINKED = 0.5  # share of the frames that must overlap with another
_JUMP = 6.0  # a jump, in standard deviations of the other steps
_HOVER = 0.1  # way between the outermost frames, in parts of a frame, below which the camera stood still
_PAUSE = 5.0  # a step in time, in multiples of the usual one, over which neighbours are no neighbours


@dataclass(frozen=True, eq=False)
class Levelling:
    """The offsets of the frames of a flight, in their unit; ``frame - offset`` is the levelled frame.

    Attributes:
        offsets: ``[N]``, what is to be taken off; 0 for frames that are left as they are.
        uncertainty: ``[N]``, standard deviations of the offsets against the anchor; NaN where nothing is known.
        left: ``[N]`` bool, frames that are left as they are because no overlap says more.
        overlaps: the pairs of frames that were used.
        events: indices of the frames right after a shutter event.
        anchor: what stays as it is.
        reason: why all frames are left as they are, or a doubt, in words; empty if there is none.
    """

    offsets: np.ndarray
    uncertainty: np.ndarray
    left: np.ndarray
    overlaps: tuple[Overlap, ...]
    events: tuple[int, ...]
    anchor: Anchor
    reason: str = ""

    def summary(self, unit: str = "counts", scale: float = 1.0) -> str:
        """One line for a human.

        Args:
            unit: what ``scale`` gives.
            scale: size of one unit of the frames in it.
        """
        if self.anchor == "none":
            return f"{len(self.offsets)} frames are left as they are: {self.reason}"
        low, high = scale * self.offsets.min(), scale * self.offsets.max()
        kept = "frames after shutter events stay" if self.anchor == "events" else "the mean of all frames, and what changes steadily along their way, stays"
        text = f"offsets of {low:.3g} to {high:.3g} {unit} taken off {int((~self.left).sum())} of "
        text += f"{len(self.offsets)} frames, ±{scale * float(np.median(self.uncertainty[~self.left])):.2g} {unit}; "
        text += f"{kept}{f' ({len(self.events)})' if self.events else ''}"
        return f"{text}; {self.reason}" if self.reason else text


def level_flight(
    frames: Iterable[np.ndarray | tuple[np.ndarray, np.ndarray | None]], times: Sequence[float] | None = None
) -> Levelling:
    """Find the offsets of the frames of one flight.

    Args:
        frames: in the order in which they were taken, each ``[H, W]`` in counts, kelvin or grey levels, or (frame,
            bool mask of the scene or None). They are read one after the other, and only small copies are kept.
        times: when they were taken, in seconds; None: at even intervals.

    Raises:
        ValueError: fewer than three frames, frames of different sizes, or times that are not as many or do not rise.
    """
    small: list[SmallFrame] = []
    pairs: list[_Pair] = []
    size: tuple[int, ...] | None = None
    for index, entry in enumerate(frames):
        frame, valid = entry if isinstance(entry, tuple) else (entry, None)
        size = size or frame.shape
        if frame.shape != size:
            raise ValueError(
                f"frame {index + 1} is {_in_words(frame.shape)}, and those before are {_in_words(size)}: frames of one "
                "flight have one size; level those of each camera separately"
            )
        small.append(small_frame(frame, valid))
        for first in range(max(0, index - _REACH), index):
            pairs += _pair(small, first, index)
    if len(small) < FEWEST:
        raise ValueError(f"a flight of {len(small)} frames cannot be levelled: at least {FEWEST} are needed")
    clock = _clock(times, len(small))
    assert size is not None
    sure = confirmed([pair.overlap for pair in pairs], size)
    pairs = [pair for pair in pairs if (pair.overlap.first, pair.overlap.second) in sure]
    flight = _Flight(small, pairs, clock)
    if flight.linked.mean() < _LINKED:
        return flight.untouched(
            f"{int(flight.linked.sum())} of {len(small)} show ground that a neighbour shows too, so that drift cannot "
            "be told from the ground"
        )
    return flight.levelled()


def _in_words(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in reversed(shape))


def _clock(times: Sequence[float] | None, count: int) -> np.ndarray:
    if times is None:
        return np.arange(count, dtype=np.float64)
    clock = np.asarray(times, dtype=np.float64)
    if clock.shape != (count,) or not np.isfinite(clock).all() or (np.diff(clock) < 0).any() or not np.ptp(clock):
        raise ValueError(
            f"times must be {count} rising numbers, one for each frame; give None where they are not known"
        )
    return clock


@dataclass(frozen=True, eq=False)
class _Pair:
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


def _pair(small: list[SmallFrame], first: int, second: int) -> list[_Pair]:
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
    return [_Pair(overlap, found, fields, _NORMAL * float(np.median(np.abs(rest))))]


class _Flight:
    """The equations of a flight and their solution."""

    def __init__(self, small: list[SmallFrame], pairs: list[_Pair], clock: np.ndarray) -> None:
        self.count = len(small)
        self.pairs = pairs
        self.clock = clock
        self.levels = np.array([np.median(frame.level[frame.valid]) for frame in small])
        self.shape = small[0].level.shape
        self.factor = small[0].factor
        quiet = float(np.median([pair.scatter for pair in pairs])) if pairs else 0.0
        self.floor = max(0.25 * quiet, 1e-9 * (1 + float(np.abs(self.levels).max())))

    @property
    def linked(self) -> np.ndarray:
        """Which frames overlap with another, ``[N]`` bool."""
        linked = np.zeros(self.count, bool)
        for pair in self.pairs:
            linked[[pair.overlap.first, pair.overlap.second]] = True
        return linked

    def untouched(self, reason: str) -> Levelling:
        """Every frame as it is."""
        unknown = np.full(self.count, np.nan)
        everything = np.ones(self.count, bool)
        overlaps = tuple(pair.overlap for pair in self.pairs)
        return Levelling(np.zeros(self.count), unknown, everything, overlaps, (), "none", reason)

    def levelled(self) -> Levelling:
        """Solve twice: without events, to see them, and with them."""
        spread = 10 * (float(np.std(self.levels)) + self.floor)
        offsets, _, agreeing = self._solve(spread, ())
        dropped = len(self.pairs) - int(agreeing.sum())
        self.pairs = [pair for pair, is_kept in zip(self.pairs, agreeing, strict=True) if is_kept]
        if dropped > len(self.pairs):
            return self.untouched("most parts of the ground that neighbours share have changed from one to the next")
        spread = self._spread(offsets)
        offsets, _, _ = self._solve(spread, ())
        events = self._events(offsets)
        hovers = self._hovers()
        if hovers and not events:
            return self.untouched(
                "the camera stood still and no shutter event is seen, so that drift cannot be told from a change of "
                "the ground"
            )
        spread = self._spread(offsets)
        offsets, uncertainty, _ = self._solve(spread, events)
        noise = float(np.median([pair.scatter for pair in self.pairs])) * (self.count / 6) ** 0.5
        if np.std(offsets) < 2 * noise / len(self.pairs[0].differences) ** 0.5:
            return self.untouched("their levels agree as well as can be told")
        left = ~self.linked & (uncertainty > 0.7 * spread)
        if not events:
            offsets = offsets - offsets[self.linked].mean()
        doubts = []
        if hovers:
            doubts.append("the camera stood still: a change of the ground between shutter events is taken for drift")
        if left.any():
            doubts.append(f"{int(left.sum())} frames without overlap are left as they are")
        overlaps = tuple(pair.overlap for pair in self.pairs)
        anchor: Anchor = "events" if events else "mean"
        return Levelling(
            np.where(left, 0.0, offsets), uncertainty, left, overlaps, events, anchor, "; ".join(doubts)
        )

    def _spread(self, offsets: np.ndarray) -> float:
        """The usual size of an offset: larger where offsets of neighbours are alike, so that few are independent."""
        around = offsets - offsets.mean()
        power = float((around**2).sum())
        alike = float((around[1:] * around[:-1]).sum()) / power if power else 0.0
        together = min(1 / (1 - min(max(alike, 0.0), 0.99)), max(1.0, self.count / 4))
        return max(float(np.std(offsets)) * together**0.5, self.floor)

    def _steps(self) -> list[tuple[int, int]]:
        """Neighbours with an overlap and no pause between them."""
        usual = float(np.median(np.diff(self.clock)))
        linked = {(pair.overlap.first, pair.overlap.second) for pair in self.pairs}
        return [
            step
            for step in pairwise(range(self.count))
            if step in linked and self.clock[step[1]] - self.clock[step[0]] <= _PAUSE * max(usual, 1e-9)
        ]

    def _events(self, offsets: np.ndarray) -> tuple[int, ...]:
        """Frames after shutter events: jumps to one common level; empty where there are none beyond doubt."""
        steps = self._steps()
        if len(steps) < FEWEST:
            return ()
        sizes = np.array([offsets[after] - offsets[before] for before, after in steps])
        middle = float(np.median(sizes))
        usual = max(_NORMAL * float(np.median(np.abs(sizes - middle))), self.floor)
        after = [step[1] for step, size in zip(steps, sizes, strict=True) if abs(size - middle) > _JUMP * usual]
        if len(after) < 2:
            return ()
        held, *_ = self._solve(self._spread(offsets), tuple(after), weak=True)
        misses = np.std(held[after])
        return tuple(after) if misses < 0.5 * np.std(held) else ()

    def _hovers(self) -> bool:
        """Whether the way of the camera stays within a small part of a frame."""
        place = np.zeros((self.count, 2))
        way = {(pair.overlap.first, pair.overlap.second): pair.overlap for pair in self.pairs}
        for before, after in pairwise(range(self.count)):
            overlap = way.get((before, after))
            place[after] = place[before]
            if overlap is not None:
                place[after] += np.array([overlap.down, overlap.across]) / self.factor / self.shape
        return bool(way) and bool(np.ptp(place, 0).max() < _HOVER)

    def _solve(
        self, spread: float, events: tuple[int, ...], *, weak: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Least squares with reduced weights.

        Args:
            spread: the usual size of an offset.
            events: frames after shutter events.
            weak: hold these only as strongly as shows whether they agree.

        Returns:
            (offsets ``[N]``; their standard deviations ``[N]``; bool per pair, whether most of its parts agree)
        """
        rows = _Rows(self.count)
        for pair in self.pairs:
            rows.add_pair(pair)
        seen = rows.length
        self._add_knowledge(rows, spread, events, weak)
        matrix, target = rows.matrix(), np.concatenate(rows.targets)
        sigma = np.concatenate(rows.sigmas)
        sigma[:seen] = np.maximum(sigma[:seen], self.floor)
        weights = np.ones(rows.length)
        solution, normal = np.zeros(matrix.shape[1]), None
        for _ in range(_ROUNDS):
            scaled = diags(weights / sigma**2) @ matrix
            normal = splu(csc_matrix(matrix.T @ scaled))
            solution = normal.solve(scaled.T @ target)
            rest = np.abs(target - matrix @ solution)[:seen]
            sigma[:seen] = np.maximum(_scatter(rest, rows.owner), self.floor)
            weights[:seen] = 1 / (1 + (rest / (_TUNING * sigma[:seen])) ** 2) / _TOGETHER
        assert normal is not None
        agreeing = self._agreeing(np.abs(target - matrix @ solution)[:seen], rows.owner)
        return solution[: self.count], _deviations(normal, self.count), agreeing

    def _agreeing(self, rest: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Which pairs have parts that mostly fit within what is usual for all."""
        limit = 3 * max(_NORMAL * float(np.median(rest)), self.floor)
        fits = np.bincount(owner, rest <= limit, len(self.pairs)) / np.bincount(owner, minlength=len(self.pairs))
        return fits >= _AGREEING

    def _add_knowledge(self, rows: _Rows, spread: float, events: tuple[int, ...], weak: bool) -> None:
        """What the overlaps do not say: see the docstring of the module."""
        for index in range(self.count):
            rows.add({index: 1.0}, 0.0, spread * (2 if events else 1))
        for index, size in enumerate(_FIELD, self.count):
            rows.add({index: 1.0}, 0.0, size * spread)
        linked = {(pair.overlap.first, pair.overlap.second) for pair in self.pairs}
        changes = [
            self.levels[pair.overlap.first] - self.levels[pair.overlap.second] - float(np.median(pair.differences))
            for pair in self.pairs
            if pair.overlap.second == pair.overlap.first + 1
        ]
        ground = 2 * _NORMAL * float(np.median(np.abs(changes))) if changes else spread
        for before, after in pairwise(range(self.count)):
            if (before, after) not in linked:
                rows.add({before: 1.0, after: -1.0}, self.levels[before] - self.levels[after], max(ground, spread / 2))
        if events:
            drift = float(np.median([abs(self.levels[b] - self.levels[a]) for a, b in self._steps()]))
            sigma = spread if weak else max(0.05 * spread, min(drift / 4, 0.2 * spread))
            for index in events:
                rows.add({index: 1.0}, 0.0, sigma)


class _Rows:
    """Equations that are collected one by one; the unknowns are offsets, then coefficients of the field."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.length = 0
        self.targets: list[np.ndarray] = []
        self.sigmas: list[np.ndarray] = []
        self._owners: list[np.ndarray] = []
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def owner(self) -> np.ndarray:
        """The pair that each equation of an overlap belongs to."""
        return np.concatenate(self._owners)

    def add_pair(self, pair: _Pair) -> None:
        """The equations of an overlap."""
        number = len(pair.differences)
        lines = np.arange(self.length, self.length + number)
        for column, value in ((pair.overlap.first, 1.0), (pair.overlap.second, -1.0)):
            self._entries.append((lines, np.full(number, column), np.full(number, value)))
        for index in range(len(_FIELD)):
            self._entries.append((lines, np.full(number, self.count + index), pair.fields[:, index]))
        self._owners.append(np.full(number, len(self._owners)))
        self._end(pair.differences, np.full(number, pair.scatter))

    def add(self, entries: dict[int, float], target: float, sigma: float) -> None:
        """One equation: coefficients by unknown, right side and standard deviation."""
        lines = np.full(len(entries), self.length)
        self._entries.append((lines, np.array([*entries]), np.array([*entries.values()])))
        self._end(np.array([target]), np.array([sigma]))

    def _end(self, targets: np.ndarray, sigmas: np.ndarray) -> None:
        self.targets.append(targets)
        self.sigmas.append(sigmas)
        self.length += len(targets)

    def matrix(self) -> csc_matrix:
        """All equations, ``[length, unknowns]``."""
        lines, columns, values = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        return csc_matrix((values, (lines, columns)), shape=(self.length, self.count + len(_FIELD)))


def _scatter(rest: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The standard deviation of each equation: half that of its own overlap, half that of all."""
    order = np.argsort(owner, kind="stable")
    parts = np.split(rest[order], np.cumsum(np.bincount(owner))[:-1])
    own = np.array([np.median(part) for part in parts])
    return _NORMAL * (0.5 * own[owner] + 0.5 * float(np.median(rest)))


def _deviations(normal: object, count: int) -> np.ndarray:
    """Standard deviations of the first unknowns, from the factors of the normal equations."""
    solve = normal.solve  # type: ignore[attr-defined]
    size = normal.shape[0]  # type: ignore[attr-defined]
    variance = np.empty(count)
    for start in range(0, count, 256):
        some = np.arange(start, min(count, start + 256))
        unit = np.zeros((size, len(some)))
        unit[some, np.arange(len(some))] = 1
        variance[some] = solve(unit)[some, np.arange(len(some))]
    return np.sqrt(variance.clip(min=0))
