"""Frames of one camera on their way into a calibration: checked, completed, and some of them kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_KEPT = 32  # frames that are kept as samples, at most


class Completed:
    """The frames of a sequence, checked, with whatever does not count replaced by the nearest pixel that does.

    May be iterated repeatedly.

    Args:
        frames: ``[H, W]`` numbers, NaN where a pixel is no scene; to be iterated once for each pass.
        bad: ``[H, W]`` bool, pixels that do not count in any frame; None: all do.

    Raises:
        TypeError: an iterator, which gives its frames only once.
    """

    def __init__(self, frames: Iterable[np.ndarray], bad: np.ndarray | None = None) -> None:
        if iter(frames) is frames:
            raise TypeError("frames are read several times: give a sequence of them, not an iterator")
        self._frames, self._bad = frames, bad
        self._mask: np.ndarray | None = None
        self._nearest: np.ndarray | None = None
        self.blank = 0

    def without(self, bad: np.ndarray) -> Completed:
        """The same frames without some pixels, ``[H, W]`` bool."""
        return Completed(self._frames, bad)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """(frame ``[H, W]`` float32 or float64, finite; ``[H, W]`` bool, the pixels that count, None: all).

        Frames of a single value, as while a shutter is closed, are passed over and counted in ``blank``.

        Raises:
            ValueError: a frame that is no plane of numbers or has another size than the first.
        """
        shape, self.blank = None, 0
        for number, given in enumerate(self._frames, 1):
            frame = np.asarray(given)
            if frame.ndim != 2 or frame.dtype.kind not in "uif" or min(frame.shape) < 16:
                raise ValueError(
                    f"frame {number} is {frame.dtype} {list(frame.shape)}; expected numbers [H, W] of at least 16x16"
                )
            if shape is not None and frame.shape != shape:
                own, other = (f"{size[1]}x{size[0]}" for size in (shape, frame.shape))
                raise ValueError(
                    f"frame {number} is {other} and the first {own}: give frames of one sensor, all of one size"
                )
            shape = frame.shape
            good = np.isfinite(frame) if frame.dtype.kind == "f" else np.ones(shape, bool)
            if not good.any():
                raise ValueError(f"frame {number} has no finite number; leave it out")
            low, high = frame[good].min(), frame[good].max()
            if low == high:
                self.blank += 1
                continue
            values = frame.astype(np.float32 if frame.dtype.itemsize <= 2 else np.float64)
            if self._bad is not None and not self._bad.all():
                good &= ~self._bad
            yield (values, None) if good.all() else (self._complete(values, good), good)

    def _complete(self, values: np.ndarray, good: np.ndarray) -> np.ndarray:
        if self._mask is None or self._nearest is None or not np.array_equal(good, self._mask):  # mostly the same
            self._mask = good
            self._nearest = np.asarray(distance_transform_edt(~good, return_distances=False, return_indices=True))
        return values[self._nearest[0], self._nearest[1]]


class Samples:
    """Some frames of a sequence of unknown length, spread evenly over it.

    Attributes:
        frames: those kept so far, ``[H, W]`` each.
    """

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self._every, self._count = 1, 0

    def add(self, frame: np.ndarray) -> None:
        """Add the next frame."""
        if self._count % self._every == 0:
            if len(self.frames) == _KEPT:
                self.frames, self._every = self.frames[::2], 2 * self._every
            if self._count % self._every == 0:
                self.frames.append(frame)
        self._count += 1
