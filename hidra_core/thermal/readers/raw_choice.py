"""The size of raw frames: what the user, the name and the length of a file say, weighed by its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .planes import SENSOR_SIZES
from .raw_fit import Fit, best, continues, contradicts, fit, is_yuyv
from .raw_layouts import KNOWN_LAYOUTS, FrameLayout, dividing, header_hint, sizes_in_name, telemetry_hint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .planes import ByteOrder
    from .vospi import Packets
    from .y16 import RawLayout

_MOST_SAMPLES, _SAMPLED_PIXELS, _LOOKED_AT = 8, 2_000_000, 32
_STREAM = 2_000_000  # pixels from the beginning of a file in which ends of rows and frames are searched for


@dataclass(frozen=True)
class RawFrames:
    """Where the frames of a file are.

    Attributes:
        path: the file.
        offset: the first byte of the first frame.
        layout: of the frames.
        count: whole frames.
        packets: the VoSPI packets that the frames are in, if they are.
    """

    path: Path
    offset: int
    layout: FrameLayout
    count: int
    packets: Packets | None = None

    def stored(self, index: int) -> np.ndarray:
        """Frame ``index`` as it is stored, ``[H, W]`` uint16, read as little endian.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file has become shorter.
        """
        size = self.packets.frame_bytes if self.packets else self.layout.frame_bytes
        with self.path.open("rb") as file:
            file.seek(self.offset + index * size)
            words = np.fromfile(file, "<u2", size // 2).astype(np.uint16, copy=False)
        if len(words) < size // 2:
            raise ValueError(f"{self.path} ends in frame {index + 1} of {self.count}: it has become shorter; try again")
        return self.packets.assemble(words) if self.packets else words.reshape(self.layout.height, self.layout.width)

    def samples(self) -> list[np.ndarray]:
        """Some frames from all over the file, as stored; blank ones only if there are no others."""
        most = max(3, min(_MOST_SAMPLES, _SAMPLED_PIXELS // (self.layout.width * self.layout.height)))
        found = []
        for index in np.unique(np.linspace(0, self.count - 1, min(self.count, _LOOKED_AT)).astype(int)):
            frame = self.stored(int(index))
            if frame.min() != frame.max():
                found.append(frame)
            if len(found) == most:
                break
        return found or [self.stored(0)]

    def alternate(self) -> bool:
        """Whether these may be halves of doubled frames: two by two they have hardly any values in common."""
        size = (self.layout.width, self.layout.height)
        if self.count % 2 or not any((known.width, known.picture) == size for known in KNOWN_LAYOUTS):
            return False
        low, middle, high = zip(*(np.percentile(self.stored(index), (2, 50, 98)) for index in (0, 1)), strict=True)
        return all(not low[1 - one] <= middle[one] <= high[1 - one] for one in (0, 1))

    def reader(self, order: ByteOrder, first: int) -> Callable[[int], np.ndarray]:
        """A function from an index to the rows from ``first`` on of that frame, ``[H - first, W]`` uint16."""

        def read(index: int) -> np.ndarray:
            frame = self.stored(index)[first:]
            return frame.byteswap() if order == "big" else frame

        return read


@dataclass(frozen=True, eq=False)
class Choice:
    """The size of the frames of a file.

    Attributes:
        fit: the layout.
        origin: where the size is from, in words.
        doubt: what speaks against it, for the user to see; empty if nothing does.
    """

    fit: Fit
    origin: str
    doubt: str = ""


def stated(path: Path, size: tuple[int, int], layout: RawLayout, length: int, halves: bool) -> Choice:
    """The frames of the size that the user says.

    Args:
        path: the file.
        size: (width, height) that the user says.
        layout: byte order and offset.
        length: bytes of frames in the file.
        halves: whether the user says that frames are of doubled height.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file does not hold whole frames of this size, or its content clearly has another one.
    """
    width, height = size
    plain = FrameLayout(width, height)
    if length % plain.frame_bytes:
        hint = telemetry_hint(length, size) or header_hint(length, [plain])
        raise ValueError(
            f"{path} has {length + layout.offset} bytes, but a frame of {plain} 16-bit counts has {plain.frame_bytes}: "
            f"it is cut off, has a header, or is of another size{hint}; give its size (--raw-size WIDTHxHEIGHT), or "
            "save it as 16-bit TIFF"
        )
    layouts = list(dividing(length))
    same = [entry for entry in layouts if (entry.width, entry.height) == (width, height)]
    doubled = [entry for entry in layouts if entry.picture and (entry.width, entry.counts_height) == (width, height)]
    fits = _fits(path, layout, length, list(dict.fromkeys([*doubled, *same, plain])), halves)
    found = next((entry for entry in fits if entry.recognised), fits[-1])
    others = [entry for entry in layouts if entry.plain and entry not in same]
    turned = FrameLayout(height, width)
    if width != height and turned not in others:
        others.append(turned)
    doubt, stream = "", _stream(path, layout.offset)
    for other in [] if found.recognised else _fits(path, layout, length, others, halves):
        if contradicts(other, found, stream):
            raise ValueError(
                f"{path}: its rows do not follow each other at {plain} as they do at {other.layout}: give --raw-size "
                f"{other.layout}"
            )
        if plain not in KNOWN_LAYOUTS and continues(found, other, stream):
            doubt = f"its frames of {plain} continue each other as one of {other.layout} does: is --raw-size right?"
    if found.rough:
        doubt = f"its rows do not follow each other at {plain}: is --raw-size right?"
    return Choice(found, "size as told", doubt)


def choose(path: Path, layout: RawLayout, length: int, halves: bool) -> Choice:
    """The frames of the size that name, length and content speak for.

    Args:
        path: the file.
        layout: without a size.
        length: bytes of frames in the file.
        halves: whether the user says that frames are of doubled height.

    Raises:
        OSError: the file cannot be read.
        ValueError: no size fits, none gives a picture, or several do equally well.
    """
    known = list(dividing(length))
    named = []
    for width, height in sizes_in_name(path):
        same = [entry for entry in known if (entry.width, entry.height) == (width, height)]
        if length % (width * height * 2) == 0:
            named.append(same[0] if same else FrameLayout(width, height))
    fits = _fits(path, layout, length, list(dict.fromkeys([*named, *known])), halves)
    fits = [entry for entry in fits if _plausible(entry, named)]
    if not fits:
        raise ValueError(_unknown(path, length, layout.offset))
    left = best(fits, _stream(path, layout.offset))
    if not left:
        tried = " or ".join(str(entry.layout) for entry in fits)
        raise ValueError(
            f"{path} has {length} bytes of counts, but read as {tried} it gives no picture, as rows do not follow each "
            "other or frames have no ends: give its size (--raw-size WIDTHxHEIGHT)"
        )
    found = _decided(left, named)
    readings = " or ".join(f"{entry.count} of {entry.layout}" for entry in left)
    if found is None:
        options = " or ".join(f"--raw-size {entry.layout}" for entry in left)
        raise ValueError(
            f"{path}: its {length} bytes may as well be frames of several sizes, {readings}: give {options}"
        )
    if found.layout in named:
        return Choice(found, "size from its name")
    doubt = f"its content does not tell frames of several sizes apart, {readings}; --raw-size says which"
    return Choice(found, "size guessed from its length", "" if len(left) == 1 else doubt)


def _fits(path: Path, layout: RawLayout, length: int, layouts: list[FrameLayout], halves: bool) -> list[Fit]:
    """The layouts as they fit the file; those of doubled frames only where these are, or are said to be, such."""
    order = None if layout.order == "auto" else layout.order
    found = []
    for entry in layouts:
        frames = RawFrames(path, layout.offset, entry, length // entry.frame_bytes)
        samples = frames.samples()
        if not entry.picture or halves or all(is_yuyv(frame, entry.picture) for frame in samples):
            found.append(fit(entry, samples, frames.count, order))
    return found


def _plausible(entry: Fit, named: list[FrameLayout]) -> bool:
    """Whether a layout is plain, or shows its telemetry, or may be a picture of this size: one frame, or so named."""
    return entry.layout.plain or entry.recognised or entry.count == 1 or entry.layout in named


def _decided(left: list[Fit], named: list[FrameLayout]) -> Fit | None:
    """Of readings that the content does not tell apart, the one from the name or the one of a single frame."""
    if len(left) == 1:
        return left[0]
    preferred = [entry for entry in left if entry.layout in named or entry.count == 1]
    return preferred[0] if len(preferred) == 1 else None


def _stream(path: Path, offset: int) -> np.ndarray:
    with path.open("rb") as file:
        file.seek(offset)
        return np.fromfile(file, "<u2", _STREAM).astype(np.uint16, copy=False)


def _unknown(path: Path, length: int, offset: int) -> str:
    known = ", ".join(f"{width}x{height}" for width, height in SENSOR_SIZES)
    names = [f"{width}x{height} ({width * height * 2} bytes)" for width, height in sizes_in_name(path)]
    in_name = f", nor of the {' or '.join(names)} in its name" if names else ""
    return (
        f"{path} has {length + offset} bytes, which is no frame, nor several, of 16-bit counts of a known sensor "
        f"({known}){in_name}{header_hint(length, KNOWN_LAYOUTS)}: give its size (--raw-size WIDTHxHEIGHT, or in its "
        "name)"
    )
