"""DJI's radiometric JPEG: APP3 segments that together are the plane of counts (Zenmuse XT S: APP4).

The relation of these counts to temperatures is not published; DJI's software converts them. What the camera assumed of
the scene is in APP4 too; its layouts are ExifTool's (https://exiftool.org/TagNames/DJI.html).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from ..counts import ThermalImage
from .jpeg import SMALLEST_PLANE, carrier, joined, make_and_model
from .planes import by_length, smoother

if TYPE_CHECKING:
    from pathlib import Path

_APP3, _APP4 = 0xE3, 0xE4
_CELSIUS = 273.15
# ExifTool's ThermalParams (H20T), ThermalParams3 (some M30T) and ThermalParams2 (others), with their first bytes
_H20T = b"\xaa\x55\x12\x06"
_M30T, _OFFSET = b"\xaa\x55\x38\x00", 32
_OTHERS, _OTHERS_M2EA = b"\xff\xd2\xd1\xffiirp", b"\x2c\x01\x20\x00"


def is_in(data: bytes, segments: list[tuple[int, bytes]]) -> bool:
    """Whether a JPEG is of a DJI camera, and has segments as long as a plane of counts."""
    return len(_plane(segments)) >= SMALLEST_PLANE and make_and_model(data).upper().startswith("DJI")


def read_jpeg(data: bytes, segments: list[tuple[int, bytes]], path: Path) -> ThermalImage | None:
    """The counts of a DJI radiometric JPEG; None if this is something else.

    Raises:
        ValueError: a DJI camera's plane of counts has the size of no known sensor.
    """
    if not is_in(data, segments):
        return None
    body = _plane(segments)
    size = by_length(len(body))
    if size is None:
        raise ValueError(
            f"{path}: its plane of counts has {len(body)} bytes, which is the frame of no known DJI sensor: it is "
            "incomplete or of a newer camera; export it as 16-bit TIFF with DJI's thermal software"
        )
    width, height = size
    plane, swapped = smoother(np.frombuffer(body, "<u2").reshape(height, width).astype(np.uint16))
    metadata, counts = carrier(path, data, plane)
    encoding = f"DJI radiometric JPEG, plain plane{', bytes swapped' if swapped else ''}"
    parameters = _parameters(joined(segments, _APP4))
    return ThermalImage(metadata, counts[None], encoding, make_and_model(data), None, parameters)


def _plane(segments: list[tuple[int, bytes]]) -> bytes:
    """The plane of counts: APP4 in files of Zenmuse XT S, whose APP3 is a table of 32768 bytes, else APP3."""
    usual, other = joined(segments, _APP3), joined(segments, _APP4)
    return other if by_length(len(usual)) is None and len(other) > len(usual) >= SMALLEST_PLANE else usual


def _parameters(record: bytes) -> dict[str, float]:
    """What the camera assumed: emissivity and relative humidity 0 to 1, distance in m, temperatures in K.

    Empty where the record is of an unknown layout, or says what cannot be.
    """
    emissivity, humidity, distance, reflected, ambient = 0.0, 0.0, 0.0, 0.0, None
    if record.startswith(_H20T) and len(record) >= 0x4E:
        metres, percent, hundredths, tenths, celsius = struct.unpack_from("<5H", record, 0x44)
        emissivity, humidity, distance = hundredths / 100, percent / 100, float(metres)
        reflected, ambient = tenths / 10, float(celsius)
    elif record[_OFFSET : _OFFSET + 4] == _M30T and len(record) >= _OFFSET + 12:
        percent, decimetres, hundredths, tenths = struct.unpack_from("<4H", record, _OFFSET + 4)
        emissivity, humidity, distance, reflected = hundredths / 100, percent / 100, decimetres / 10, tenths / 10
    elif (start := _floats_at(record)) is not None and len(record) >= start + 20:
        ambient, distance, emissivity, humidity, reflected = struct.unpack_from("<5f", record, start)
    values = {
        "emissivity": emissivity,
        "relative_humidity": humidity,
        "object_distance": distance,
        "reflected_temperature": reflected + _CELSIUS,
    }
    if ambient is not None:
        values["atmospheric_temperature"] = ambient + _CELSIUS
    temperatures = [value for name, value in values.items() if name.endswith("_temperature")]
    possible = 0 < emissivity <= 1 and 0 <= humidity <= 1 and 0 < distance < 1e4 and 150 < min(temperatures) < 1000
    return {name: round(value, 4) for name, value in values.items()} if possible else {}


def _floats_at(record: bytes) -> int | None:
    if record.startswith(_OTHERS):
        return _OFFSET
    return 0 if record[_OFFSET : _OFFSET + 4] == _OTHERS_M2EA else None
