"""Layouts of raw frames: what cameras store besides one picture of the sensor's size, recognised by length.

Sources: the frame descriptors of the PureThermal firmware and its structure of Lepton telemetry (80x63, 160x122);
users of flirpy for Boson (640x514, telemetry at the top); ht301_hacklib and IRPyThermal for InfiRay, Xtherm and Hti
(4 rows below the picture); PyThermalCamera and p3-ir-camera for frames of doubled height (a picture as YUYV, then
counts of 1/64 K). Whether telemetry is at the top or below is a setting of FLIR's cameras, and so decided by content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .planes import SENSOR_SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LARGEST_HEADER = 4096


@dataclass(frozen=True)
class FrameLayout:
    """How a raw frame is stored.

    Attributes:
        width: counts in a row.
        height: all rows that are stored.
        camera: whose frames these are; empty for a plain frame.
        telemetry: rows above or below the scene that hold the camera's own numbers; 0: none.
        picture: rows at the top that are no counts: a picture to look at as YUYV, and what follows it; 0: none.
    """

    width: int
    height: int
    camera: str = ""
    telemetry: int = 0
    picture: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one stored frame."""
        return self.width * self.height * 2

    @property
    def counts_height(self) -> int:
        """Rows of counts, telemetry included."""
        return self.height - self.picture

    @property
    def plain(self) -> bool:
        """Whether all of it is scene."""
        return not (self.telemetry or self.picture)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


KNOWN_LAYOUTS = (
    *(FrameLayout(width, height) for width, height in SENSOR_SIZES),
    FrameLayout(80, 62, "FLIR Lepton", telemetry=2),
    FrameLayout(80, 63, "FLIR Lepton", telemetry=3),
    FrameLayout(160, 122, "FLIR Lepton", telemetry=2),
    FrameLayout(320, 258, "FLIR Boson", telemetry=2),
    FrameLayout(640, 514, "FLIR Boson", telemetry=2),
    FrameLayout(336, 257, "FLIR Tau or XT", telemetry=1),
    FrameLayout(640, 513, "FLIR Tau, XT or A6700", telemetry=1),
    FrameLayout(240, 184, "InfiRay, Xtherm or Hti", telemetry=4),
    FrameLayout(256, 196, "InfiRay, Xtherm or Hti", telemetry=4),
    FrameLayout(384, 292, "InfiRay, Xtherm or Hti", telemetry=4),
    FrameLayout(640, 516, "InfiRay, Xtherm or Hti", telemetry=4),
    FrameLayout(256, 194, "Thermal Master P3", telemetry=2),
    FrameLayout(160, 240, "Topdon, InfiRay or alike", picture=120),
    FrameLayout(256, 384, "Topdon TC001, InfiRay P2 Pro or alike", picture=192),
    FrameLayout(384, 576, "Topdon, InfiRay or alike", picture=288),
    FrameLayout(640, 1024, "Topdon, InfiRay or alike", picture=512),
    FrameLayout(160, 242, "Thermal Master P1", picture=122),
    FrameLayout(256, 386, "Thermal Master P3", picture=194),
)
"""Layouts that raw files are searched for: plain frames of known sensors, with telemetry, of doubled height."""


def dividing(length: int) -> Iterator[FrameLayout]:
    """Known layouts of which ``length`` bytes are one or several whole frames."""
    return (layout for layout in KNOWN_LAYOUTS if length and length % layout.frame_bytes == 0)


def sizes_in_name(path: Path) -> list[tuple[int, int]]:
    """(width, height) for every text such as ``640x512`` in a file's name, in its order."""
    found = re.findall(r"(?<!\d)(\d{2,4})(?=[xX×](\d{2,4})(?!\d))", path.stem, re.ASCII)
    return [(int(width), int(height)) for width, height in found if int(width) and int(height)]


def telemetry_hint(length: int, size: tuple[int, int]) -> str:
    """A clause for a message where ``length`` bytes are frames of this size with telemetry; else empty."""
    for layout in dividing(length):
        if layout.telemetry and (layout.width, layout.height - layout.telemetry) == size:
            rows = f"{layout.telemetry} row{'s' if layout.telemetry > 1 else ''}"
            return f"; with {rows} of telemetry it fits: give --raw-size {layout}, or leave --raw-size out"
    return ""


def header_hint(length: int, layouts: Iterable[FrameLayout]) -> str:
    """A clause for a message where ``length`` bytes are one frame of a layout behind a header; else empty."""
    for layout in layouts:
        beyond = length - layout.frame_bytes
        if 0 < beyond <= _LARGEST_HEADER and layout.frame_bytes > _LARGEST_HEADER:
            return (
                f"; it is one frame of {layout} and {beyond} bytes: if these are a header, give --raw-offset {beyond}"
            )
    return ""
