"""Planes of counts that are read one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Frames:
    """N planes of one size, read one at a time; an array ``[N, H, W]`` serves in its place.

    Attributes:
        shape: (N, H, W).
        dtype: type of the counts.
        ndim: 3, as of such an array.
    """

    ndim = 3

    def __init__(self, read: Callable[[int], np.ndarray], shape: tuple[int, int, int], dtype: np.dtype) -> None:
        """Declare planes; none is read.

        Args:
            read: gives plane 0 … N − 1 as ``[H, W]``.
            shape: (N, H, W).
            dtype: type of the counts.
        """
        self._read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        """Read one plane, ``[H, W]``; negative numbers count from the end.

        Raises:
            IndexError: there is no such plane.
        """
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"plane {index} of {len(self)}")
        return self._read(number)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(index) for index in range(len(self)))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """All planes in memory, ``[N, H, W]``."""
        if copy is False:
            raise ValueError("planes that are read from a file have no array to share; ask for a copy")
        array = np.empty(self.shape, self.dtype)
        for index, plane in enumerate(self):
            array[index] = plane
        return array if dtype is None else array.astype(dtype, copy=False)
