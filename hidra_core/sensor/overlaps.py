"""Neighbouring frames of a flight: how far the ground moved between two of them, and how their levels differ there.

Everything happens on small copies of the frames. Their medians are free of dead pixels and nearly free of noise, and
the level of a frame, which is what counts here, needs no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter, maximum_filter, shift

_SIDE = 160  # longer side of the small copies, in pixels
_DETAIL = 6.0  # sigma in pixels of the small copy below which structure is detail
_SMOOTH = 0.8  # sigma in pixels, against what is left of the noise
_NORMAL = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution
_CANDIDATES = 6  # peaks of the phase correlation that are looked at
_LEAST_SHARE = 0.2  # of a frame that must overlap
_LEAST_SCORE = 0.3  # correlation of the detail in the overlap, times the root of its share of the frame
_CONVINCING = 0.7  # correlation above which two frames need no third one that agrees
_CLOSE = 0.05  # of a frame: how far the ways over a third frame and directly may be apart
_BLOCK = 16  # side in pixels of the small copy of the parts whose medians are compared
_LEAST_BLOCKS = 4
_AGREE = 3.0  # difference of detail, in standard deviations, up to which two frames show the same thing


@dataclass(frozen=True, eq=False)
class SmallFrame:
    """A small copy of a frame.

    Attributes:
        level: medians of squares of ``factor`` x ``factor`` pixels, float64 ``[h, w]``, in the unit of the frame.
        detail: its structure without stripes and without slow changes, 0 where nothing is known.
        valid: bool ``[h, w]``, where at least half of the pixels are scene.
        factor: how many times smaller it is.
        size: (H, W) of the frame.
    """

    level: np.ndarray
    detail: np.ndarray
    valid: np.ndarray
    factor: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Overlap:
    """The same ground in two frames: ``frames[first][y, x]`` and ``frames[second][y - down, x - across]``.

    Attributes:
        first: index of a frame.
        second: index of a later one.
        down: in pixels of the frames.
        across: in pixels of the frames.
        confidence: correlation of the detail of both where they overlap, at most 1.
        share: the part of a frame that overlaps, 0 to 1.
    """

    first: int
    second: int
    down: float
    across: float
    confidence: float
    share: float


def small_frame(frame: np.ndarray, valid: np.ndarray | None = None) -> SmallFrame:
    """Make the small copy of a frame, with sides of up to about 160 pixels.

    Args:
        frame: ``[H, W]`` numbers in any unit.
        valid: ``[H, W]`` bool, the pixels that are scene; None: all that are finite.

    Raises:
        ValueError: not an image, or no pixel of it is scene.
    """
    if frame.ndim != 2 or frame.size == 0:
        raise ValueError(f"a frame must be [H, W], got {list(frame.shape)}")
    factor = max(1, round(max(frame.shape) / _SIDE))
    height, width = (max(1, side // factor) for side in frame.shape)
    known = np.isfinite(frame) if valid is None else valid & np.isfinite(frame)

    def squares(plane: np.ndarray) -> np.ndarray:
        cut = plane[: height * factor, : width * factor]
        parts = cut.reshape(height, cut.shape[0] // height, width, cut.shape[1] // width)
        return parts.transpose(0, 2, 1, 3).reshape(height, width, -1)

    if not known.any():
        raise ValueError("no pixel of the frame is scene: leave this frame out")
    if known.all():
        level, mask = np.median(squares(frame.astype(np.float64)), -1), np.ones((height, width), bool)
    else:
        mask = squares(known).mean(-1) >= 0.5
        if not mask.any():
            raise ValueError("hardly any pixel of the frame is scene: leave this frame out")
        held = np.where(known, frame, np.nan).astype(np.float64)
        level = np.full((height, width), float(np.nanmedian(held)))
        level[mask] = np.nanmedian(squares(held)[mask], -1)
    return SmallFrame(level, _detail(level, mask), mask, factor, (frame.shape[0], frame.shape[1]))


def _detail(level: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Structure that can be recognised in another frame.

    Stripes are taken off: they stay put while the ground moves, and would say that nothing moved.
    """
    weight = np.maximum(gaussian_filter(valid.astype(np.float64), _DETAIL), 1e-6)
    middle = np.median(level[valid])
    slow = gaussian_filter(np.where(valid, level - middle, 0), _DETAIL) / weight
    detail = np.where(valid, level - middle - slow, np.nan)
    for axis in (0, 1):
        lines = np.asarray(np.isfinite(detail).any(axis))
        stripes = np.zeros(len(lines))
        stripes[lines] = np.nanmedian(np.compress(lines, detail, 1 - axis), axis)
        detail = detail - (stripes if axis == 0 else stripes[:, None])
    detail = gaussian_filter(np.nan_to_num(detail), _SMOOTH)
    spread = _NORMAL * np.median(np.abs(detail[valid])) or float(detail.std())
    detail = np.where(valid, detail.clip(-4 * spread, 4 * spread), 0)  # one hot spot must not decide alone
    return detail.astype(np.float32)


