"""How well a layout fits raw frames: smoothness of rows, telemetry that is no picture, pictures that are no counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .planes import ByteOrder, OrderGuess, guess_order
from .raw_layouts import KNOWN_LAYOUTS, FrameLayout

_SAME = 1.03  # differences between rows within this factor are alike
_LIKELY = 1.5  # the same for one frame of a sensor, which files far more often are, and for layouts of one width
_WEAK_SEAM = 1.3  # times the usual difference, and it may be a seam
_SEAM = 2.0  # times the usual difference, and the pixels are no neighbours
_FRAME_SEAM = 3.0  # the same for rows, of which fewer are compared
_TELEMETRY = 6.0  # times the usual difference between rows, and a row is no part of the picture
_CHROMA = 4  # levels around 128 that the chroma of a grey picture keeps within


@dataclass(frozen=True, eq=False)
class Fit:
    """A layout applied to some frames.

    Attributes:
        layout: the layout.
        count: whole frames of it in the file.
        scene: the rows of counts that are picture; the others are telemetry.
        order: byte order that the frames are read in.
        guess: the one that the content speaks for.
        across: mean difference between pixels of neighbouring rows.
        along: mean difference between neighbours in a row.
        far: mean difference between pixels that are half a frame apart.
    """

    layout: FrameLayout
    count: int
    scene: slice
    order: ByteOrder
    guess: OrderGuess
    across: float
    along: float
    far: float

    @property
    def recognised(self) -> bool:
        """Whether the content says that not all of the frame is scene."""
        return self.layout.picture > 0 or self.scene != slice(0, self.layout.counts_height)

    @property
    def rough(self) -> bool:
        """Whether the rows do not follow each other though the pixels in a row do: the width is wrong."""
        return self.across > _SEAM * self.along and self.across > 0.7 * self.far


def fit(layout: FrameLayout, frames: list[np.ndarray], count: int, order: ByteOrder | None = None) -> Fit:
    """Apply a layout to some frames.

    Args:
        layout: the layout.
        frames: ``[layout.height, layout.width]`` uint16 each, read as little endian; at least one.
        count: whole frames in the file.
        order: byte order; None: the one that :func:`guess_order` finds.
    """
    planes = [frame[layout.picture :] for frame in frames]
    inner = slice(layout.telemetry, layout.counts_height - layout.telemetry)
    planes = [plane for plane in planes if plane[inner].min() != plane[inner].max()] or planes
    guess = guess_order([plane[inner] for plane in planes])
    chosen = order or guess.order
    if chosen == "big":
        planes = [plane.byteswap() for plane in planes]
    scene = scene_rows(planes, layout.telemetry)
    wide = [plane[scene].astype(np.int32) for plane in planes]
    across = float(np.mean([_mean(plane[1:] - plane[:-1]) for plane in wide]))
    along = float(np.mean([_mean(plane[:, 1:] - plane[:, :-1]) for plane in wide]))
    far = float(np.mean([_mean(plane[len(plane) // 2 :] - plane[: len(plane) - len(plane) // 2]) for plane in wide]))
    return Fit(layout, count, scene, chosen, guess, across, along, far)


def _mean(differences: np.ndarray) -> float:
    return float(np.abs(differences).mean()) if differences.size else 0.0


def scene_rows(planes: list[np.ndarray], telemetry: int) -> slice:
    """The rows that are picture, if ``telemetry`` rows at one end may not be; all of them if all continue the picture.

    Telemetry is a few numbers and many zeros. Rows count as telemetry if each of them differs from the first row of
    picture far more than rows of picture differ from each other, in every frame.
    """
    height = len(planes[0])
    if not telemetry:
        return slice(0, height)
    strengths = []
    for place, edge in ((slice(height - telemetry, height), height - telemetry - 1), (slice(0, telemetry), telemetry)):
        strength = np.inf
        for plane in planes:
            wide = plane.astype(np.int32)
            inner = wide[telemetry : height - telemetry]
            usual = _mean(inner[1:] - inner[:-1])
            jump = min(_mean(row - wide[edge]) for row in wide[place])
            strength = min(strength, jump) if jump > _TELEMETRY * usual else 0.0
        strengths.append(strength)
    below, above = strengths
    if not (below or above):
        return slice(0, height)
    return slice(0, height - telemetry) if below >= above else slice(telemetry, height)


def is_yuyv(frame: np.ndarray, rows: int) -> bool:
    """Whether the upper rows, and they alone, are a picture as YUYV: a byte of luma, then one of chroma, in each pixel.

    A grey picture has chroma of 128 (or 0, where a camera writes no chroma). In one of a palette luma tells chroma; in
    counts the lower byte does not tell the upper one.

    Args:
        frame: ``[H, W]`` uint16, read as little endian.
        rows: rows that may be such a picture.
    """
    upper, lower = frame[:rows], frame[rows:]
    if any(_keeps_to(upper, level) and not _keeps_to(lower, level) for level in (128, 0)):
        return True
    return _told_by_luma(upper) > 0.4 > 2 * _told_by_luma(lower)


def _keeps_to(plane: np.ndarray, level: int) -> bool:
    return bool((np.abs((plane >> 8).astype(np.int32) - level) <= _CHROMA).mean() > 0.95)


def _told_by_luma(plane: np.ndarray) -> float:
    """The share of the variance of the upper bytes that their lower bytes explain, 0 to 1; 0 for nearly equal ones.

    U is in even columns and V in odd ones, and each has its own relation to luma.
    """
    shares = []
    for column in (0, 1):
        pixels = plane[:, column::2].ravel()
        luma, chroma = pixels & 255, (pixels >> 8).astype(np.float64)
        if chroma.std() <= _CHROMA:
            continue
        number = np.maximum(np.bincount(luma, minlength=256), 1)
        means = np.bincount(luma, weights=chroma, minlength=256) / number
        shares.append(1 - float(np.mean((chroma - means[luma]) ** 2) / chroma.var()))
    return max(shares, default=0.0)


def best(fits: list[Fit], stream: np.ndarray) -> list[Fit]:
    """The fits that the content speaks for: one where it decides, several where it does not, none where all are wrong.

    Args:
        fits: of layouts of one file.
        stream: the beginning of the file, uint16 read as little endian.
    """
    recognised = [entry for entry in fits if entry.recognised]
    smooth = [entry for entry in recognised or fits if not (entry.rough or _too_small(entry, stream))]
    if len(smooth) < 2:
        return smooth
    smoothest = min(smooth, key=lambda entry: entry.across)
    rivals = []
    for entry in smooth:
        likely = entry.count == 1 or entry.layout.width == smoothest.layout.width
        if entry.across <= (_LIKELY if likely else _SAME) * smoothest.across:
            rivals.append(entry)
    left = [entry for entry in rivals if not any(_has_ends_inside(entry, other, stream) for other in rivals)]
    return left or rivals


def contradicts(other: Fit, entry: Fit, stream: np.ndarray) -> bool:
    """Whether the content speaks clearly for another layout of a file than the one that is said.

    Args:
        other: the other layout.
        entry: the layout that is said.
        stream: the beginning of the file, uint16 read as little endian.
    """
    if other.rough:
        return False
    if entry.rough and other.across < entry.across / 2:
        return True
    return other.across <= _SAME * entry.across and _has_ends_inside(entry, other, stream)


def continues(entry: Fit, other: Fit, stream: np.ndarray) -> bool:
    """Whether frames continue each other where those of another layout of the same width, but higher, do not end.

    Args:
        entry: the layout whose frames may be too low.
        other: the higher one.
        stream: the beginning of the file, uint16 read as little endian.
    """
    if entry.layout.width != other.layout.width or entry.layout.height >= other.layout.height:
        return False
    return 0 < _frame_seam(_ordered(stream, entry), entry.layout, other.layout.height) < _SEAM


def _too_small(entry: Fit, stream: np.ndarray) -> bool:
    """Whether several frames are parts of a larger picture: neither their rows nor they themselves end at a seam.

    Where there is nothing but noise, no seam is to be expected; nor is it asked of the size of a sensor.
    """
    if entry.layout in KNOWN_LAYOUTS or entry.count == 1 or entry.far < _SEAM * entry.along:
        return False
    ordered = _ordered(stream, entry)
    return _row_seam(ordered, entry.layout) < _WEAK_SEAM and _frame_seam(ordered, entry.layout) < _WEAK_SEAM


def _has_ends_inside(entry: Fit, other: Fit, stream: np.ndarray) -> bool:
    """Whether neighbours of ``entry`` differ as pixels do where the rows or frames of ``other`` end."""
    width = other.layout.width
    if entry.layout.width == width:
        return _frame_seam(_ordered(stream, entry), other.layout, entry.layout.height) > _FRAME_SEAM
    if entry.layout.width % width == 0:
        return _row_seam(_ordered(stream, entry), other.layout, entry.layout.width) > _SEAM
    return False


def _ordered(stream: np.ndarray, entry: Fit) -> np.ndarray:
    return (stream.byteswap() if entry.order == "big" else stream).astype(np.int32)


def _row_seam(stream: np.ndarray, layout: FrameLayout, inside: int | None = None) -> float:
    """How much more than usual pixels differ where rows of a layout end, and those of the width ``inside`` do not.

    0 if there is no such place.
    """
    ends = np.arange(layout.width, len(stream), layout.width)
    if inside:
        ends = ends[ends % inside != 0]
    usual = float(np.median(np.abs(stream[1:] - stream[:-1])))
    return float(np.median(np.abs(stream[ends] - stream[ends - 1]))) / usual if len(ends) and usual else 0.0


def _frame_seam(stream: np.ndarray, layout: FrameLayout, inside: int | None = None) -> float:
    """How much more than usual rows differ where frames of a layout end, and those of the height ``inside`` do not.

    0 if there is no such place.
    """
    rows = stream[: len(stream) // layout.width * layout.width].reshape(-1, layout.width)
    starts = np.arange(layout.height, len(rows), layout.height)
    if inside:
        starts = starts[starts % inside != 0]
    usual = _mean(rows[1:] - rows[:-1])
    return float(np.median(np.abs(rows[starts] - rows[starts - 1]).mean(1))) / usual if len(starts) and usual else 0.0
