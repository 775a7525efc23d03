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

    Offsets of columns and rows are medians. Fields are means: they are smooth, and a median of so many would take
    longer than the stage. A pixel that is dead in most of the frames is dead in this one; one that blinks in this frame
    alone is, too.
    """
    if all(other.is_empty for other in around):
        return own
    dead = own.dead
    if any(other.dead.any() for other in around):
        dead = dead | (2 * np.sum([other.dead for other in around], axis=0) > len(around))
    return replace(
        own,
        dead=dead,
        columns=np.median([other.columns for other in around], axis=0),
        rows=np.median([other.rows for other in around], axis=0),
        gain=_mean([other.gain for other in around], 1.0),
        shading=_mean([other.shading for other in around], 0.0),
    )


def _mean(fields: list[np.ndarray | None], neutral: float) -> np.ndarray | None:
    known = [field for field in fields if field is not None]
    if not known:
        return None
    return (np.sum(known, axis=0) + neutral * (len(fields) - len(known))) / len(fields)
