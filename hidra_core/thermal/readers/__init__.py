"""Reading the counts of thermal cameras: 8/16-bit PNG and TIFF, raw Y16, FLIR and DJI radiometric JPEG, FLIR FFF.

Programs open files by :func:`hidra_core.sources.open_source`, which calls these readers for everything but clips. Files
are recognised by their content; only raw frames, which have no header, are recognised by their suffix. The planes of
FLIR and DJI files are parsed here rather than by a package: flyr (5.1) reads neither FFF files nor the little-endian
variant of DJI's XT cameras, always swaps the bytes of PNG planes, and gives temperatures but not the counts they come
from.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ...images import EXTENSIONS, Picture
from ..counts import ThermalImage
from ..masking import without_blank_borders
from . import dji, flir, pgm, pictures, tiff, y16
from .jpeg import JPEG, segments
from .y16 import RawLayout, parse_size

__all__ = ["THERMAL_EXTENSIONS", "RawLayout", "is_radiometric", "parse_size", "read_input", "read_thermal"]

THERMAL_EXTENSIONS = (*EXTENSIONS, *flir.EXTENSIONS, *y16.EXTENSIONS)
"""File name endings (lower case) that :func:`read_input` knows."""


def read_thermal(path: str | Path, *, raw: RawLayout | None = None) -> ThermalImage:
    """Read the counts of a file.

    Args:
        path: the file.
        raw: size and byte order of raw frames; by default both are inferred from the file's name, length and content.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: damaged or incomplete, colours instead of counts, pages of several sizes, a raw frame of unknown
            size. Names the file, what is wrong and the remedy.
        ImportError: the counts need an optional package; names it.
    """
    content = read_input(path, raw=raw)
    return content if isinstance(content, ThermalImage) else pictures.as_thermal(content)


def read_input(path: str | Path, *, raw: RawLayout | None = None) -> ThermalImage | Picture:
    """Read a file: as counts where it holds more than 8 bits or several pages, else as an ordinary image file.

    Args:
        path: see :func:`read_thermal`.
        raw: see :func:`read_thermal`.

    Raises:
        OSError: see :func:`read_thermal`.
        ValueError: see :func:`read_thermal`.
        ImportError: see :func:`read_thermal`.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a file is expected, this is a folder", str(path))
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file; check the spelling and the folder", str(path))
    content: ThermalImage | Picture | None = None
    with path.open("rb") as file:
        start = file.read(4)
    if start in tiff.MAGICS:
        content = tiff.read(path)
        return pictures.read(path) if content is None else without_blank_borders(content)
    if start in flir.MAGICS:
        return without_blank_borders(flir.read_fff(path))
    data = path.read_bytes()
    if data[:2] == JPEG:
        parts = segments(data)
        content = flir.read_jpeg(data, parts, path) or dji.read_jpeg(data, parts, path)
    elif path.suffix.lower() in y16.EXTENSIONS:
        content = y16.read(data, path, raw or RawLayout())
    elif data[:2] in (b"P2", b"P5"):
        content = pgm.read(data, path)
    if content is None:
        content = pictures.read(path)
    return without_blank_borders(content) if isinstance(content, ThermalImage) else content


def is_radiometric(path: str | Path) -> bool:
    """Whether this is a JPEG, FFF or raw file with counts, whose result needs another format: 16-bit TIFF or PNG.

    Only the beginning of the file is read. The answer for a file that cannot be read is no; reading it will say why.

    Args:
        path: the file.
    """
    path = Path(path)
    if path.suffix.lower() in y16.EXTENSIONS:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start[:2] != JPEG:
                return start in flir.MAGICS
            data = start + file.read(1 << 23)  # the segments of a radiometric JPEG end before its pixels begin
    except OSError:
        return False
    parts = segments(data)
    return flir.is_in(parts) or dji.is_in(data, parts)
