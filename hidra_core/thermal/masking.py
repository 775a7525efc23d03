"""Pixels that are no part of the scene: where they lie, and what stands in their place while a page is enhanced.

No data, telemetry, alpha and blank borders become one mask. What follows sees only the smallest rectangle that holds
all of the scene; within it masked pixels are filled smoothly from their neighbours, so that nothing of their own values
reaches the range, the networks or a filter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .counts import LinearKelvin
from .frames import Frames, repeated, row_bands, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .counts import ThermalImage

_ABSOLUTE_ZERO, _COLDEST = 0.01, -273.14  # kelvin, °C; with room for -273.15 °C in 32 bits
_HUGE = 1e30  # beyond all measured values, below the marks 1e36 and 3.4e38 for missing data


@dataclass(frozen=True, eq=False)
class Scene:
    """The part of an image's pages that is scene.

    Args:
        image: the counts.

    Attributes:
        rows: the rows of the smallest rectangle that holds all of the scene.
        columns: its columns.
    """

    image: ThermalImage
    rows: slice
    columns: slice

    @classmethod
    def of(cls, image: ThermalImage) -> Scene:
        """Find the rectangle; reads all masks.

        Raises:
            ValueError: no pixel of a page belongs to the scene.
        """
        pages, height, width = image.counts.shape
        if image.valid is None:
            return cls(image, slice(0, height), slice(0, width))
        down, across = np.zeros(height, bool), np.zeros(width, bool)
        for page in range(pages):
            found = False
            for top, bottom in row_bands(height, width):
                band = rows_of(image.valid, page, top, bottom)
                down[top:bottom] |= band.any(1)
                across |= band.any(0)
                found = found or bool(band.any())
            if not found:
                raise ValueError(f"{image.path}: no pixel of page {page + 1} has data, all are masked or without data")
        return cls(image, _span(down), _span(across))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the rectangle."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def valid(self, page: int) -> np.ndarray | None:
        """Where a page is scene, ``[h, w]`` bool within the rectangle; None: everywhere."""
        if self.image.valid is None:
            return None
        valid = self.image.valid[page][self.rows, self.columns]
        return None if valid.all() else valid

    def counts(self, page: int) -> np.ndarray:
        """A page within the rectangle, ``[h, w]``, masked pixels filled."""
        plane, valid = self.image.counts[page][self.rows, self.columns], self.valid(page)
        return plane if valid is None else fill(plane, valid)

    def part(self, page: int, rows: slice, columns: slice = slice(None)) -> tuple[np.ndarray, np.ndarray | None]:
        """Some rows of a page.

        Args:
            page: its index.
            rows: within the rectangle.
            columns: within the rectangle.

        Returns:
            (counts, masked pixels as they are; where they are scene, None: everywhere)
        """
        start, stop = self.rows.start + rows.start, self.rows.start + rows.stop
        counts = rows_of(self.image.counts, page, start, stop)[:, self.columns][:, columns]
        if self.image.valid is None:
            return counts, None
        valid = rows_of(self.image.valid, page, start, stop)[:, self.columns][:, columns]
        return counts, None if valid.all() else valid

    def bands(self, page: int, margin: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """A page from top to bottom in bands that fit into memory; a page of usual size is one.

        Args:
            page: its index.
            margin: by how many rows neighbours overlap on either side.

        Yields:
            (counts, masked pixels filled; where they are scene, None: everywhere); bands without scene are left out.
        """
        height, width = self.shape
        for top, bottom in row_bands(height, width):
            counts, valid = self.part(page, slice(max(0, top - margin), min(height, bottom + margin)))
            if valid is None:
                yield counts, None
            elif valid.any():
                yield fill(counts, valid), valid

    def put_back(self, page: int, result: np.ndarray) -> np.ndarray:
        """The whole page with a result in its rectangle; masked pixels are those of the input.

        Args:
            page: its index.
            result: ``[k·h, k·w]``.
        """
        factor = result.shape[0] // self.shape[0]
        plane = self.image.counts[page]
        result = self.with_data(result)
        if self.image.valid is None:
            return result
        whole = repeated(plane, factor) if factor > 1 else plane.copy()
        rows, columns = (slice(span.start * factor, span.stop * factor) for span in (self.rows, self.columns))
        valid = self.valid(page)
        if valid is None:
            whole[rows, columns] = result
        else:
            whole[rows, columns] = np.where(repeated(valid, factor), result, whole[rows, columns])
        return whole

    def with_data(self, result: np.ndarray) -> np.ndarray:
        """A result without the file's value for no data, for which its pixels would else be taken."""
        value = self.image.metadata.layout.no_data(result.dtype)
        if value is None or not (result == value).any():
            return result
        if result.dtype.kind == "f":
            beside = np.nextafter(result.dtype.type(value), result.dtype.type(np.inf))
        else:
            beside = value + 1 if value < np.iinfo(result.dtype).max else value - 1
        return np.where(result == value, beside, result).astype(result.dtype)


