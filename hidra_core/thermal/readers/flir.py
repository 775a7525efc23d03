"""FLIR's radiometric JPEG (APP1 segments) and FFF files: the plane of raw counts and the camera's constants.

The layout of the records follows ExifTool's description of the format (https://exiftool.org/TagNames/FLIR.html).
"""

from __future__ import annotations

import io
import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ...images import DECODER_ERRORS, Metadata
from ..counts import Planck, ThermalImage
from .jpeg import carrier, make_and_model
from .planes import smoother

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

EXTENSIONS = (".fff",)
MAGICS = (b"FFF\0", b"AFF\0")

_APP1, _SEGMENT = 0xE1, b"FLIR\0"
_RAW_DATA, _CAMERA_INFO = 1, 32
_HEADER, _ENTRY, _PLANE_HEADER = 64, 32, 32
_PNG, _JPEG_LS = b"\x89PNG", b"\xff\xd8\xff"
# name: offset in the camera record
_FLOATS = {
    "emissivity": 32,
    "object_distance": 36,
    "reflected_temperature": 40,
    "atmospheric_temperature": 44,
    "relative_humidity": 60,
    "r1": 88,
    "b": 92,
    "f": 96,
    "r2": 780,
}
_PLANCK_O, _MODEL = 776, slice(212, 244)


def is_in(segments: list[tuple[int, bytes]]) -> bool:
    """Whether a JPEG has FLIR's segments."""
    return any(marker == _APP1 and payload.startswith(_SEGMENT) for marker, payload in segments)


def read_jpeg(data: bytes, segments: list[tuple[int, bytes]], path: Path) -> ThermalImage | None:
    """The counts of a FLIR radiometric JPEG; None, with a warning for a FLIR file, if it has no plane of counts."""
    if not is_in(segments):
        return None
    parts: dict[int, bytes] = {}
    last = 0
    for marker, payload in segments:
        if marker == _APP1 and payload.startswith(_SEGMENT) and len(payload) >= 8:
            index, last = payload[6], payload[7]
            parts[index] = parts.get(index, b"") + payload[8:]
    missing = [index for index in range(last + 1) if index not in parts]
    if missing:
        raise _damaged(path, f"{len(missing)} of {last + 1} of its FLIR segments are missing")
    records = _records(b"".join(parts[index] for index in range(last + 1)), path)
    if _RAW_DATA not in records:
        log.warning("%s: a FLIR JPEG without raw counts; only its coloured image can be read", path)
        return None
    plane, encoding = _plane(records[_RAW_DATA], path)
    camera = _camera(records.get(_CAMERA_INFO, b""))
    metadata, counts = carrier(path, data, plane)
    return ThermalImage(
        metadata,
        counts[None],
        f"FLIR radiometric JPEG, {encoding}",
        camera.model or make_and_model(data),
        camera.planck,
        camera.parameters,
    )


def read_fff(data: bytes, path: Path) -> ThermalImage:
    """The counts of an FFF file.

    Raises:
        ValueError: the file is damaged or holds no raw counts.
        ImportError: the counts need an optional package.
    """
    records = _records(data, path)
    if _RAW_DATA not in records:
        raise ValueError(f"{path} is a FLIR file without raw counts; export the frame as 16-bit TIFF")
    plane, encoding = _plane(records[_RAW_DATA], path)
    camera = _camera(records.get(_CAMERA_INFO, b""))
    return ThermalImage(
        Metadata(path), plane[None], f"FLIR FFF, {encoding}", camera.model, camera.planck, camera.parameters
    )


