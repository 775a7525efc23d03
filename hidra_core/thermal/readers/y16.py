"""Raw Y16 frames: 16-bit counts row by row, without a header.

Nothing in such a file says how large its frames are. What the user says comes first; then what the length allows, where
numbers in the name and sizes of known sensors have to agree with the content: rows of a picture follow each other.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...images import Metadata
from ..counts import LinearKelvin, ThermalImage
from ..frames import Frames, within
from ..scene import SceneRegion
from . import vospi
from .raw_choice import Choice, RawFrames, choose, stated
from .raw_fit import Fit, fit

if TYPE_CHECKING:
    from pathlib import Path

    from .planes import ByteOrder

log = logging.getLogger(__name__)

EXTENSIONS = (".y16", ".raw")

_SIXTY_FOURTHS = LinearKelvin(1 / 64)
_COLDEST, _WARMEST = 213 * 64, 923 * 64  # the range that cameras with counts of 1/64 K are sold for, and some more
_FOURTEEN_BITS = 16383


@dataclass(frozen=True)
class RawLayout:
    """The layout of raw frames in a file.

    Attributes:
        size: (width, height) in pixels, all rows that are stored; None: from the length of the file and its content,
            with the sizes in its name (``…640x512….raw``) among the candidates.
        order: byte order; "auto" chooses the one in which neighbouring pixels differ less.
        offset: bytes before the first frame.

    Raises:
        ValueError: a size below 1, an unknown byte order, or a negative offset.
    """

    size: tuple[int, int] | None = None
    order: ByteOrder | Literal["auto"] = "auto"
    offset: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and not (len(self.size) == 2 and min(self.size) >= 1):
            raise ValueError(f"the size of raw frames must be width and height from 1 up, got {self.size}")
        if self.order not in ("auto", "little", "big"):
            raise ValueError(f"the byte order must be auto, little or big, got '{self.order}'")
        if self.offset < 0:
            raise ValueError(f"the bytes before the first raw frame must be a number from 0 up, got {self.offset}")


@dataclass(frozen=True, eq=False)
class RawFile:
    """The frames of a raw file, with what was recognised and guessed.

    Attributes:
        frames: ``[N, H, W]`` uint16, read one at a time; without pictures that are no counts, with telemetry.
        scene_rows: the rows of a frame that are picture; the others are telemetry, to be given back unchanged.
        relation: the relation of counts to kelvin, where the layout is that of a camera with a documented one.
        encoding: how the file stores the counts, in words.
        notes: what was guessed, and how to say otherwise.
        warnings: what was recognised or is doubtful and changes the result, for the user to see in any case.
    """

    frames: Frames
    scene_rows: slice
    relation: LinearKelvin | None
    encoding: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from a text such as ``640x512``.

    Raises:
        ValueError: anything else.
    """
    parts = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", text)
    if not parts or not (int(parts[1]) and int(parts[2])):
        raise ValueError(f"expected WIDTHxHEIGHT in pixels such as 640x512, got '{text}'")
    return int(parts[1]), int(parts[2])


