"""Planes that are read one at a time, so that memory does not grow with their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Frames:
    """N planes of one size, read one at a time; an array ``[N, H, W]`` serves in its place.

    Args:
        read: from an index, 0 to N - 1, to its plane ``[H, W]``. Raises ValueError or OSError for a damaged one.
        shape: ``(N, H, W)``.
        dtype: of the planes.
        rows: from (index, first row, row after the last) to these rows of a plane, where that costs less than reading
            the whole plane; None: it does not.
    """

    ndim = 3

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        shape: tuple[int, int, int],
        dtype: np.dtype | type,
        rows: Callable[[int, int, int], np.ndarray] | None = None,
    ) -> None:
        self._read = read
        self._rows = rows
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._last: tuple[int, np.ndarray] | None = None  # counts and their mask are often asked for in turn

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        """One plane ``[H, W]``; not to be written to."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"plane {index} of {len(self)}")
        index %= len(self)
        if self._last is None or self._last[0] != index:
            self._last = None  # so that two planes are never held at once
            self._last = index, self._read(index)
        return self._last[1]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def rows(self, index: int, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (not included) of a plane, ``[stop - start, W]``."""
        if self._rows is None:
            return self[index][start:stop]
        return self._rows(index, start, stop)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All planes, ``[N, H, W]``."""
        if copy is False:
            raise ValueError("planes that are read one at a time have no array to share; ask for a copy")
        array = np.empty(self.shape, self.dtype)
        for index in range(len(self)):
            array[index] = self._read(index)
        return array if dtype is None else array.astype(dtype, copy=False)


_BAND = 1 << 24  # values that are looked at at once

Planes = np.ndarray | Frames
"""``[N, H, W]``, in memory or read one at a time."""


def derived(planes: Planes, change: Callable[[np.ndarray], np.ndarray], dtype: np.dtype | type | None = None) -> Frames:
    """Planes of the same number made from others, each when it is read.

    Args:
        planes: the planes they are made from.
        change: from a plane ``[H, W]`` to the new one; a function of single planes, of any size that it keeps.
        dtype: of the new planes; None: that of the old ones.
    """
    first = change(planes[0])
    shape = (len(planes), *first.shape)
    return Frames(lambda index: change(planes[index]), shape, planes.dtype if dtype is None else dtype)


def rows_of(planes: Planes, index: int, start: int, stop: int) -> np.ndarray:
    """Some rows of one plane, ``[stop - start, W]``."""
    return planes.rows(index, start, stop) if isinstance(planes, Frames) else planes[index, start:stop]


def row_bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of bands that fit into memory, from top to bottom; a usual plane is one band."""
    step = max(1, _BAND // width)
    return ((top, min(height, top + step)) for top in range(0, height, step))


def repeated(plane: np.ndarray, factor: int) -> np.ndarray:
    """A plane ``[H, W]`` as ``[factor·H, factor·W]``, each pixel repeated: masks have no values between theirs."""
    return plane if factor == 1 else plane.repeat(factor, 0).repeat(factor, 1)


def repeated_rows(planes: Planes, index: int, start: int, stop: int, factor: int) -> np.ndarray:
    """Rows ``start`` to ``stop`` (not included) of one plane after :func:`repeated`, of which no others are read."""
    first = start // factor
    rows = repeated(rows_of(planes, index, first, -(-stop // factor)), factor)
    return rows[start - first * factor :][: stop - start]


def within(mask: np.ndarray, valid: Planes | None, pages: int) -> Frames:
    """The same mask ``[H, W]`` for all pages, and of each page what ``valid`` leaves of it.

    Args:
        mask: bool.
        valid: ``[N, H, W]`` bool, or None for all.
        pages: their number.
    """

    def rows(index: int, start: int, stop: int) -> np.ndarray:
        part = mask[start:stop]
        return part if valid is None else part & rows_of(valid, index, start, stop)

    return Frames(lambda index: rows(index, 0, len(mask)), (pages, *mask.shape), bool, rows)
