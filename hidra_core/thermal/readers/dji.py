"""DJI's radiometric JPEG (H20T and later), whose APP3 segments together are the plane of counts.

The relation of these counts to temperatures is not published; only DJI's software converts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..counts import ThermalImage
from .jpeg import carrier, make_and_model
from .planes import by_length, smoother

if TYPE_CHECKING:
    from pathlib import Path

_APP3 = 0xE3
_SMALLEST_PLANE = 80 * 60 * 2  # shorter APP3 segments hold other data


def is_in(data: bytes, segments: list[tuple[int, bytes]]) -> bool:
    """Whether a JPEG is of a DJI camera, and has APP3 segments as long as a plane of counts."""
    return len(_joined(segments)) >= _SMALLEST_PLANE and make_and_model(data).upper().startswith("DJI")


def read_jpeg(data: bytes, segments: list[tuple[int, bytes]], path: Path) -> ThermalImage | None:
    """The counts of a DJI radiometric JPEG; None if this is something else.

    Raises:
        ValueError: a DJI camera's plane of counts has the size of no known sensor.
    """
    if not is_in(data, segments):
        return None
    body = _joined(segments)
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
    return ThermalImage(metadata, counts[None], encoding, make_and_model(data))


def _joined(segments: list[tuple[int, bytes]]) -> bytes:
    return b"".join(payload for marker, payload in segments if marker == _APP3)
