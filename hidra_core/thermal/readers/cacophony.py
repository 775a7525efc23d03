"""The Cacophony Project's .cptv files of Lepton cameras, read with the package cptv."""

from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .packages import Content, need, unreadable

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

EXTENSIONS = (".cptv",)

_ERRORS = (OSError, EOFError, ValueError, LookupError, TypeError, OverflowError, MemoryError, struct.error, zlib.error)
_LARGEST = 1 << 22  # pixels of a frame; the cameras have 160x120


def read(path: Path) -> Content:
    """The frames of a file, uint16 counts of a Lepton; the file does not state their relation to temperatures.

    A background frame, which the camera computes and puts first, is no frame of the recording and is left out. Where
    the last frame is cut off, the frames before it are read, with a warning.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or holds no frame.
        ImportError: the package is not installed.
    """
    package = need("cptv", "cptv", "cptv", path)
    frames, dropped = [], 0
    with path.open("rb") as file:
        try:
            reader = package.CPTVReader(file)
            width, height = int(reader.x_resolution), int(reader.y_resolution)
        except _ERRORS as error:
            raise unreadable(path, error, "copy it from the camera again") from error
        if not 0 < width * height <= _LARGEST:
            raise unreadable(path, f"it states frames of {width}x{height}", "copy it from the camera again")
        try:
            for frame in reader:
                if frame.background_frame:
                    dropped += 1
                else:
                    frames.append(np.asarray(frame.pix, dtype=np.uint16))
        except _ERRORS as error:
            if not frames:
                raise unreadable(path, error, "copy it from the camera again") from error
            log.warning("%s is cut off or damaged (%s): its first %d frames are read", path, error, len(frames))
    if not frames:
        raise unreadable(path, "it holds no frames", "copy it from the camera again")
    if dropped:
        log.info("%s: its background frame, which the camera computed, is left out", path)
    parameters = {"frame_rate": float(reader.fps)} if reader.fps else {}
    return Content(np.stack(frames), f"CPTV, {len(frames)} frames", _camera(reader), None, parameters)


def _camera(reader: Any) -> str:
    words = (bytes(word or b"").decode("latin-1").strip("\0 ") for word in (reader.brand, reader.model))
    return " ".join(word for word in words if word)
