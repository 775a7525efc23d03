"""Files as cameras write them, made from scratch for the tests."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hidra_core.thermal import Planck

if TYPE_CHECKING:
    from pathlib import Path

PLANCK = Planck(r1=14866.513671875, b=1395.699951171875, f=1.0, o=-5859.0, r2=0.01108647882938385)
MODEL = "TESTCAM 40"


def frame(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth frame with noise, uint16 ``[H, W]`` around 17000 counts."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width))
    return (17000 + 4 * rows + 3 * columns + 300 * (columns > width // 2) + noise).astype(np.uint16)


def png_plane(counts: np.ndarray, swapped: bool) -> bytes:
    """The counts as 16-bit PNG, with the bytes swapped as most FLIR cameras do."""
    buffer = io.BytesIO()
    Image.fromarray(counts.byteswap() if swapped else counts).save(buffer, "PNG")
    return buffer.getvalue()


def fff(
    counts: np.ndarray,
    plane: bytes | None = None,
    order: str = ">",
    record_order: str = "<",
    planck: Planck = PLANCK,
    floats: dict[int, float] | None = None,
    time: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    """A FLIR FFF file, or one frame of a sequence.

    ``plane`` is the encoded plane, plain little-endian counts by default; ``floats`` are numbers by their offset in the
    camera record; ``time`` is in seconds since 1970, milliseconds, and the minutes from local time to UTC.
    """
    height, width = counts.shape
    body = counts.astype("<u2").tobytes() if plane is None else plane
    raw = struct.pack(f"{record_order}HHH", 2, width, height).ljust(32, b"\0") + body
    camera = bytearray(1024)
    struct.pack_into(f"{record_order}H", camera, 0, 2)
    struct.pack_into(f"{record_order}ff", camera, 32, 0.95, 2.0)
    struct.pack_into(f"{record_order}fff", camera, 88, planck.r1, planck.b, planck.f)
    struct.pack_into(f"{record_order}if", camera, 776, int(planck.o), planck.r2)
    struct.pack_into(f"{record_order}IIh", camera, 900, *time)
    for offset, number in (floats or {}).items():
        struct.pack_into(f"{record_order}f", camera, offset, number)
    camera[212 : 212 + len(MODEL)] = MODEL.encode()
    first = 64 + 2 * 32
    header = b"FFF\0".ljust(20, b"\0") + struct.pack(f"{order}3I", 100, 64, 2)
    entries = struct.pack(f"{order}HHIIII", 1, 2, 100, 1, first, len(raw)).ljust(32, b"\0")
    entries += struct.pack(f"{order}HHIIII", 32, 1, 100, 2, first + len(raw), len(camera)).ljust(32, b"\0")
    return header.ljust(64, b"\0") + entries + raw + bytes(camera)


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _jpeg(path: Path, extra: bytes, make: str, size: tuple[int, int], orientation: int) -> Path:
    exif = Image.Exif()
    exif[271], exif[272], exif[0x0112] = make, MODEL, orientation
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 60, 20)).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    path.write_bytes(data[:2] + extra + data[2:])
    return path


def flir_jpeg(
    path: Path, content: bytes, size: tuple[int, int] = (64, 48), orientation: int = 1, drop: int | None = None
) -> Path:
    """A radiometric JPEG with FFF content in its APP1 segments; segment ``drop`` is left out."""
    parts = [content[start : start + 60_000] for start in range(0, len(content), 60_000)]
    segments = [
        _segment(0xE1, b"FLIR\0\x01" + bytes([index, len(parts) - 1]) + part)
        for index, part in enumerate(parts)
        if index != drop
    ]
    return _jpeg(path, b"".join(segments), "FLIR Systems AB", size, orientation)


def dji_jpeg(path: Path, counts: np.ndarray, cut: int = 0) -> Path:
    """A radiometric JPEG with counts in its APP3 segments, ``cut`` bytes too few."""
    body = counts.astype("<u2").tobytes()
    body = body[: len(body) - cut]
    segments = [_segment(0xE3, body[start : start + 65_000]) for start in range(0, len(body), 65_000)]
    return _jpeg(path, b"".join(segments), "DJI", (counts.shape[1], counts.shape[0]), 1)


def tiff_pages(path: Path, pages: list[np.ndarray]) -> Path:
    """A TIFF with these pages."""
    images = [Image.fromarray(page) for page in pages]
    images[0].save(path, save_all=True, append_images=images[1:])
    return path


def jpeg_with(path: Path, parts: list[tuple[int, bytes]], make: str, tail: bytes = b"", orientation: int = 1) -> Path:
    """A JPEG with (marker, payload) segments, each cut into as many as needed, and with a tail behind its image."""
    segments = [
        _segment(marker, payload[start : start + 65_000])
        for marker, payload in parts
        for start in range(0, max(len(payload), 1), 65_000)
    ]
    _jpeg(path, b"".join(segments), make, (64, 48), orientation)
    path.write_bytes(path.read_bytes() + tail)
    return path


Described = tuple[int, int, int, int]
"""Bytes, width, height and bits of one kind of data in InfiRay's APP3 segments."""


