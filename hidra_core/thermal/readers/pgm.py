"""Counts in PGM, the portable grey map, as stored: decoders for display stretch them to the header's maximum."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ...images import Metadata
from ..counts import ThermalImage

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = re.compile(rb"P([25])" + rb"(?:\s+|\s*#[^\n]*\n\s*)+(\d+)" * 3 + rb"(?:[ \t]*#[^\n]*\n|\s)")
MAGICS = (b"P2", b"P5")

_LARGEST = 1 << 28  # pixels


def read(data: bytes, path: Path) -> ThermalImage | None:
    """The counts of a PGM file, text or binary (Netpbm, "pgm"); None if it is another format, or one for display.

    A file whose largest value may be 255 is a picture for display, as is every other image file of 8 bits.

    Args:
        data: the content of the file.
        path: the file, for messages.

    Raises:
        ValueError: damaged, or several frames.
    """
    header = _HEADER.match(data)
    if header is None:
        return None
    kind, (width, height, most) = int(header[1]), (int(header[group]) for group in (2, 3, 4))
    if most == 255:
        return None
    number = width * height
    if not (0 < number <= _LARGEST and 0 < most <= 65535):
        raise ValueError(
            f"{path} is damaged: its header says {width}x{height}, values up to {most}; copy or export it again"
        )
    dtype = np.dtype(np.uint8 if most < 256 else np.uint16)
    body = data[header.end() :]
    values = _text(body, path) if kind == 2 else np.frombuffer(body, dtype.newbyteorder(">"), _whole(body, dtype))
    if len(values) < number:
        raise ValueError(f"{path} is damaged or incomplete: {len(values)} of {number} values; copy or export it again")
    if len(values) > number and (kind == 2 or len(values) >= 2 * number):
        raise ValueError(f"{path} holds {len(values)} values for a frame of {number}: save each frame as its own file")
    counts = values[:number]
    if counts.max() > most:
        raise ValueError(f"{path} is damaged: a value of {counts.max()} is above the largest that its header allows")
    counts = counts.astype(dtype).reshape(1, height, width)
    return ThermalImage(Metadata(path), counts, f"PGM, values up to {most}")


def _whole(body: bytes, dtype: np.dtype) -> int:
    return len(body) // dtype.itemsize


def _text(body: bytes, path: Path) -> np.ndarray:
    try:
        return np.array(re.sub(rb"#[^\n]*", b"", body).split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {error}; copy or export it again") from error
