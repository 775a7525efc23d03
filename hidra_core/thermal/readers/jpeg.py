"""The application segments of a JPEG, in which cameras store data other than the image."""

from __future__ import annotations

import io
import re
import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from ...images import DECODER_ERRORS, Metadata, read_metadata, turn_upright

if TYPE_CHECKING:
    from pathlib import Path

JPEG = b"\xff\xd8"
SMALLEST_PLANE = 80 * 60 * 2
"""Bytes of 16-bit counts of the smallest sensor; shorter data in a JPEG are something else."""

_START_OF_SCAN, _END = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # among compressed pixels ff 00 is a byte, ff d0-d7 a restart


def segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, payload) of the segments before the pixels; reading ends at a damaged or cut-off one."""
    parts: list[tuple[int, bytes]] = []
    at = len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _START_OF_SCAN or length < 2 or at + 2 + length > len(data):
            break
        parts.append((marker, data[at + 4 : at + 2 + length]))
        at += 2 + length
    return parts


def joined(segments: list[tuple[int, bytes]], marker: int) -> bytes:
    """What the segments with this marker hold together."""
    return b"".join(payload for found, payload in segments if found == marker)


def end_of_image(data: bytes, start: int = 0) -> int | None:
    """Offset of the first byte behind the JPEG that begins at ``start``; None if it does not end or is none."""
    if data[start : start + len(JPEG)] != JPEG:
        return None
    at = start + len(JPEG)
    while found := _MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return at
        if at + 2 > len(data):
            break
        at += max(struct.unpack_from(">H", data, at)[0], 2)
    return None


def make_and_model(data: bytes) -> str:
    """Make and model that the EXIF of a JPEG states; empty if it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata
            exif = Image.open(io.BytesIO(data)).getexif()
    except DECODER_ERRORS:
        return ""
    words = [str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    return " ".join(word for word in words if word)


def carrier(path: Path, data: bytes, counts: np.ndarray) -> tuple[Metadata, np.ndarray]:
    """The metadata of a radiometric JPEG, and its counts ``[H, W]``, upright like the JPEG.

    Of the JPEG's own image only the metadata are read: that it is cut off does not matter.

    Raises:
        ValueError: the JPEG is so damaged that its metadata cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata
            exif, orientation, xmp = read_metadata(Image.open(io.BytesIO(data), formats=("JPEG",)), path)
    except DECODER_ERRORS as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}); copy it from the camera again") from error
    # The colour profile belongs to the coloured image and is left out.
    return Metadata(path, exif, xmp=xmp), np.ascontiguousarray(turn_upright(counts, orientation))
