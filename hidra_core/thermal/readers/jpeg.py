"""The application segments of a JPEG, in which cameras store data other than the image."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from ...images import DECODER_ERRORS, Metadata, read_metadata, turn_upright

if TYPE_CHECKING:
    from pathlib import Path

JPEG = b"\xff\xd8"
_START_OF_SCAN = 0xDA


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


def make_and_model(data: bytes) -> str:
    """Make and model that the EXIF of a JPEG states; empty if it does not."""
    try:
        exif = Image.open(io.BytesIO(data)).getexif()
    except DECODER_ERRORS:
        return ""
    words = [str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    return " ".join(word for word in words if word)


def carrier(path: Path, data: bytes, counts: np.ndarray) -> tuple[Metadata, np.ndarray]:
    """The metadata of a radiometric JPEG, and its counts ``[H, W]``, upright like the JPEG.

    Raises:
        ValueError: the JPEG is damaged.
    """
    try:
        exif, orientation, xmp = read_metadata(Image.open(io.BytesIO(data), formats=("JPEG", "MPO")), path)
    except DECODER_ERRORS as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}); copy it from the camera again") from error
    # The colour profile belongs to the coloured image and is left out.
    return Metadata(path, exif, xmp=xmp), np.ascontiguousarray(turn_upright(counts, orientation))
