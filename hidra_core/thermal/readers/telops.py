"""Telops' .hcc files, read with the package fasthcc."""

from __future__ import annotations

import logging
import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..counts import LinearKelvin
from .packages import Content, need, unreadable

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

EXTENSIONS = (".hcc",)

_RADIOMETRIC = 2  # calibration mode "RT": kelvin = count · 2 ** DataExp + DataOffset, as each frame's header states
_MODES = {0: "raw counts", 1: "counts corrected for nonuniformity", _RADIOMETRIC: "radiometric counts"}


def read(path: Path) -> Content:
    """The frames of a file: uint16 counts, with their relation to kelvin where the camera wrote temperatures.

    Frames whose headers state different relations become float32 kelvin.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or mixes calibrated and other frames.
        ImportError: the package is not installed.
    """
    package = need("fasthcc", "fasthcc", "telops", path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with package.HCCReader(path) as reader:
                counts, headers = reader.read_frames(), reader.read_metadata()
        except (ValueError, LookupError, OverflowError, struct.error) as error:
            raise unreadable(path, error, "copy it from the camera again") from error
    for warning in said:
        log.warning("%s: %s", path, warning.message)
    modes = {int(header["CalibrationMode"]) for header in headers}
    if len(modes) > 1:
        raise ValueError(
            f"{path} mixes frames of the calibration modes {sorted(modes)}, whose counts mean different things: save "
            "them apart with Telops' software"
        )
    mode = modes.pop()
    encoding = f"HCC, {len(counts)} frames, {_MODES.get(mode, f'calibration mode {mode}')}"
    rate = float(headers[0]["AcquisitionFrameRate"])
    parameters = {"frame_rate": rate} if np.isfinite(rate) and rate > 0 else {}
    if mode != _RADIOMETRIC:
        return Content(counts, encoding, "Telops", None, parameters)
    scales = np.exp2([float(header["DataExp"]) for header in headers])
    offsets = np.array([float(header["DataOffset"]) for header in headers])
    if not np.isfinite(offsets).all():
        raise unreadable(path, "the relation of its counts to kelvin is no number", "copy it from the camera again")
    if len({*zip(scales, offsets, strict=True)}) == 1:
        return Content(counts, encoding, "Telops", LinearKelvin(float(scales[0]), float(offsets[0])), parameters)
    kelvin = counts * scales[:, None, None].astype(np.float32) + offsets[:, None, None].astype(np.float32)
    return Content(kelvin.astype(np.float32), f"{encoding}, in kelvin", "Telops", LinearKelvin(1.0), parameters)