def _span(hits: np.ndarray) -> slice:
    places = np.flatnonzero(hits)
    return slice(int(places[0]), int(places[-1]) + 1)


def fill(plane: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Replace masked pixels by a smooth continuation of the others (pull-push over a pyramid of means).

    Args:
        plane: ``[H, W]``; the values of masked pixels have no influence, and may be NaN.
        valid: ``[H, W]`` bool, true in at least one place.

    Returns:
        ``[H, W]`` of the same type; valid pixels are unchanged.
    """
    smooth = _filled(np.where(valid, plane, 0).astype(np.float64), valid.astype(np.float64))
    if plane.dtype.kind != "f":
        smooth = np.rint(smooth)
    return np.where(valid, plane, smooth.astype(plane.dtype))


def _filled(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``values [H, W]`` where ``weights`` are above 0, elsewhere the interpolated means of a level half as large."""
    if (weights > 0).all():
        return values
    height, width = values.shape
    padding = ((0, height % 2), (0, width % 2))
    blocks = ((height + 1) // 2, 2, (width + 1) // 2, 2)
    sums = np.pad(values * weights, padding).reshape(blocks).sum((1, 3))
    totals = np.pad(weights, padding).reshape(blocks).sum((1, 3))
    means = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    coarse = _filled(means, np.minimum(totals, 1))
    return np.where(weights > 0, values, _doubled(coarse)[:height, :width])


def _doubled(plane: np.ndarray) -> np.ndarray:
    """Twice the size, bilinear."""
    for axis in (0, 1):
        before, after = (np.take(plane, _shifted(plane.shape[axis], by), axis) for by in (-1, 1))
        pair = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
        plane = pair.reshape(*plane.shape[:axis], 2 * plane.shape[axis], *plane.shape[axis + 1 :])
    return plane


def _shifted(length: int, by: int) -> np.ndarray:
    return np.clip(np.arange(length) + by, 0, length - 1)


def with_finite_mask(image: ThermalImage) -> ThermalImage:
    """Mask floating-point values that are no measurement, such as NaN and marks for missing data.

    Marks are infinite and huge numbers, and numbers that are no temperature because they lie at or below absolute zero,
    if most of these are one and the same; if they differ, the values are no temperatures but numbers like others.

    Args:
        image: counts of any type; integers are returned as they are.
    """
    if image.counts.dtype.kind != "f":
        return image
    relation = image.relation
    floor = (_ABSOLUTE_ZERO - relation.offset) / relation.scale if isinstance(relation, LinearKelvin) else _COLDEST
    cold_is_missing, share = _missing(image, floor)

    def measured(plane: np.ndarray, known: np.ndarray | None) -> np.ndarray:
        good = np.abs(plane) < _HUGE  # not for NaN
        good = good & (plane > floor) if cold_is_missing else good
        return good if known is None else good & known

    def valid(index: int) -> np.ndarray:
        return measured(image.counts[index], None if image.valid is None else image.valid[index])

    def rows(index: int, start: int, stop: int) -> np.ndarray:
        known = None if image.valid is None else rows_of(image.valid, index, start, stop)
        return measured(rows_of(image.counts, index, start, stop), known)

    found = replace(image, valid=Frames(valid, image.counts.shape, bool, rows))
    if cold_is_missing:
        words = f"{share:.1%} of its pixels are below absolute zero or no number: taken for missing and not enhanced"
        return replace(found, warnings=(*image.warnings, words))
    if share and not np.isnan(image.metadata.layout.no_data(image.counts.dtype) or 0.0):  # of NaN the reader tells
        return replace(found, notes=(*image.notes, f"{share:.1%} of its pixels are no number and are not enhanced"))
    return found


def _missing(image: ThermalImage, floor: float) -> tuple[bool, float]:
    """Missing data without a value for it, as the first page that has some shows it.

    Returns:
        (whether values up to ``floor`` are marks for missing data; share of pixels without a measurement)
    """
    pages, height, width = image.counts.shape
    share = 0.0
    for page in range(pages):
        cold, empty, known = [], 0, 0
        for top, bottom in row_bands(height, width):
            band = rows_of(image.counts, page, top, bottom).ravel()
            if image.valid is not None:
                band = band[rows_of(image.valid, page, top, bottom).ravel()]
            numbers = band[np.abs(band) < _HUGE]
            cold.append(numbers[numbers <= floor])
            known, empty = known + band.size, empty + band.size - numbers.size
        marks = np.concatenate(cold)
        usual = np.partition(marks, marks.size // 2)[marks.size // 2] if marks.size else floor
        is_mark = 0 < marks.size < known - empty and 2 * np.count_nonzero(marks == usual) >= marks.size
        share = share or (empty + is_mark * marks.size) / max(1, known)
        if is_mark:
            return True, share
    return False, share