def _records(data: bytes, path: Path) -> dict[int, bytes]:
    """The content of the records by type; of each type the first record."""
    if data[:4] not in MAGICS or len(data) < _HEADER:
        raise _damaged(path, "its FLIR data do not begin with FFF")
    for order in ">", "<":  # most cameras write big-endian; DJI's XT writes little-endian
        version, directory, count = struct.unpack_from(f"{order}3I", data, 20)
        if 100 <= version < 200:
            break
    else:
        raise _damaged(path, "its FLIR data are of an unknown version")
    if directory + count * _ENTRY > len(data):
        raise _damaged(path, "its directory of FLIR records is cut off")
    records: dict[int, bytes] = {}
    for index in range(count):
        kind, _, _, _, start, length = struct.unpack_from(f"{order}HHIIII", data, directory + index * _ENTRY)
        if kind in (_RAW_DATA, _CAMERA_INFO) and kind not in records:
            if start + length > len(data):
                raise _damaged(path, "one of its FLIR records is cut off")
            records[kind] = data[start : start + length]
    return records


def _plane(record: bytes, path: Path) -> tuple[np.ndarray, str]:
    """(counts ``[H, W]`` uint16, encoding) of a raw-data record."""
    if len(record) <= _PLANE_HEADER:
        raise _damaged(path, "its plane of raw counts is empty")
    order = "<" if record[0] == 2 else ">"  # the record begins with the number 2
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    body = record[_PLANE_HEADER:]
    if body.startswith(_PNG):
        plane, name = _decode_png(body, path), "PNG plane"
    elif body.startswith(_JPEG_LS):
        plane, name = _decode_jpeg_ls(body, path), "JPEG-LS plane"
    elif len(body) >= width * height * 2 > 0:
        plane, name = np.frombuffer(body, "<u2", width * height).reshape(height, width).astype(np.uint16), "plain plane"
    else:
        raise _damaged(path, f"its plane of {width}x{height} raw counts is cut off")
    if plane.shape != (height, width):
        raise _damaged(path, f"its plane is {plane.shape[1]}x{plane.shape[0]}, the record says {width}x{height}")
    plane, swapped = smoother(plane)
    return plane, f"{name}{', bytes swapped' if swapped else ''}"


def _decode_png(body: bytes, path: Path) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(body), formats=("PNG",))
        image.load()
    except DECODER_ERRORS as error:
        raise _damaged(path, f"its PNG plane of raw counts cannot be read: {error}") from error
    if not image.mode.startswith("I"):
        raise _damaged(path, f"its PNG plane holds {image.mode}, 16-bit grey is expected")
    return np.asarray(image).astype(np.uint16)


def _decode_jpeg_ls(body: bytes, path: Path) -> np.ndarray:
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError(
            f"{path}: its raw counts are compressed as JPEG-LS, which needs imagecodecs: pip install imagecodecs "
            "(or 'hidra-thermal[radiometric]')"
        ) from error
    try:
        return np.asarray(imagecodecs.jpegls_decode(body)).astype(np.uint16)
    except RuntimeError as error:  # imagecodecs' own errors
        raise _damaged(path, f"its JPEG-LS plane of raw counts cannot be read: {error}") from error


@dataclass(frozen=True)
class _Camera:
    model: str
    planck: Planck | None
    parameters: dict[str, float]


def _camera(record: bytes) -> _Camera:
    if len(record) < _FLOATS["r2"] + 4:
        return _Camera("", None, {})
    order = "<" if record[0] == 2 else ">"
    numbers = {name: struct.unpack_from(f"{order}f", record, at)[0] for name, at in _FLOATS.items()}
    constants = {name: numbers.pop(name) for name in ("r1", "b", "f", "r2")}
    constants["o"] = float(struct.unpack_from(f"{order}i", record, _PLANCK_O)[0])
    usable = all(np.isfinite(list(constants.values()))) and min(constants[name] for name in ("r1", "b", "r2")) > 0
    model = record[_MODEL].split(b"\0")[0].decode("latin-1").strip("* ")
    parameters = {name: round(value, 6) for name, value in numbers.items() if np.isfinite(value)}
    return _Camera(model, Planck(**constants) if usable else None, parameters)


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged or incomplete: {what}; copy it from the camera again")
