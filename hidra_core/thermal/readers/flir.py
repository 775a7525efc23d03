"""FLIR's radiometric JPEG (APP1 segments), and FFF, SEQ and CSQ files: counts and the camera's constants."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import numpy as np

from ...images import Metadata
from ..counts import ThermalImage
from ..frames import Frames, within
from .flir_planes import decode
from .flir_records import CAMERA_INFO, MAGICS, RAW_DATA, DamagedError, damaged, read_camera, read_directory
from .flir_sequences import Sequence, read_sequence
from .jpeg import carrier, make_and_model
from .planes import smoother
from .stored import in_memory, with_times

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EXTENSIONS", "MAGICS", "Sequence", "is_in", "read_fff", "read_jpeg", "read_sequence"]

log = logging.getLogger(__name__)

EXTENSIONS = (".fff", ".seq", ".csq")

_APP1, _SEGMENT = 0xE1, b"FLIR\0"


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
        raise damaged(path, f"{len(missing)} of {last + 1} of its FLIR segments are missing")
    content = io.BytesIO(b"".join(parts[index] for index in range(last + 1)))
    size = len(content.getbuffer())
    try:
        directory = read_directory(content, 0, size)
        if RAW_DATA not in directory.records:
            log.warning("%s: a FLIR JPEG without raw counts; only its coloured image can be read", path)
            return None
        if not directory.fits(size):
            raise DamagedError("one of its FLIR records is cut off")
        plane, encoding = decode(directory.read(content, RAW_DATA), path)
    except DamagedError as error:
        raise damaged(path, error) from error
    plane, swapped = smoother(plane)
    camera = read_camera(directory.read(content, CAMERA_INFO))
    metadata, counts = carrier(path, data, plane)
    return ThermalImage(
        metadata,
        counts[None],
        f"FLIR radiometric JPEG, {encoding}{', bytes swapped' if swapped else ''}",
        camera.model or make_and_model(data),
        camera.planck,
        camera.parameters,
    )


def read_fff(path: Path) -> ThermalImage:
    """The counts of an FFF file, or of all frames of a SEQ or CSQ file as its pages.

    Raises:
        OSError: see :func:`read_sequence`.
        ValueError: see :func:`read_sequence`.
        ImportError: see :func:`read_sequence`.
    """
    sequence = read_sequence(path)
    frames, camera = sequence.frames, sequence.camera
    kind = "sequence" if len(frames) > 1 else "FFF"
    image = ThermalImage(
        with_times(Metadata(path), sequence.times),
        frames,
        f"FLIR {kind}, {sequence.encoding}",
        camera.model,
        camera.planck,
        camera.parameters,
        valid=None if sequence.valid is None else _rectangle(sequence.valid, frames.shape),
        times=sequence.times,
    )
    return in_memory(image)


def _rectangle(place: tuple[int, int, int, int], shape: tuple[int, int, int]) -> Frames:
    left, top, width, height = place
    mask = np.zeros(shape[1:], bool)
    mask[top : top + height, left : left + width] = True
    return within(mask, None, shape[0])
