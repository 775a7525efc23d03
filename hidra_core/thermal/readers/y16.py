"""Raw Y16 frames: 16-bit counts row by row, without a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...images import Metadata
from ..counts import ThermalImage
from .planes import SENSOR_SIZES, ByteOrder, by_length, smoother

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = (".y16", ".raw")


@dataclass(frozen=True)
class RawLayout:
    """The layout of raw frames in a file.

    Attributes:
        size: (width, height) in pixels; None: from the name (``…640x512….raw``), else from the length of the file.
        order: byte order; "auto" chooses the one in which neighbouring pixels differ less.

    Raises:
        ValueError: a size below 1, or an unknown byte order.
    """

    size: tuple[int, int] | None = None
    order: ByteOrder | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.size is not None and not (len(self.size) == 2 and min(self.size) >= 1):
            raise ValueError(f"the size of raw frames must be width and height from 1 up, got {self.size}")
        if self.order not in ("auto", "little", "big"):
            raise ValueError(f"the byte order must be auto, little or big, got '{self.order}'")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from a text such as ``640x512``.

    Raises:
        ValueError: anything else.
    """
    stated = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", text)
    if not stated or not (int(stated[1]) and int(stated[2])):
        raise ValueError(f"expected WIDTHxHEIGHT in pixels such as 640x512, got '{text}'")
    return int(stated[1]), int(stated[2])


def read(data: bytes, path: Path, layout: RawLayout) -> ThermalImage:
    """The frames of a raw file, which become its pages.

    Args:
        data: the content of the file.
        path: the file, for its name and for messages.
        layout: size and byte order, see :class:`RawLayout`.

    Raises:
        ValueError: the size is not known, or the file does not hold whole frames of it.
    """
    width, height = layout.size or _size_in_name(path) or _size_by_length(data, path)
    frame = width * height * 2
    if not data or len(data) % frame:
        raise ValueError(
            f"{path} has {len(data)} bytes, but a frame of {width}x{height} 16-bit counts has {frame}: it is cut off, "
            "has a header, or is of another size; give its size (--raw-size WIDTHxHEIGHT), or save it as 16-bit TIFF"
        )
    order = layout.order
    planes = np.frombuffer(data, "<u2").reshape(-1, height, width)
    if order == "auto":
        order = "big" if smoother(planes[0])[1] else "little"
    counts = np.frombuffer(data, ">u2" if order == "big" else "<u2").reshape(-1, height, width).astype(np.uint16)
    return ThermalImage(Metadata(path), counts, f"raw 16-bit counts, {order} endian")


def _size_in_name(path: Path) -> tuple[int, int] | None:
    stated = re.search(r"(?<!\d)(\d{2,4})[xX](\d{2,4})(?!\d)", path.stem)
    return (int(stated[1]), int(stated[2])) if stated else None


def _size_by_length(data: bytes, path: Path) -> tuple[int, int]:
    size = by_length(len(data))
    if size is None:
        known = ", ".join(f"{width}x{height}" for width, height in SENSOR_SIZES)
        raise ValueError(
            f"{path} has {len(data)} bytes, which is no frame of 16-bit counts of a known sensor ({known}): give its "
            "size (--raw-size WIDTHxHEIGHT, or in its name)"
        )
    return size
