"""Fluke's .is2 files, read with the package fluke-thermal-reader.

The package was made from files of two cameras (Ti300, Ti480P). It takes the calibration by its position in the file,
so that what it computes is compared with the temperatures that the camera itself wrote.
"""

from __future__ import annotations

import logging
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from ..counts import LinearKelvin
from .packages import CELSIUS, Content, need, unreadable

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

EXTENSIONS = (".is2",)

_REMEDY = "export it as a radiometric TIFF or a table of temperatures with Fluke's SmartView, and convert that"
_LARGEST = 1 << 28  # bytes that a file may unpack to
_AGREEMENT = 2.0  # kelvin; the camera states its extremes rounded and, on some models, averaged over pixels


def read(path: Path) -> Content:
    """The temperatures of a file, float32 °C, as the package computes them with the file's own emissivity.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, of a camera that the package does not know, or the package's temperatures are not
            those that the camera states.
        ImportError: the package is not installed.
    """
    package = need("fluke_thermal_reader.parsers", "fluke-thermal-reader", "fluke", path)
    _check_archive(path)
    parser = package.IS2Parser()
    with tempfile.TemporaryDirectory() as folder:
        # By itself it would unpack into the current folder, and delete what is there under that name.
        parser.temp_dir = f"{folder}/is2"
        try:
            content = parser.parse(str(path))
        except Exception as error:  # the package raises Exception itself
            raise unreadable(path, error, _REMEDY) from error
    celsius = np.asarray(content.get("data"), dtype=np.float32)
    if celsius.ndim != 2 or not np.isfinite(celsius).any():
        raise unreadable(path, "its counts are outside its calibration", _REMEDY)
    _compare(celsius, content, path)
    words = (str(content.get(key, "")).strip("\0\" '") for key in ("CameraManufacturer", "CameraModel"))
    return Content(
        celsius[None],
        "IS2, temperatures in °C as fluke-thermal-reader computes them",
        " ".join(word for word in words if word and word.isprintable()),
        LinearKelvin(1.0, CELSIUS),
        _parameters(content),
    )


def _check_archive(path: Path) -> None:
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise unreadable(path, error, "copy it from the camera again") from error
    if size > _LARGEST:
        raise unreadable(path, f"it would unpack to {size >> 20} MiB", "copy it from the camera again")


def _compare(celsius: np.ndarray, content: dict[str, Any], path: Path) -> None:
    """Compare with the extremes that the camera wrote."""
    low, high = float(content.get("MinTemp") or 0.0), float(content.get("MaxTemp") or 0.0)
    if not (np.isfinite([low, high]).all() and low < high):  # the package puts 0 for what is not stated
        log.warning(
            "%s: its temperatures come from the package fluke-thermal-reader, and the file does not state any to "
            "compare them with: check them against the camera's display",
            path,
        )
        return
    found = float(np.nanmin(celsius)), float(np.nanmax(celsius))
    if max(abs(found[0] - low), abs(found[1] - high)) > _AGREEMENT:
        raise ValueError(
            f"{path}: the package fluke-thermal-reader computes {found[0]:.1f} to {found[1]:.1f} °C, the camera states "
            f"{low:.1f} to {high:.1f} °C: it does not know this camera's calibration; {_REMEDY}"
        )


def _parameters(content: dict[str, Any]) -> dict[str, float]:
    numbers = {
        "emissivity": (content.get("Emissivity"), 0.0),
        "transmission": (content.get("Transmission"), 0.0),
        "reflected_temperature": (content.get("BackgroundTemp"), CELSIUS),
    }
    return {
        name: round(float(value) + offset, 6)
        for name, (value, offset) in numbers.items()
        if value is not None and np.isfinite(value)
    }
