"""InfiRay's radiometric JPEG ("IJPEG"), of P2 Pro, Thermal Master and other cameras with the same software.

An APP2 segment describes what the APP3 segments hold together: a picture, the plane of temperatures, and for some
cameras an image of visible light. Its layout is ExifTool's (https://exiftool.org/TagNames/InfiRay.html); that
temperatures are 1/64 K, little endian, is from https://github.com/exiftool/exiftool/pull/184, and measured at
https://github.com/greg-randall/Thermal-Master-P2-Extractor.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..counts import LinearKelvin, ThermalImage
from .jpeg import carrier, joined, make_and_model
from .planes import smoother

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_APP2, _APP3, _APP5, _APP9 = 0xE2, 0xE3, 0xE5, 0xE9
_SIGNATURE, _SIGNATURE_AT, _HEADER = b"IJPEG\0", 4, 80
_PICTURE_AT, _TEMPERATURES_AT = 0x20, 0x30
_KELVIN = LinearKelvin(1 / 64)
_COLDEST = 150.0  # kelvin; a frame whose middle is colder is not in 1/64 K
_GREY_CHROMA, _GREY_SHARE = 0x80, 0.99  # of the second bytes of a picture without colours in YUYV
_REMEDY = "export the frame as 16-bit TIFF or as a table with the camera's software"
# name: offset in APP5 of a little-endian float, and what is added to make it the unit of ThermalImage.parameters
_PARAMETERS = {
    "atmospheric_temperature": (0, 273.15),
    "object_distance": (4, 0.0),
    "emissivity": (8, 0.0),
    "relative_humidity": (12, 0.0),
    "reflected_temperature": (16, 273.15),
}


@dataclass(frozen=True)
class _Described:
    """One kind of data in the APP3 segments, as APP2 describes it; zeros where it is not described."""

    size: int
    width: int
    height: int
    bits: int

    @classmethod
    def at(cls, header: bytes, offset: int) -> _Described:
        return cls(*struct.unpack_from("<Q2xHHB", header, offset))


def is_in(segments: list[tuple[int, bytes]]) -> bool:
    """Whether a JPEG has the APP2 segment that describes InfiRay's planes, and APP3 segments."""
    return bool(_header(segments)) and any(marker == _APP3 for marker, _ in segments)


def read_jpeg(data: bytes, segments: list[tuple[int, bytes]], path: Path) -> ThermalImage | None:
    """The counts of an InfiRay radiometric JPEG; None, with a warning for InfiRay's, if it has no planes.

    The counts are turned like the JPEG by its EXIF orientation alone. Phone apps turn their picture without saying so.

    Raises:
        ValueError: the planes are incomplete, or their description does not say where the counts are.
    """
    header = _header(segments)
    if not header:
        return None
    if not is_in(segments):
        log.warning("%s: an InfiRay JPEG without its plane of counts; only its coloured image can be read", path)
        return None
    width, height, start = _layout(header, path)
    body = joined(segments, _APP3)
    end = start + width * height * 2
    if len(body) < end:
        raise ValueError(
            f"{path} is damaged or incomplete: its plane of {width}x{height} counts ends at byte {end} of its APP3 "
            f"segments, which have {len(body)} bytes; copy it from the camera again"
        )
    plane = np.frombuffer(body[start:end], "<u2").reshape(height, width).astype(np.uint16)
    _check_counts(plane, path)
    metadata, counts = carrier(path, data, plane)
    camera = make_and_model(data) or joined(segments, _APP9)[:12].split(b"\0")[0].decode("latin-1").strip()
    return ThermalImage(
        metadata, counts[None], "InfiRay IJPEG, plain plane", camera, _KELVIN, _parameters(joined(segments, _APP5))
    )


def _header(segments: list[tuple[int, bytes]]) -> bytes:
    end = _SIGNATURE_AT + len(_SIGNATURE)
    headers = (payload for marker, payload in segments if marker == _APP2 and payload[_SIGNATURE_AT:end] == _SIGNATURE)
    return next(headers, b"")


def _layout(header: bytes, path: Path) -> tuple[int, int, int]:
    """(width, height, first byte) of the plane of counts in the APP3 segments.

    The plane of temperatures follows the picture. P2 Pro describe it as 8-bit with twice its height, Thermal Master
    not at all: it then has the size of the picture, whose pixels have 16 bits as well (YUYV).
    """
    if len(header) < _HEADER:
        raise ValueError(f"{path}: its description of InfiRay's planes has {len(header)} bytes, {_HEADER} are expected")
    picture = _Described.at(header, _PICTURE_AT)
    stated = _Described.at(header, _TEMPERATURES_AT)
    plane = stated if stated.size else picture
    width = plane.width or picture.width
    height = plane.size // (2 * width) if width else 0
    named = plane.height or picture.height
    whole = width > 0 and plane.size > 0 and plane.size == width * height * 2
    if not (picture.size and whole and (named == height or (named == 2 * height and plane.bits == 8))):
        raise ValueError(
            f"{path}: where its counts are is not understood: {picture.size} bytes of picture ({picture.width}x"
            f"{picture.height}, {picture.bits} bits) and {stated.size} of temperatures ({stated.width}x"
            f"{stated.height}, {stated.bits} bits) are stated, equal planes of 16 bits are expected: {_REMEDY}"
        )
    return width, height, picture.size


def _check_counts(plane: np.ndarray, path: Path) -> None:
    """Refuse a plane that holds something else than 1/64 K."""
    chroma = np.count_nonzero(plane >> 8 == _GREY_CHROMA)
    kelvin = float(_KELVIN.kelvin(np.median(plane)))
    if chroma < _GREY_SHARE * plane.size and not smoother(plane)[1] and kelvin >= _COLDEST:
        return
    raise ValueError(
        f"{path}: the second of InfiRay's planes does not hold temperatures in 1/64 K as expected (its middle would be "
        f"{kelvin:.1f} K): {_REMEDY}"
    )


def _parameters(record: bytes) -> dict[str, float]:
    if len(record) < 20:
        return {}
    numbers = {name: struct.unpack_from("<f", record, at)[0] + add for name, (at, add) in _PARAMETERS.items()}
    return {name: round(value, 6) for name, value in numbers.items() if np.isfinite(value)}
