"""Reading the counts of thermal cameras: PNG, TIFF, PGM, raw Y16, radiometric JPEG, FLIR FFF and SEQ, arrays.

Programs open files by :func:`hidra_core.sources.open_source`, which calls these readers for everything but clips. Files
are recognised by their content; raw frames, which have no header, and files that optional packages read are recognised
by their suffix. The planes of FLIR and DJI files are parsed here rather than by a package: flyr (5.1) reads neither FFF
files nor the little-endian variant of DJI's XT cameras, always swaps the bytes of PNG planes, and gives temperatures
but not the counts they come from.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from ...images import EXTENSIONS, Picture
from ..blank import without_blank_areas
from ..counts import ThermalImage
from ..masking import with_finite_mask
from . import arrays, cacophony, dji, flir, fluke, ijpeg, irg, pgm, pictures, telops, tiff, trailing, unread, y16
from .jpeg import JPEG, segments
from .stored import in_memory
from .telemetry import with_order_checked, without_telemetry
from .y16 import RawLayout, parse_size

if TYPE_CHECKING:
    from ..scene import SceneRegion

__all__ = ["THERMAL_EXTENSIONS", "RawLayout", "is_radiometric", "parse_size", "read_input", "read_thermal"]

_JPEG_READERS = (flir.read_jpeg, ijpeg.read_jpeg, dji.read_jpeg, trailing.read_jpeg)

_BY_SUFFIX = {suffix: kind.read for kind in (arrays, cacophony, fluke, irg, telops) for suffix in kind.EXTENSIONS}

THERMAL_EXTENSIONS = (*EXTENSIONS, *flir.EXTENSIONS, *y16.EXTENSIONS, *_BY_SUFFIX)
"""File name endings (lower case) that :func:`read_input` knows."""


def read_thermal(path: str | Path, *, raw: RawLayout | None = None, region: SceneRegion | None = None) -> ThermalImage:
    """Read the counts of a file.

    Args:
        path: the file.
        raw: size and byte order of raw frames; by default both are inferred from the file's name, length and content.
        region: what the user says of the part that is scene; raw frames are then not searched for it. It is not
            applied.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: damaged or incomplete, colours instead of counts, pages of several sizes, a raw frame of unknown
            size. Names the file, what is wrong and the remedy.
        ImportError: the counts need an optional package; names it.
    """
    content = read_input(path, raw=raw, region=region)
    return content if isinstance(content, ThermalImage) else pictures.as_thermal(content)


def read_input(
    path: str | Path, *, raw: RawLayout | None = None, region: SceneRegion | None = None
) -> ThermalImage | Picture:
    """Read a file: as counts where it holds more than 8 bits or several pages, else as an ordinary image file.

    Args:
        path: see :func:`read_thermal`.
        raw: see :func:`read_thermal`.
        region: see :func:`read_thermal`.

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
    with path.open("rb") as file:
        start = file.read(4)
    content = _read_counts(path, start, raw or RawLayout(), region) or pictures.read(path)
    if isinstance(content, Picture):
        return content
    if path.suffix.lower() not in y16.EXTENSIONS:  # of which the reader itself says what it recognises
        content = with_order_checked(without_telemetry(content, region))
    return in_memory(without_blank_areas(with_finite_mask(content)))


def _read_counts(path: Path, start: bytes, raw: RawLayout, region: SceneRegion | None) -> ThermalImage | None:
    """The counts of every kind of file but ordinary pictures; None for those."""
    suffix = path.suffix.lower()
    if start in tiff.MAGICS:
        return tiff.read(path)
    if start in flir.MAGICS:
        return flir.read_fff(path)
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix](path).image(path)
    if suffix in y16.EXTENSIONS:
        return y16.read(path, raw, region)
    if start[:2] in pgm.MAGICS:
        return pgm.read(path.read_bytes(), path)
    if start[:2] != JPEG:
        return None
    data = path.read_bytes()
    parts = segments(data)
    content = next((image for read in _JPEG_READERS if (image := read(data, parts, path))), None)
    if content is None:
        unread.warn(data, parts, path)
    return content


def is_radiometric(path: str | Path) -> bool:
    """Whether this is a JPEG or another file with counts whose result needs another format: TIFF or PNG.

    The answer for a file that cannot be read is no; reading it will say why.

    Args:
        path: the file.
    """
    path = Path(path)
    if path.suffix.lower() in (*y16.EXTENSIONS, *_BY_SUFFIX):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start[:2] != JPEG:
                return start in flir.MAGICS
            data = start + file.read()  # counts are before the pixels, or behind the end
    except OSError:
        return False
    parts = segments(data)
    return flir.is_in(parts) or ijpeg.is_in(parts) or dji.is_in(data, parts) or trailing.is_in(data)
