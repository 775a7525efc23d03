"""Counts that follow the end of a JPEG's image, as some makers append them.

Three layouts are read; public programs that read the same are named with each. What follows a JPEG and is not
understood is said by :mod:`.unread`.
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING

import numpy as np

from ..counts import LinearKelvin, ThermalImage
from .jpeg import carrier, end_of_image, make_and_model
from .packages import CELSIUS, Content
from .planes import smoother

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_LARGEST_SIDE = 4096
_GRID_END = bytes.fromhex("3766071a123a4c9fa95d21d2da7d26bc")
_GRID_HEADER, _GRID_TRAILER = 20, 20  # version, width, height, time; offset of the header, mark of the end
_GRID_RANGE = (-100.0, 4000.0)  # °C in which the middle of a frame must lie
_HDRI, _HDRI_HEADER = b"HDRI\x28\x10", 44
_HTI_RECORDS = (104, 112)  # bytes of the record behind the planes with its length, by firmware
_HTI_MODEL, _HTI_EMISSIVITY = slice(0, 20), 84


def is_in(data: bytes) -> bool:
    """Whether a JPEG is followed by counts of a known layout."""
    return data.endswith(_GRID_END) or _hdri_at(data) is not None or _hti_at(data) is not None


def read_jpeg(data: bytes, _segments: list[tuple[int, bytes]], path: Path) -> ThermalImage | None:
    """The counts behind a JPEG's image; None if there are none that are known.

    Raises:
        ValueError: counts of a known layout are damaged or incomplete.
    """
    found = find(data, path)
    if found is None:
        return None
    metadata, counts = carrier(path, data, found.counts[0])
    camera = found.camera or make_and_model(data)
    return ThermalImage(metadata, counts[None], found.encoding, camera, found.relation, found.parameters)


def find(data: bytes, path: Path) -> Content | None:
    """The planes behind a JPEG's image as they are stored, not turned; None if there are none that are known.

    Raises:
        ValueError: see :func:`read_jpeg`.
    """
    if data.endswith(_GRID_END):
        return _read_grid(data, path)
    if (at := _hdri_at(data)) is not None:
        return _read_hdri(data, at, path)
    if (at := _hti_at(data)) is not None:
        return _read_hti(data, at)
    return None


def _read_grid(data: bytes, path: Path) -> Content:
    """Temperatures in °C as the Chinese power grid asks of cameras (Hikmicro, Guide and others), float32.

    Read the same by the library sgjw ("State Grid JPEG") and by ThermoVision_JoeC (Hikvision, type 2).
    """
    at = struct.unpack_from("<I", data, len(data) - _GRID_TRAILER)[0] if len(data) >= _GRID_TRAILER else len(data)
    room = len(data) - _GRID_TRAILER - at - _GRID_HEADER
    width, height = struct.unpack_from("<2x2H", data, at) if room > 0 else (0, 0)
    end = at + _GRID_HEADER + 4 * width * height
    if not 0 < 4 * width * height <= room:
        raise _damaged(path, f"its matrix of {width}x{height} temperatures does not fit behind its image")
    celsius = np.frombuffer(data, "<f4", width * height, at + _GRID_HEADER).reshape(1, height, width)
    with np.errstate(invalid="ignore"):
        middle = float(np.median(celsius))
    if not _GRID_RANGE[0] < middle < _GRID_RANGE[1]:
        raise _damaged(path, f"the middle of its matrix of temperatures is {middle:g} °C")
    record = data[end : len(data) - _GRID_TRAILER]
    camera, parameters = "", {}
    if len(record) >= 82:
        emissivity, ambient, humidity, reflected = struct.unpack_from("<2f5xBf", record)
        camera = " ".join(_text(record[start : start + 32]) for start in (18, 50)).strip()
        if 0 < emissivity <= 1 and humidity <= 100 and np.isfinite([ambient, reflected]).all():
            parameters = {
                "emissivity": round(emissivity, 6),
                "atmospheric_temperature": round(ambient + CELSIUS, 4),
                "relative_humidity": humidity / 100,
                "reflected_temperature": round(reflected + CELSIUS, 4),
            }
    encoding = "temperatures in °C behind a JPEG (State Grid)"
    return Content(celsius.astype(np.float32), encoding, camera, LinearKelvin(1.0, CELSIUS), parameters)


def _hdri_at(data: bytes) -> int | None:
    found = data.find(b"\xff\xd9" + _HDRI)
    return found + 2 if found >= 0 else None


def _read_hdri(data: bytes, at: int, path: Path) -> Content:
    """Counts of Hikmicro and Hikvision cameras.

    Size, order and place are read the same by three programs: ThermoVision_JoeC, Quadricopter/hikmicro and BLITZ. Their
    relations to temperatures differ from one another, so that none is used.
    """
    width, height = struct.unpack_from("<2I", data, at + 12) if at + _HDRI_HEADER <= len(data) else (0, 0)
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise _damaged(path, f"its HDRI data state a plane of {width}x{height} counts")
    if len(data) < at + _HDRI_HEADER + 2 * width * height:
        raise _damaged(path, f"its plane of {width}x{height} counts is cut off")
    plane = np.frombuffer(data, "<u2", width * height, at + _HDRI_HEADER).reshape(height, width).astype(np.uint16)
    if smoother(plane)[1]:
        raise _damaged(path, f"its HDRI data are not a plane of {width}x{height} counts, as they say")
    return Content(plane[None], "counts behind a JPEG (Hikmicro HDRI)")


def _hti_at(data: bytes) -> int | None:
    """Offset of the planes of an HTI camera, behind two images; None unless both planes and the record fit."""
    first = end_of_image(data)
    second = None if first is None else end_of_image(data, first)
    if second is None or second + 4 > len(data):
        return None
    width, height = struct.unpack_from("<2H", data, second)
    again = second + 4 + 2 * width * height
    record = again + 4 + width * height
    if width * height == 0 or record + 4 > len(data):
        return None
    size = struct.unpack_from("<I", data, record)[0]
    fits = data[again : again + 4] == data[second : second + 4] and size in _HTI_RECORDS
    return second if fits and record + size <= len(data) else None


def _read_hti(data: bytes, at: int) -> Content:
    """Tenths of °C of HTI cameras, int16; read the same by jbtronics/IRImageParser."""
    width, height = struct.unpack_from("<2H", data, at)
    counts = np.frombuffer(data, "<i2", width * height, at + 4).reshape(1, height, width).astype(np.int16)
    record = at + 8 + 3 * width * height + 4
    percent = struct.unpack_from("<I", data, record + _HTI_EMISSIVITY)[0]
    camera = f"HTI {_text(data[record:][_HTI_MODEL])}".strip()
    parameters = {"emissivity": percent / 100} if 0 < percent <= 100 else {}
    return Content(counts, "tenths of °C behind a JPEG (HTI)", camera, LinearKelvin(0.1, CELSIUS), parameters)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace").strip()


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged or incomplete: {what}; copy it from the camera again")
