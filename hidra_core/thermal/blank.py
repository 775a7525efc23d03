"""Areas of pages that are blank though the file does not say so, such as the collar of a mosaic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.ndimage import label

from .frames import Frames, rows_of

if TYPE_CHECKING:
    from .counts import ThermalImage

_LEAST_BLANK = 0.005  # share of the pixels from which areas count as blank
_LEAST_AREA = 9  # pixels of a blank area inside; smaller ones are defects of the sensor
_MANY_TIMES = 20  # times as frequent as any other, and a floating-point value is no measurement
_MARKS = (0, -1, -99, -999, -9999, -10000, -32767, -32768, -99999, 9999, 99999)  # usual for missing data
_PAGES_LOOKED_AT = 8  # pages that are searched for blank areas
_SHARES = (0.1, 1.0, 99.0, 99.9)  # percentiles: all but single dead pixels, and 98 % of the pixels
_LARGEST_WITH_AREAS = 1 << 26  # pixels of a page up to which it is held at once to search it for blank areas


def without_blank_areas(image: ThermalImage) -> ThermalImage:
    """Mask areas of one value that is no measurement, such as a mosaic's collar, where the file itself does not.

    An area at the edge counts as blank whatever its value is, one inside if it is a usual mark for missing data. Areas
    hold half a per cent of the pixels and lie as far from the other values as those span. Of floating-point values a
    quarter of that is enough; at the edge none is needed where a value is by far the most frequent, as measurements
    are hardly ever the same to the last bit. Of very large pages only marks for missing data are searched for.

    Args:
        image: counts of any type.
    """
    if image.display or image.counts.dtype == np.uint8:
        return image
    found: dict[float, float] = {}
    kind = image.counts.dtype.kind
    is_large = image.counts.shape[1] * image.counts.shape[2] > _LARGEST_WITH_AREAS
    for index in np.unique(np.linspace(0, len(image.counts) - 1, 1 if is_large else _PAGES_LOOKED_AT).astype(int)):
        page, known = _thinned(image, int(index)) if is_large else _page(image, int(index))
        for value in _suspects(page, known, marks_alone=is_large):
            blank = _blank(page, known, value, anywhere=is_large)
            if blank is not None:
                found[value] = max(float(blank.mean()), found.get(value, 0.0))
                known = known & ~blank
    if not found:
        return image

    def valid(index: int) -> np.ndarray:
        plane, known = _page(image, index)
        for value in found:
            blank = plane == value if is_large else _blank(plane, known, value)
            known = known if blank is None else known & ~blank
        return known

    def rows(index: int, start: int, stop: int) -> np.ndarray:
        band = rows_of(image.counts, index, start, stop)
        known = np.ones(band.shape, bool) if image.valid is None else rows_of(image.valid, index, start, stop)
        return known & ~np.isin(band, list(found))

    stated = {value: f"{value}" if kind in "iu" else f"{value:.7g}" for value in found}
    words = tuple(
        f"an area of {stated[value]}, {share:.1%} of the pixels, is taken for blank and is not enhanced"
        for value, share in found.items()
    )
    masked = Frames(valid, image.counts.shape, bool, rows if is_large else None)
    return replace(image, valid=masked, warnings=(*image.warnings, *words))


def _page(image: ThermalImage, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A page, and where it has data."""
    page = np.asarray(image.counts[index])
    return page, np.ones(page.shape, bool) if image.valid is None else image.valid[index]


def _thinned(image: ThermalImage, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Some rows and columns of a large page, and where they have data."""
    _, height, width = image.counts.shape
    step = max(1, height * width // _LARGEST_WITH_AREAS)
    places = range(0, height, 8 * step)
    page = np.concatenate([rows_of(image.counts, index, row, row + 1) for row in places])
    if image.valid is None:
        return page, np.ones(page.shape, bool)
    return page, np.concatenate([rows_of(image.valid, index, row, row + 1) for row in places])


def _suspects(page: np.ndarray, known: np.ndarray, *, marks_alone: bool) -> list[float]:
    """Values that may be no measurement: usual marks for missing data, and the most frequent one at the edge."""
    kind = page.dtype
    limits = () if kind.kind == "f" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    suspects: list[float] = [value for value in dict.fromkeys((*_MARKS, *limits)) if _holds(kind, value)]
    edge = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])
    edge = edge[np.concatenate([known[0], known[-1], known[:, 0], known[:, -1]])]
    if edge.size and not marks_alone:
        values, times = np.unique(edge, return_counts=True)
        suspects.append(values[times.argmax()].item())
    return list(dict.fromkeys(suspects))


def _holds(kind: np.dtype, value: float) -> bool:
    """Whether numbers of a type can have a value."""
    return kind.kind == "f" or bool(np.iinfo(kind).min <= value <= np.iinfo(kind).max)


def _blank(page: np.ndarray, known: np.ndarray, value: float, *, anywhere: bool = False) -> np.ndarray | None:
    """Where a page is blank with a value, ``[H, W]`` bool; None if it is not.

    Args:
        page: ``[H, W]``.
        known: ``[H, W]`` bool, where it has data.
        value: of the blank areas.
        anywhere: single pixels count, too.
    """
    same = (page == value) & known
    if same.sum() < _LEAST_BLANK * page.size:
        return None
    blank = same if anywhere else _areas(same, inside=value in _MARKS)
    if blank.sum() < _LEAST_BLANK * page.size:
        return None
    rest = page[known & ~blank & (page != value)]
    if not rest.size:
        return None
    lowest, low, high, highest = (float(limit) for limit in np.percentile(rest, _SHARES))
    gap, share = max(lowest - value, value - highest), 0.25 if page.dtype.kind == "f" else 1.0
    if gap > 0 and gap >= share * (high - low):
        return blank
    if page.dtype.kind != "f" or blank.sum() <= _MANY_TIMES * np.unique(rest, return_counts=True)[1].max():
        return None
    return blank


def _areas(same: np.ndarray, *, inside: bool) -> np.ndarray:
    """The areas, ``[H, W]`` bool, that hold half a per cent at the edge, and those ``inside`` of a few pixels."""
    numbered, count = cast("tuple[np.ndarray, int]", label(same))
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    sizes[0] = 0
    edge = np.unique(np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]]))
    large = np.zeros(count + 1, bool)
    large[edge] = sizes[edge] >= _LEAST_BLANK * same.size
    if inside:
        large |= sizes >= _LEAST_AREA
    return large[numbered]