def open_raw(path: Path, layout: RawLayout, by_hand: SceneRegion | None = None) -> RawFile:
    """The frames of a raw file, of which only some are read at first.

    Args:
        path: the file.
        layout: size, byte order and offset, see :class:`RawLayout`.
        by_hand: what the user says of the frames. It is not applied here: frames of doubled height are left whole where
            it names a half, and telemetry is not searched for where it names rows.

    Raises:
        OSError: the file cannot be read.
        ValueError: the size is not known or contradicts the content, or the file does not hold whole frames of it.
    """
    by_hand = by_hand or SceneRegion()
    size = path.stat().st_size
    length = size - layout.offset
    if length <= 0:
        header = f" and so nothing after the {layout.offset} of --raw-offset" if layout.offset else ""
        raise ValueError(f"{path} has {size} bytes{header}: there is no frame in it; check the file")
    order = None if layout.order == "auto" else layout.order
    packets = vospi.recognise(path, layout.offset, length)
    if packets is not None:
        frames = RawFrames(path, layout.offset, packets.layout, length // packets.frame_bytes, packets)
        known = packets.layout
        if layout.size not in (None, (known.width, known.height)) or order not in (None, packets.order):
            raise ValueError(
                f"{path} holds packets of a FLIR Lepton (VoSPI), {packets.order} endian, which make frames of {known} "
                "counts; leave --raw-size and --raw-order out"
            )
        found = fit(known, frames.samples(), frames.count, packets.order)
        chosen = Choice(found, "size and byte order from its VoSPI packets")
    else:
        halves = by_hand.plane is not None
        if layout.size is not None:
            chosen = stated(path, layout.size, layout, length, halves)
        else:
            chosen = choose(path, layout, length, halves)
        frames = RawFrames(path, layout.offset, chosen.fit.layout, chosen.fit.count)
    return _described(frames, chosen, layout, by_hand)


def _described(frames: RawFrames, chosen: Choice, layout: RawLayout, by_hand: SceneRegion) -> RawFile:
    """The opened file with what is to be said about it."""
    found = chosen.fit
    stored = found.layout
    whole = by_hand.plane is not None
    first = 0 if whole else stored.picture
    height = stored.height - first
    scene = slice(0, height) if whole or by_hand.telemetry is not None else found.scene
    warnings = [chosen.doubt] if chosen.doubt else []
    encoding = f"raw 16-bit counts, {found.order} endian"
    if frames.packets is not None:
        encoding += ", in VoSPI packets"
    relation = None
    if first:
        encoding += f", rows {first} to {stored.height - 1} of {stored}"
        warnings.append(
            f"frames of {stored} as {stored.camera} stores them: the {first} upper rows are a picture to look at and "
            "are left out; --plane upper or --plane lower says otherwise"
        )
        relation = _relation(frames, found)
    if frames.alternate():
        warnings.append(
            "its frames are of two kinds in turn, such as pictures to look at and counts: if they are halves of "
            "doubled frames, --plane lower reads the lower ones alone"
        )
    if scene != slice(0, height):
        rows = height - (scene.stop - scene.start)
        place = "below" if scene.start == 0 else "above"
        warnings.append(
            f"frames of {stored} as {stored.camera} stores them: the {rows} row{'s' if rows > 1 else ''} {place} the "
            f"picture {'are' if rows > 1 else 'is'} telemetry, left out of range and filters and given back unchanged; "
            "--telemetry TOP,BOTTOM says otherwise"
        )
    number = f"{found.count} frame{'s' if found.count > 1 else ''}"
    notes = [f"{stored.width}x{height}, {number}, {found.order} endian: {chosen.origin}{_order_text(found, layout)}"]
    if relation is not None:
        notes.append(f"counts of 1/64 K, as {stored.camera} stores them; --kelvin says otherwise")
    warnings += _order_warnings(frames, found, layout)
    read = frames.reader(found.order, first)
    pages = Frames(read, (found.count, height, stored.width), np.dtype(np.uint16))
    return RawFile(pages, scene, relation, encoding, tuple(notes), tuple(warnings))


def _order_text(found: Fit, layout: RawLayout) -> str:
    """What the byte order is from, to follow in the note on the size."""
    if layout.order != "auto":
        return ", byte order as told"
    reason = found.guess.reason
    return f", byte order because {reason}; --raw-size and --raw-order say otherwise" if reason else ""


def _order_warnings(frames: RawFrames, found: Fit, layout: RawLayout) -> list[str]:
    """What is doubtful about the byte order."""
    if frames.packets is not None:
        return []
    if layout.order == "auto":
        undecided = "neither byte order gives a smoother picture: little endian is taken; --raw-order says otherwise"
        return [] if found.guess.reason else [undecided]
    if found.guess.reason and found.guess.order != found.order:
        return [f"{found.guess.order} endian looks right, as {found.guess.reason}: is --raw-order {found.order} right?"]
    return []


def _relation(frames: RawFrames, found: Fit) -> LinearKelvin | None:
    """1/64 K where a doubled frame's counts can be nothing else: more than 14 bits, and within the cameras' range."""
    counts = np.stack([frame[found.layout.picture :] for frame in frames.samples()])
    if found.order == "big":
        counts = counts.byteswap()
    certain = found.layout.counts_height == 192 and counts.min() >= _COLDEST and counts.max() <= _WARMEST
    return _SIXTY_FOURTHS if certain and np.median(counts) > _FOURTEEN_BITS else None


def read(path: Path, layout: RawLayout, by_hand: SceneRegion | None = None) -> ThermalImage:
    """The frames of a raw file, which become its pages.

    Args:
        path: the file.
        layout: size and byte order, see :class:`RawLayout`.
        by_hand: see :func:`open_raw`.

    Raises:
        OSError: the file cannot be read.
        ValueError: see :func:`open_raw`.
    """
    raw = open_raw(path, layout, by_hand)
    is_guess = layout.size is None or layout.order == "auto"
    mask = np.zeros(raw.frames.shape[1:], bool)
    mask[raw.scene_rows] = True
    return ThermalImage(
        Metadata(path),
        raw.frames,
        raw.encoding,
        relation=raw.relation,
        valid=None if mask.all() else within(mask, None, len(raw.frames)),
        notes=() if is_guess else raw.notes,
        warnings=(*raw.warnings, *raw.notes) if is_guess else raw.warnings,
        assumed=raw.relation is not None,
    )
