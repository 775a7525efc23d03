"""The records of FLIR's FFF format: the directory of a frame, and what the camera wrote about it.

A frame has a header of 64 bytes, a directory with one entry for each record, and the records, whose offsets count from
the beginning of the frame. The layout follows ExifTool's description (https://exiftool.org/TagNames/FLIR.html).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..counts import Planck

if TYPE_CHECKING:
    from pathlib import Path

MAGICS = (b"FFF\0", b"AFF\0")
RAW_DATA, CAMERA_INFO = 1, 32
HEADER = 64

_ENTRY = 32
_MOST_RECORDS = 4096  # cameras write up to 14; more is a damaged number
# name: offset in the camera record
_FLOATS = {
    "emissivity": 32,
    "object_distance": 36,
    "reflected_temperature": 40,
    "atmospheric_temperature": 44,
    "ir_window_temperature": 48,
    "ir_window_transmission": 52,
    "relative_humidity": 60,
    "r1": 88,
    "b": 92,
    "f": 96,
    "atmospheric_alpha1": 112,
    "atmospheric_alpha2": 116,
    "atmospheric_beta1": 120,
    "atmospheric_beta2": 124,
    "atmospheric_x": 128,
    "r2": 780,
}
_PLANCK_O, _MODEL, _TIME = 776, slice(212, 244), 900


class DamagedError(ValueError):
    """What is wrong with a frame, in words that continue a sentence about the file."""


def damaged(path: Path, what: str | DamagedError) -> ValueError:
    """The error for a file: names it, what is wrong and the remedy."""
    return ValueError(f"{path} is damaged or incomplete: {what}; copy it from the camera again")


@dataclass(frozen=True)
class Directory:
    """Where the records of one frame are in a file.

    Attributes:
        records: (offset in the file, length) in bytes of the first record of raw data and of camera information.
        end: where the frame ends in the file; beyond the end of the file if the frame is cut off.
    """

    records: dict[int, tuple[int, int]]
    end: int

    def fits(self, end: int) -> bool:
        """Whether the counts and what the camera wrote about them lie before this place in the file."""
        return all(sum(self.records.get(kind, (0, 0))) <= end for kind in (RAW_DATA, CAMERA_INFO))

    def read(self, file: BinaryIO, kind: int, most: int | None = None) -> bytes:
        """The content of a record, or its first ``most`` bytes; empty if the frame has none of this type."""
        start, length = self.records.get(kind, (0, 0))
        file.seek(start)
        return file.read(length if most is None else min(length, most))


def read_directory(file: BinaryIO, start: int, size: int) -> Directory:
    """Read the directory of the frame at ``start``.

    Args:
        file: holds one frame or several.
        start: where the frame begins, in bytes.
        size: length of the file in bytes.

    Raises:
        DamagedError: there is no frame, or its directory is damaged.
    """
    file.seek(start)
    header = file.read(HEADER)
    if header[:4] not in MAGICS or len(header) < HEADER:
        raise DamagedError("its FLIR data do not begin with FFF")
    for order in ">", "<":  # most cameras write big-endian; ResearchIR and DJI's XT write little-endian
        version, directory, count = struct.unpack_from(f"{order}3I", header, 20)
        if 100 <= version < 200:
            break
    else:
        raise DamagedError("its FLIR data are of an unknown version")
    if start + directory + count * _ENTRY > size or count > _MOST_RECORDS:
        raise DamagedError("its directory of FLIR records is cut off")
    file.seek(start + directory)
    entries = file.read(count * _ENTRY)
    records: dict[int, tuple[int, int]] = {}
    end = max(HEADER, directory + len(entries))
    for index in range(count):
        kind, _, _, _, offset, length = struct.unpack_from(f"{order}HHIIII", entries, index * _ENTRY)
        if kind:  # 0 marks an unused entry
            end = max(end, offset + length)
        if kind in (RAW_DATA, CAMERA_INFO):
            records.setdefault(kind, (start + offset, length))
    return Directory(records, start + end)


@dataclass(frozen=True)
class Camera:
    """What the camera wrote about a frame.

    Attributes:
        model: empty if it is not stated.
        planck: its curve from counts to apparent temperature, or None.
        parameters: emissivity, distance in m, temperatures in K, humidity and transmission as fractions, and the
            constants of the atmosphere, as :class:`~hidra_core.thermal.radiometry.ObjectParameters` names them.
        time: when the frame was taken, in the camera's time zone, or None.
    """

    model: str = ""
    planck: Planck | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    time: datetime | None = None


def read_camera(record: bytes) -> Camera:
    """Read a camera record; one too short for the Planck constants states nothing."""
    if len(record) < _FLOATS["r2"] + 4:
        return Camera()
    order = "<" if record[0] == 2 else ">"
    numbers = {name: struct.unpack_from(f"{order}f", record, at)[0] for name, at in _FLOATS.items()}
    constants = {name: numbers.pop(name) for name in ("r1", "b", "f", "r2")}
    constants["o"] = float(struct.unpack_from(f"{order}i", record, _PLANCK_O)[0])
    usable = all(np.isfinite(list(constants.values()))) and min(constants[name] for name in ("r1", "b", "r2")) > 0
    if numbers["relative_humidity"] > 2:  # some files hold per cent (ExifTool)
        numbers["relative_humidity"] /= 100
    if numbers["ir_window_transmission"] == 0:  # no window: one that lets nothing through would show no scene
        del numbers["ir_window_transmission"], numbers["ir_window_temperature"]
    return Camera(
        record[_MODEL].split(b"\0")[0].decode("latin-1").strip("* "),
        Planck(**constants) if usable else None,
        {name: round(value, 6) for name, value in numbers.items() if np.isfinite(value)},
        _time(record, order),
    )


def _time(record: bytes, order: str) -> datetime | None:
    if len(record) < _TIME + 10:
        return None
    seconds, milliseconds, bias = struct.unpack_from(f"{order}IIh", record, _TIME)
    if seconds == 0:  # the clock was not set, or the writer left the field empty
        return None
    # UTC = local time + bias. Only the low 16 bits hold milliseconds (ExifTool).
    zone = timezone(timedelta(minutes=-bias)) if abs(bias) < 24 * 60 else timezone.utc
    return datetime.fromtimestamp(seconds, zone) + timedelta(milliseconds=milliseconds & 0xFFFF)
