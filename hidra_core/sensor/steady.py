"""What neighbouring frames of a sequence agree on, so that the stage does not flicker.

The pattern of a sensor stays for seconds, until the shutter closes; what is found in single frames scatters with their
noise and scene. The median over the frames around keeps what most of them show, and a step from one pattern to the
next, as after the shutter, where it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .frame import SensorCorrection
    from .stage import Undone

REACH = 8
"""Frames before and after one whose corrections count for it."""


def steady(frames: Iterable[Undone | None], reach: int = REACH) -> Iterator[Undone | None]:
    """Give every frame of a sequence the correction that the frames around it agree on.

    Args:
        frames: frames of one size in order of time, each with its own correction; None for one that is no scene, as
            while the shutter is closed.
        reach: number of frames before and after that count; as many are in memory at once.

    Yields:
        The same frames in the same order.
    """
    past: deque[SensorCorrection | None] = deque(maxlen=reach)
    ahead: deque[Undone | None] = deque()

    def taken() -> Undone | None:
        own = ahead.popleft()
        if own is None:
            past.append(None)
            return None
        coming = (other and other.frame for other in ahead)
        around = [other for other in (*past, own.frame, *coming) if other is not None]
        past.append(own.frame)
        return own.with_frame(agreed(own.frame, around))

    for frame in frames:
        ahead.append(frame)
        if len(ahead) > reach:
            yield taken()
    while ahead:
        yield taken()


def agreed(own: SensorCorrection, around: list[SensorCorrection]) -> SensorCorrection:
    """The correction of a frame from those of the frames around it, its own among them.

    Offsets and gains of columns and rows are medians, the offsets at the pivot of this frame. Shading is the mean: it
    is smooth, and a median of so many fields would take longer than the stage. A pixel that is dead in most of the
    frames is dead in this one; one that blinks in this frame alone is, too.
    """
    if all(other.is_empty for other in around):
        return own
    dead = own.dead
    if any(other.dead.any() for other in around):
        dead = dead | (2 * np.sum([other.dead for other in around], axis=0) > len(around))
    return replace(
        own,
        dead=dead,
        columns=np.median([at_pivot(own.pivot, other.columns, other.column_gains, other) for other in around], axis=0),
        rows=np.median([at_pivot(own.pivot, other.rows, other.row_gains, other) for other in around], axis=0),
        column_gains=_median_gain([other.column_gains for other in around]),
        row_gains=_median_gain([other.row_gains for other in around]),
        shading=_mean([other.shading for other in around]),
    )


def at_pivot(pivot: float, offsets: np.ndarray, gains: np.ndarray | None, correction: SensorCorrection) -> np.ndarray:
    """Offsets at the pivot of a correction, with their gains, as they are at another pivot."""
    return offsets if gains is None else offsets + (gains - 1) * (pivot - correction.pivot)


def _median_gain(gains: list[np.ndarray | None]) -> np.ndarray | None:
    known = [gain for gain in gains if gain is not None]
    if 2 * len(known) <= len(gains):
        return None
    return np.median([*known, *[np.ones_like(known[0])] * (len(gains) - len(known))], axis=0)


def _mean(fields: list[np.ndarray | None]) -> np.ndarray | None:
    known = [field for field in fields if field is not None]
    return np.sum(known, axis=0) / len(fields) if known else None
