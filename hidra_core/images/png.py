"""Whether a PNG holds all the rows that its header promises."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps across and down, of the passes of an interlaced PNG."""

_BLOCK = 1 << 20


def check_rows(data: bytes) -> None:
    """Refuse a PNG whose compressed pixels end before its last row: Pillow would make the missing rows black.

    The layout is that of the PNG specification (third edition, sections 8 and 11.2.1). Damage of other kinds is left to
    the decoder.

    Args:
        data: the file, whose header a decoder has accepted.

    Raises:
        ValueError: rows are missing.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">2I5B", data, 16)
    bits = depth * _CHANNELS.get(colour, 0)
    expected = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        expected += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    inflater, found = zlib.decompressobj(), 0
    try:
        for part in _pixels(data):
            while part and found < expected and not inflater.eof:
                found += len(inflater.decompress(part, _BLOCK))
                part = inflater.unconsumed_tail
    except zlib.error:
        return
    if inflater.eof and found < expected:
        raise ValueError(
            f"its header says {width}x{height} pixels, but its rows end after {found / expected:.0%} of them"
        )


def _pixels(data: bytes) -> Iterator[memoryview]:
    """The contents of the chunks that hold the pixels."""
    view, at = memoryview(data), 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            yield view[at + 8 : at + 8 + length]
        at += 12 + length
