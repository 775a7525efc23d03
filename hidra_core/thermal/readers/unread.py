"""Saying that a JPEG holds data that may be counts, and that they are not read.

Without a word, the 8-bit picture of such a file would be taken for what the camera measured.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .jpeg import JPEG, SMALLEST_PLANE, end_of_image, joined, make_and_model

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_APP0, _APP15 = 0xE0, 0xEF
# How segments begin that hold no planes. Most are listed at https://exiftool.org/TagNames/JPEG.html
_KNOWN_SEGMENTS = (
    *(b"JFIF\0", b"JFXX\0", b"AVI1", b"Ocad", b"Exif\0", b"http://", b"<exif:", b"QVCI\0", b"FLIR\0"),
    *(b"ICC_PROFILE\0", b"FPXR\0", b"MPF\0", b"urn:", b"QVGA\0", b"BGTH", b"Meta\0", b"META\0", b"Stim\0", b"_JPSJPS_"),
    *(b"SCALADO\0", b"Qualcomm ", b"\x1aQualcomm ", b"RMETA\0", b"EPPIM\0", b"NTIF\0", b"TDHD\x01", b"GoPro\0"),
    *(b"DTAT\0", b"MMIMETA\0", b"PENTAX \0", b"RICOH\0", b"HUAWEI\0", b"DJI-DBG\0", b"SPIFF\0", b"SEAL\0", b"TEXT\0"),
    *(b"Media Jukebox\0", b"UNICODE\0", b"AROT\0", b"HDR_RI ", b"JP", b"[picture info]", b"Type=", b"Ducky"),
    *(b"Photoshop 3.0\0", b"Adobe", b"AMPF"),
)
_KNOWN_BEGINNINGS = (
    *(JPEG, b"\x89PNG", b"RIFF", b"GIF8", b"PK\x03\x04", b"%PDF", b"CANON OPTIONAL DATA", b"~\x10\x04", b"AXS!"),
    *(b"AXS*", b"vivo{", b"cbipcbbl"),
)
_KNOWN_ENDS = (b"SEFT", b"QDIOBS", b"cbipcbbl", b"8db42d694ccc418790edff439fe026bf")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"mpvd")  # of MP4, which phones append
_SAMPLE, _TEXT_SHARE = 4096, 0.95


def warn(data: bytes, segments: list[tuple[int, bytes]], path: Path) -> None:
    """Log a warning for each place of a JPEG in which counts may be that no reader understands."""
    for marker in range(_APP0, _APP15 + 1):
        unknown = [part for part in segments if part[0] == marker and not part[1].startswith(_KNOWN_SEGMENTS)]
        content = joined(unknown, marker)
        if _may_be_counts(content):
            _say(path, f"its APP{marker - _APP0} segments hold {len(content)} bytes", data)
    rest = _behind(data)
    if _may_be_counts(rest):
        _say(path, f"{len(rest)} bytes follow the end of this JPEG", data)


def _say(path: Path, what: str, data: bytes) -> None:
    log.warning(
        "%s: %s, which may be counts of %s; they are not read. What is read is the picture of 8 bits, which has no "
        "temperatures: export the frame as 16-bit TIFF with the camera's software",
        path,
        what,
        make_and_model(data) or "an unknown camera",
    )


def _behind(data: bytes) -> bytes:
    """What follows a JPEG and the JPEGs (previews, second views) that follow it; empty if it does not end."""
    end = end_of_image(data)
    while end is not None and data[end : end + len(JPEG)] == JPEG:
        end = end_of_image(data, end)
    return b"" if end is None else data[end:]


def _may_be_counts(content: bytes) -> bool:
    """Whether this is as long as a plane of counts, and nothing that other programs put there."""
    if len(content) < SMALLEST_PLANE or len(content.strip(content[:1])) < SMALLEST_PLANE:
        return False  # short, or padding
    start = content[:64].lstrip(b"\0\xff")
    if start.startswith(_KNOWN_BEGINNINGS) or content.startswith(JPEG) or content.rstrip(b"\0").endswith(_KNOWN_ENDS):
        return False
    if any(box in content[:64] for box in _BOXES) or JPEG + b"\xff" in content[:64]:
        return False
    sample = content[:_SAMPLE]
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in sample)
    return printable < _TEXT_SHARE * len(sample)
