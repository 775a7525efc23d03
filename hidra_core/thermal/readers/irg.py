"""InfiRay's .irg files (C200, P200, also of Topdon, Vevor and Autel), read with the package infiray-irg."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ...images import DECODER_ERRORS
from ..counts import LinearKelvin
from .packages import CELSIUS, Content, need, unreadable

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

EXTENSIONS = (".irg",)


def read(path: Path) -> Content:
    """The temperatures of a file, float32 °C, which the package computes from steps of 1/10 or 1/16 K.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or of an unknown kind.
        ImportError: the package is not installed.
    """
    package = need("infiray_irg", "infiray-irg", "irg", path)
    data = path.read_bytes()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _, celsius, _ = package.load(data)
        except DECODER_ERRORS as error:
            raise unreadable(path, error, "copy it from the camera again, or export it as 16-bit TIFF") from error
    for warning in said:
        log.warning("%s: %s", path, warning.message)
    planes = np.asarray(celsius, dtype=np.float32)[None]
    if planes.size == 0:
        raise unreadable(path, "it states no pixels", "copy it from the camera again")
    return Content(planes, "IRG, temperatures in °C as infiray-irg computes them", "", LinearKelvin(1.0, CELSIUS))
