"""The planes of raw counts in FLIR's raw-data records: plain, PNG or JPEG-LS."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...images import DECODER_ERRORS
from ...images.png import check_rows
from .flir_records import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

GEOMETRY = 32
"""Bytes at the beginning of a raw-data record that describe its plane."""

_PNG, _JPEG_LS = b"\x89PNG", b"\xff\xd8\xff"
_END_OF_IMAGE = b"\xff\xd9"  # which does not occur in coded pixels: a 0 bit follows a byte of 1 bits (ITU-T T.87, A.1)
_BYTES_PER_PIXEL = 2
_LARGEST_PLANE = 1 << 26  # pixels; a hundred times a sensor's, so more is a damaged number


@dataclass(frozen=True)
class Geometry:
    """What a raw-data record says about its plane.

    Attributes:
        width: in pixels.
        height: in pixels.
        valid: (left, top, width, height) of the pixels that are scene, where the camera marks others as its own.
    """

    width: int
    height: int
    valid: tuple[int, int, int, int] | None


def read_geometry(record: bytes) -> Geometry:
    """Read the first ``GEOMETRY`` bytes of a raw-data record.

    Raises:
        DamagedError: the record is too short, or holds something other than 16-bit counts of a plausible size.
    """
    if len(record) < GEOMETRY:
        raise DamagedError("its plane of raw counts is empty")
    # The record begins with the number of bytes per pixel, which shows the byte order too.
    order = "<" if record[1] == 0 else ">"
    depth, width, height, _, _, left, right, top, bottom = struct.unpack_from(f"{order}9H", record)
    if depth != _BYTES_PER_PIXEL:
        raise DamagedError(f"its plane has {depth} bytes per pixel, {_BYTES_PER_PIXEL} are expected")
    if not 0 < width * height <= _LARGEST_PLANE:
        raise DamagedError(f"its plane of raw counts has {width}x{height} pixels")
    inside = left < right < width and top < bottom < height
    valid = (left, top, right - left + 1, bottom - top + 1) if inside else None
    return Geometry(width, height, None if valid == (0, 0, width, height) else valid)


def decode(record: bytes, path: Path) -> tuple[np.ndarray, str]:
    """Decode a raw-data record.

    Args:
        record: all of it.
        path: the file, for messages.

    Returns:
        (``[H, W]`` uint16 whose bytes may be in the wrong order, name of the encoding)

    Raises:
        DamagedError: the plane is cut off, cannot be decoded or has another size than the record says.
        ImportError: the plane needs an optional package.
    """
    geometry = read_geometry(record)
    shape = geometry.height, geometry.width
    body = record[GEOMETRY:]
    if body.startswith(_PNG):
        return _decode_png(body, shape), "PNG plane"
    if body.startswith(_JPEG_LS):
        return _decode_jpeg_ls(body, shape, path), "JPEG-LS plane"
    count = geometry.width * geometry.height
    if len(body) < count * _BYTES_PER_PIXEL:
        raise DamagedError(f"its plane of {geometry.width}x{geometry.height} raw counts is cut off")
    return np.frombuffer(body, "<u2", count).reshape(shape).astype(np.uint16), "plain plane"


def _decode_png(body: bytes, shape: tuple[int, int]) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(body), formats=("PNG",))
        if (image.height, image.width) == shape:  # a damaged size is not decoded, which could fill the memory
            check_rows(body)
            image.load()
    except DECODER_ERRORS as error:
        raise DamagedError(f"its PNG plane of raw counts cannot be read: {error}") from error
    _check_size((image.height, image.width), shape)
    if not image.mode.startswith("I"):
        raise DamagedError(f"its PNG plane holds {image.mode}, 16-bit grey is expected")
    return np.asarray(image).astype(np.uint16)


def _decode_jpeg_ls(body: bytes, shape: tuple[int, int], path: Path) -> np.ndarray:
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError(
            f"{path}: its raw counts are compressed as JPEG-LS, which needs imagecodecs: pip install imagecodecs "
            "(or 'hidra-thermal[radiometric]')"
        ) from error
    at = body.find(b"\xff\xf7")  # start of frame: length, bits per count, height, width
    if 0 < at <= len(body) - 9:
        _check_size(struct.unpack_from(">HH", body, at + 5), shape)
    if _END_OF_IMAGE not in body:  # where it is missing, CharLS may read on behind the end for many seconds
        raise DamagedError("its JPEG-LS plane of raw counts is cut off")
    try:
        plane = np.asarray(imagecodecs.jpegls_decode(body))
    except RuntimeError as error:  # imagecodecs' own errors
        raise DamagedError(f"its JPEG-LS plane of raw counts cannot be read: {error}") from error
    _check_size(plane.shape, shape)
    return plane.astype(np.uint16)


def _check_size(size: tuple[int, ...], shape: tuple[int, int]) -> None:
    if size != shape:
        raise DamagedError(f"its plane is {'x'.join(map(str, size[::-1]))}, the record says {shape[1]}x{shape[0]}")
