"""The application segments of a JPEG, in which cameras store data other than the image."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from ...images import DECODER_ERRORS, Picture, read_image, turn_upright

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


def carrier(path: Path, counts: np.ndarray) -> tuple[Picture, np.ndarray]:
    """The content of a radiometric JPEG with its counts as pixels, and the counts ``[H, W]``, upright like the JPEG."""
    shown = read_image(path)
    with Image.open(path) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    counts = np.ascontiguousarray(turn_upright(counts, orientation))
    pixels = (counts / np.float32(65535))[..., None].astype(np.float32)
    # The colour profile belongs to the coloured image and is left out.
    return Picture(path, pixels, 16, exif=shown.exif, xmp=shown.xmp), counts
