"""Frames of one flight brought to one level: offsets that drift between shutter events are found and taken off.

The sensor of an uncooled camera warms and cools in the wind, and its level drifts with it until the shutter closes for
a moment and the camera corrects itself: neighbouring frames of a flight differ by kelvins in a sawtooth. They show the
same ground, at different places of the sensor. So where they overlap

    first - second = offset of the first - offset of the second + field here - field there

with one smooth field of the sensor (lens and housing), the same for all frames. All these equations are solved together
by least squares with reduced weights for what does not fit. Three things they do not say, and other knowledge does:

- The common level. After a shutter event the camera is right; where two or more events are seen as jumps, their frames
  are held at 0. Otherwise the mean of all frames stays.
- A slope of the field and offsets that grow with the way flown look the same. Events decide; else the offsets that are
  least are taken, so that what grows steadily along the way stays in the frames.
- Parts of a flight without overlap between them are tied by the levels of their frames, with the little weight that
  suits how much the level of the ground was seen to change. A frame that overlaps with no other is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import median_filter

from .flight_equations import FIELD, Equations, Pair, Solution, pair_of
from .overlaps import Overlap, SmallFrame, confirmed, small_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Anchor = Literal["events", "mean", "none"]
"""What stays as it is: the frames after shutter events, the mean of all frames, or every frame."""

FEWEST = 3
"""Frames that a flight needs."""

_REACH = 3  # frames are compared with so many that follow
_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution
_LINKED = 0.5  # share of the frames that must overlap with another
_AROUND = 7  # steps whose median is the drift there
_JUMP = 6.0  # a jump, in standard deviations of the other steps
_LEAST_JUMP = 0.25  # in parts of the largest one: turns of the way show the slope of the field as small jumps
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
        kept = (
            "frames after shutter events stay"
            if self.anchor == "events"
            else "the mean of all frames, and what changes steadily along their way, stays"
        )
        text = f"offsets of {low:.3g} to {high:.3g} {unit} taken off {int((~self.left).sum())} of "
        text += f"{len(self.offsets)} frames, ±{scale * float(np.median(self.uncertainty[~self.left])):.2g} {unit}; "
        text += f"{kept}{f' ({len(self.events)})' if self.events else ''}"
        return f"{text}; {self.reason}" if self.reason else text


def level_flight(frames: Iterable[np.ndarray | SmallFrame], times: Sequence[float] | None = None) -> Levelling:
    """Find the offsets of the frames of one flight.

    Args:
        frames: in the order in which they were taken, each ``[H, W]`` in counts, kelvin or grey levels; or what
            :func:`~hidra_core.sensor.overlaps.small_frame` makes of one. They are read one after the other, and only
            small copies are kept.
        times: when they were taken, in seconds; None: at even intervals.

    Raises:
        ValueError: fewer than three frames, frames of different sizes, or times that are not as many or do not rise.
    """
    small: list[SmallFrame] = []
    pairs: list[Pair] = []
    for index, frame in enumerate(frames):
        small.append(frame if isinstance(frame, SmallFrame) else small_frame(frame))
        if small[0].size != small[-1].size:
            raise ValueError(
                f"frame {index + 1} is {_in_words(small[-1].size)}, and those before are {_in_words(small[0].size)}: "
                "frames of one flight have one size; level those of each camera separately"
            )
        for first in range(max(0, index - _REACH), index):
            pairs += pair_of(small, first, index)
    if len(small) < FEWEST:
        raise ValueError(f"a flight of {len(small)} frames cannot be levelled: at least {FEWEST} are needed")
    clock = _clock(times, len(small))
    sure = confirmed([pair.overlap for pair in pairs], small[0].size)
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


class _Flight:
    """What is known of a flight, and what follows from it."""

    def __init__(self, small: list[SmallFrame], pairs: list[Pair], clock: np.ndarray) -> None:
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
        first = self._solve(spread, ())
        dropped = int((~first.agreeing).sum())
        self.pairs = [pair for pair, is_kept in zip(self.pairs, first.agreeing, strict=True) if is_kept]
        if dropped > len(self.pairs):
            return self.untouched("most parts of the ground that neighbours share have changed from one to the next")
        offsets = self._solve(self._spread(first.offsets), ()).offsets
        events = self._events(offsets)
        hovers = self._hovers()
        if hovers and not events:
            return self.untouched(
                "the camera stood still and no shutter event is seen, so that drift cannot be told from a change of "
                "the ground"
            )
        spread = self._spread(offsets)
        solution = self._solve(spread, events)
        offsets, uncertainty = solution.offsets, solution.deviations
        noise = float(np.median([pair.scatter for pair in self.pairs])) * (self.count / 6) ** 0.5
        if np.std(offsets) < 2 * noise / len(self.pairs[0].differences) ** 0.5:
            return self.untouched("their levels agree as well as can be told")
        left = ~self.linked
        if not events:
            offsets = offsets - offsets[self.linked].mean()
        doubts = []
        if hovers:
            doubts.append("the camera stood still: a change of the ground between shutter events is taken for drift")
        if left.any():
            doubts.append(f"{int(left.sum())} that show no ground of a neighbour are left as they are")
        overlaps = tuple(pair.overlap for pair in self.pairs)
        anchor: Anchor = "events" if events else "mean"
        offsets, uncertainty = np.where(left, 0.0, offsets), np.where(left, np.nan, uncertainty)
        return Levelling(offsets, uncertainty, left, overlaps, events, anchor, "; ".join(doubts))

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
        excess = np.abs(
            sizes - median_filter(sizes, _AROUND, mode="mirror")
        )  # drift may turn in the course of a flight
        usual = max(_NORMAL * float(np.median(excess)), self.floor)
        least = max(_JUMP * usual, _LEAST_JUMP * float(excess.max()))
        after = [step[1] for step, size in zip(steps, excess, strict=True) if size > least]
        if len(after) < 2:
            return ()
        # the overlaps are stiff: frames after events that are not of one level stay apart although they are held
        held = self._solve(self._spread(offsets), tuple(after)).offsets
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

    def _solve(self, spread: float, events: tuple[int, ...]) -> Solution:
        """Solve all equations.

        Args:
            spread: the usual size of an offset.
            events: frames after shutter events.
        """
        equations = Equations(self.count, self.pairs)
        self._add_knowledge(equations, spread, events)
        return equations.solve(self.floor)

    def _add_knowledge(self, equations: Equations, spread: float, events: tuple[int, ...]) -> None:
        """What the overlaps do not say: see the docstring of the module."""
        # events hold the offsets at 0 where that is right, so that they may be larger elsewhere
        for index in range(self.count):
            equations.add({index: 1.0}, 0.0, spread * (2 if events else 1))
        for index, size in enumerate(FIELD, self.count):
            equations.add({index: 1.0}, 0.0, size * spread)
        seen = {(pair.overlap.first, pair.overlap.second) for pair in self.pairs}
        changes = [
            self.levels[pair.overlap.first] - self.levels[pair.overlap.second] - float(np.median(pair.differences))
            for pair in self.pairs
            if pair.overlap.second == pair.overlap.first + 1
        ]
        ground = 2 * _NORMAL * float(np.median(np.abs(changes))) if changes else spread
        for before, after in pairwise(np.flatnonzero(self.linked).tolist()):
            if (before, after) not in seen:
                change = self.levels[before] - self.levels[after]
                equations.add({before: 1.0, after: -1.0}, float(change), max(ground, spread))
        if events:
            drift = float(np.median([abs(self.levels[b] - self.levels[a]) for a, b in self._steps()]))
            sigma = max(0.05 * spread, min(drift / 4, 0.2 * spread))
            for index in events:
                equations.add({index: 1.0}, 0.0, sigma)