def ijpeg_header(picture: Described, temperatures: Described = (0, 0, 0, 0)) -> bytes:
    """The APP2 segment of InfiRay's radiometric JPEG."""
    header = bytearray(80)
    header[:10] = b"\0\2\0\1IJPEG\0"
    for at, described in ((0x20, picture), (0x30, temperatures)):
        struct.pack_into("<Q2xHHB", header, at, *described)
    return bytes(header)


def yuyv(height: int, width: int) -> bytes:
    """A grey picture in YUYV: each second byte is 0x80."""
    return np.full((height, width), 0x8010, "<u2").tobytes()


def hdri(counts: np.ndarray) -> bytes:
    """What Hikmicro appends to a JPEG."""
    return (
        struct.pack("<4sI4xII24x", b"HDRI", 0x1028, counts.shape[1], counts.shape[0]) + counts.astype("<u2").tobytes()
    )


def state_grid(celsius: np.ndarray, at: int) -> bytes:
    """What cameras for the Chinese power grid append to a JPEG of ``at`` bytes."""
    height, width = celsius.shape
    content = struct.pack("<3H14s", 0x0100, width, height, b"20240501100000") + celsius.astype("<f4").tobytes()
    content += struct.pack("<ffBIBf", 0.95, 21.5, 30, 5, 60, 19.0)
    content += b"".join(text.ljust(32, b"\0") for text in (b"Maker", b"T100", b"serial")) + bytes(24)
    return content + struct.pack("<I", at) + bytes.fromhex("3766071a123a4c9fa95d21d2da7d26bc")


def hti(tenths: np.ndarray) -> bytes:
    """What HTI appends to a JPEG: a second JPEG, tenths of °C, a grey picture, and a record."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG")
    size = struct.pack("<HH", tenths.shape[1], tenths.shape[0])
    record = struct.pack("<I20s20s20s24xI20x", 112, b"HT-04D", b"2.5.1", b"2024/05/01-10:00:00", 95)
    return buffer.getvalue() + size + tenths.astype("<i2").tobytes() + size + bytes(tenths.size) + record


def irg(decikelvin: np.ndarray) -> bytes:
    """An InfiRay .irg file: a header, a grey picture, tenths of a kelvin, and a JPEG."""
    height, width = decikelvin.shape
    header = struct.pack("<2sHIHH", b"\xba\xab", 128, width * height, height, width).ljust(126, b"\0") + b"\xac\xca"
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG")
    return header + bytes(width * height) + decikelvin.astype("<u2").tobytes() + buffer.getvalue()


IS2_CURVE = (0.01, 50.0, 5000.0)
"""count = a t² + b t + c of :func:`is2`, t in °C."""


def is2(path: Path, counts: np.ndarray, properties: dict[str, object]) -> Path:
    """A Fluke .is2 file of an emissivity of 1, with the calibration :data:`IS2_CURVE` from -20 to 400 °C."""
    a, b, c = IS2_CURVE
    curve = struct.pack("<fxfxfxfxf", -20.0, 400.0, c, b, a)
    height, width = counts.shape
    main = {"IRPROP_IR_SENSOR_WIDTH": width, "IRPROP_IR_SENSOR_HEIGHT": height, "IRPROP_THERMAL_IMAGE_EMISSIVITY": 1}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("CalibrationData.gpbenc", bytes(20) + bytes((74, 25, 13)) + curve + bytes(40))
        archive.writestr("ImageProperties.json", json.dumps(main | properties))
        archive.writestr("Images/Main/IRImageInfo.gpbenc", bytes(33) + struct.pack("<fxfxf", 1.0, 20.0, 1.0))
        archive.writestr("Images/Main/IR.data", bytes(2 * width) + counts.astype("<u2").tobytes())
    return path