def find_overlap(frames: tuple[SmallFrame, SmallFrame], first: int = 0, second: int = 1) -> Overlap | None:
    """How far the ground moved from one frame to another, by phase correlation (Kuglin and Hines, 1975).

    The best peaks are tried out: what counts is how well the details correlate where the frames then overlap. Frames
    that are turned against each other by more than some degrees, or of another scale, have no overlap that is found.

    Args:
        frames: two small copies of one size.
        first: index of the first frame, for the result.
        second: index of the second one.

    Returns:
        None where no shift is convincing.
    """
    one, two = frames
    shape = (2 * one.level.shape[0], 2 * one.level.shape[1])
    here, there = (np.asarray(rfft2(frame.detail, shape)) for frame in frames)
    product = here * np.conj(there)
    size = np.abs(product)
    if not size.any():
        return None
    surface = gaussian_filter(irfft2(product / (size + 0.01 * size.max()), shape), _SMOOTH, mode="wrap")
    peaks = np.argwhere(surface == maximum_filter(surface, 3, mode="wrap"))
    highest = np.argsort(surface[tuple(peaks.T)])[-_CANDIDATES:]
    best, down, across = 0.0, 0, 0
    for row, column in peaks[highest].tolist():
        place = (row - shape[0] * (row > shape[0] // 2), column - shape[1] * (column > shape[1] // 2))
        likeness = _likeness(one, two, place)
        score = 0.0 if likeness is None else likeness * _share(place, one.level.shape) ** 0.5
        if score > best:
            best, (down, across) = score, place
    if best < _LEAST_SCORE:
        return None
    likeness = _likeness(one, two, (down, across)) or 0.0
    exact = (
        down + _vertex(likeness, *(_likeness(one, two, (down + step, across)) for step in (-1, 1))),
        across + _vertex(likeness, *(_likeness(one, two, (down, across + step)) for step in (-1, 1))),
    )
    share = _share(exact, one.level.shape)
    return Overlap(first, second, exact[0] * one.factor, exact[1] * one.factor, likeness, share)


def _share(place: tuple[float, float], shape: tuple[int, ...]) -> float:
    """The part of a frame that overlaps after this shift."""
    down, across = (max(0.0, 1 - abs(step) / side) for step, side in zip(place, shape, strict=True))
    return down * across


def confirmed(overlaps: list[Overlap], shape: tuple[int, ...]) -> set[tuple[int, int]]:
    """The pairs (first, second) of frames that surely overlap.

    Frames of different ground can be alike by chance, but three of them do not agree on the way between them.

    Args:
        overlaps: from :func:`find_overlap`.
        shape: height and width of the frames.
    """
    ways = {(overlap.first, overlap.second): np.array([overlap.down, overlap.across]) for overlap in overlaps}
    sure = {(overlap.first, overlap.second) for overlap in overlaps if overlap.confidence >= _CONVINCING}
    followers: dict[int, list[int]] = {}
    for first, second in ways:
        followers.setdefault(first, []).append(second)
    for (first, middle), way in ways.items():
        for last in followers.get(middle, ()):
            if (first, last) not in ways:
                continue
            apart = np.abs(way + ways[middle, last] - ways[first, last]) / shape
            if apart.max() <= _CLOSE:
                sure |= {(first, middle), (middle, last), (first, last)}
    return sure


def _windows(shape: tuple[int, ...], place: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The parts of two frames that show the same ground when the second is shifted by whole pixels."""
    one = tuple(slice(max(0, step), side + min(0, step)) for side, step in zip(shape, place, strict=True))
    two = tuple(slice(max(0, -step), side + min(0, -step)) for side, step in zip(shape, place, strict=True))
    return (one[0], one[1]), (two[0], two[1])


def _likeness(one: SmallFrame, two: SmallFrame, place: tuple[int, int]) -> float | None:
    """Correlation of the details for this shift; None where too little overlaps."""
    height, width = one.level.shape
    if abs(place[0]) >= height or abs(place[1]) >= width:
        return None
    here, there = _windows(one.level.shape, place)
    both = one.valid[here] & two.valid[there]
    if both.sum() < _LEAST_SHARE * one.level.size:
        return None
    first, second = (part - part.mean() for part in (one.detail[here][both], two.detail[there][both]))
    power = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / power if power else None


def _vertex(middle: float, before: float | None, after: float | None) -> float:
    """Where the parabola through three values, at -1, 0 and 1, is highest."""
    if before is None or after is None or (bend := before - 2 * middle + after) >= 0:
        return 0.0
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5))


def differences(frames: tuple[SmallFrame, SmallFrame], overlap: Overlap) -> tuple[np.ndarray, np.ndarray]:
    """How much warmer the first frame is than the second where both show the same ground.

    Args:
        frames: the two small copies.
        overlap: from :func:`find_overlap`.

    Returns:
        (places ``[n, 2]``: row and column of the middle of each part, in pixels of the first small copy; medians of
        the differences ``[n]``). Pixels whose details disagree, as of things that moved, have no part in it. Both are
        empty where too few agree.
    """
    one, two = frames
    step = (overlap.down / one.factor, overlap.across / one.factor)
    level, detail, mask = (
        shift(plane, step, order=1, mode="constant", cval=0.0)
        for plane in (two.level, two.detail, two.valid.astype(np.float64))
    )
    both = one.valid & (mask > 0.99)
    unlike = np.abs(one.detail - detail)
    if both.any():
        both &= unlike <= _AGREE * _NORMAL * np.median(unlike[both]) + 1e-12
    places, medians = [], []
    height, width = one.level.shape
    for top in range(0, height, _BLOCK):
        for left in range(0, width, _BLOCK):
            part = (slice(top, top + _BLOCK), slice(left, left + _BLOCK))
            rows, columns = np.nonzero(both[part])
            if len(rows) < _BLOCK * _BLOCK / 4:
                continue
            places.append((top + rows.mean(), left + columns.mean()))
            medians.append(np.median((one.level[part] - level[part])[rows, columns]))
    if len(places) < _LEAST_BLOCKS:
        return np.zeros((0, 2)), np.zeros(0)
    return np.array(places), np.array(medians)
