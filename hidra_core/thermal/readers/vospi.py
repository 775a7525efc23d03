"""Packets of the FLIR Lepton's VoSPI interface, as programs on single-board computers save them.

A packet is an ID, a checksum and 80 counts, all big endian unless the program swapped them. A Lepton 2 frame is 60
packets, 63 with telemetry. A Lepton 3 frame is four segments of 60 packets, 61 with telemetry, of half a row each.
Source: FLIR Lepton Engineering Datasheet (500-0659-00-09), VoSPI protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .raw_layouts import FrameLayout

if TYPE_CHECKING:
    from pathlib import Path

    from .planes import ByteOrder

_WORDS = 82  # ID, checksum, 80 counts
PACKET = 2 * _WORDS
_NUMBER, _DISCARD = 0x0FFF, 0x0F00
_SEGMENT_SHIFT, _SEGMENT_PACKET = 12, 20  # packet 20 of a segment carries the segment's number
_CHUNK = 1 << 14  # packets


@dataclass(frozen=True)
class Packets:
    """VoSPI packets in a file.

    Attributes:
        layout: of the frames that they make, without the packets' headers.
        order: their byte order.
        frame_bytes: bytes of the packets of one frame.
    """

    layout: FrameLayout
    order: ByteOrder
    frame_bytes: int

    def assemble(self, data: np.ndarray) -> np.ndarray:
        """The frame ``[H, W]`` uint16 in the packets of one frame, given as words of 16 bits."""
        return data.reshape(-1, _WORDS)[:, 2:].reshape(self.layout.height, self.layout.width)


def recognise(path: Path, offset: int, length: int) -> Packets | None:
    """What VoSPI packets a file holds; None if it holds something else.

    Args:
        path: the file.
        offset: the first byte of the packets.
        length: their bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: packets are missing, out of order, or to be discarded.
    """
    if length < 60 * PACKET or length % PACKET:
        return None
    ids = _ids(path, offset, length)
    readings: tuple[tuple[ByteOrder, np.ndarray], ...] = (("big", ids.byteswap()), ("little", ids))
    for order, candidates in readings:
        real = candidates[(candidates & _DISCARD) != _DISCARD] & _NUMBER
        if len(real) and real.max() <= 62 and np.count_nonzero(np.diff(real.astype(np.int32)) == 1) > 0.9 * len(real):
            return _layout(candidates, order, path)
    return None


def _layout(ids: np.ndarray, order: ByteOrder, path: Path) -> Packets:
    """The layout that packets with these IDs make; refuses what does not make whole frames."""
    per_segment = int((ids[(ids & _DISCARD) != _DISCARD] & _NUMBER).max()) + 1
    numbers = np.resize(np.arange(per_segment), len(ids))
    wrong = np.flatnonzero((ids & _NUMBER) != numbers)
    if len(ids) % per_segment or per_segment not in (60, 61, 63) or len(wrong):
        first = int(wrong[0]) if len(wrong) else len(ids)
        raise ValueError(
            f"{path} holds packets of a FLIR Lepton (VoSPI), and from packet {first} on they do not follow each other: "
            "some are missing or to be discarded; save whole frames, or the frames without packet headers"
        )
    segments = (ids[_SEGMENT_PACKET::per_segment] >> _SEGMENT_SHIFT) & 7
    if per_segment == 63 or not (per_segment == 61 or segments.any()):
        telemetry = per_segment - 60
        return Packets(FrameLayout(80, per_segment, "FLIR Lepton", telemetry), order, per_segment * PACKET)
    if len(segments) % 4 or not np.array_equal(segments, np.resize(np.arange(1, 5), len(segments))):
        raise ValueError(
            f"{path} holds packets of a FLIR Lepton 3 (VoSPI), but its segments are not 1 to 4 in turn: some are "
            "missing or invalid; save whole frames, or the frames without packet headers"
        )
    layout = FrameLayout(160, 2 * per_segment, "FLIR Lepton", 2 * (per_segment - 60))
    return Packets(layout, order, 4 * per_segment * PACKET)


def _ids(path: Path, offset: int, length: int) -> np.ndarray:
    """The first word of each packet, read as little endian."""
    parts = []
    with path.open("rb") as file:
        file.seek(offset)
        for start in range(0, length // PACKET, _CHUNK):
            count = min(_CHUNK, length // PACKET - start) * _WORDS
            words = np.fromfile(file, "<u2", count)
            parts.append(words.reshape(-1, _WORDS)[:, 0].astype(np.uint16))
    return np.concatenate(parts)
