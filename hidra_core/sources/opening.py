"""Opening a file as what it is: an ordinary image file, counts or a clip."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..images import EXTENSIONS as IMAGES
from ..images import Picture
from ..images.false_colour import AUTO
from ..thermal.readers import THERMAL_EXTENSIONS, is_radiometric, read_input, read_thermal
from ..video import EXTENSIONS as CLIPS
from ..video import LOSSLESS_EXTENSION, ClipReader, is_clip
from .clip import ClipSource
from .counts import CountsSource
from .picture import PictureSource
from .reading import Reading

if TYPE_CHECKING:
    from ..thermal import ThermalImage
    from .base import Source

__all__ = ["CLIPS", "IMAGES", "THERMAL_EXTENSIONS", "Reading", "open_images", "open_source", "result_suffix"]

_READING = Lock()  # readers silence or record Python's warnings, which is for all threads at once


def open_source(path: str | Path, reading: Reading | None = None) -> Source:
    """Open a file for enhancing, estimating or measuring: the one way to read a file.

    Image files and files of counts are recognised by their content, clips and raw frames by their names.

    Args:
        path: an image file, a file with the counts of a thermal camera, or a clip.
        reading: how to read it, where its content leaves that open.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        FalseColourError: in false colours; a ValueError that says how to have it read.
        ValueError: damaged or of an unknown kind; names the file, what is wrong and the remedy.
        ImportError: it needs an optional package; names it.
    """
    path, reading = Path(path), reading or Reading()
    if is_clip(path):
        if reading.only_for_counts:
            raise ValueError(
                f"{path} is a clip, to which {', '.join(reading.only_for_counts)} cannot be applied; leave that out, "
                "or save its frames as 16-bit TIFF"
            )
        return ClipSource(
            path,
            on_broken=reading.on_broken,
            lossless=reading.lossless,
            palette=reading.palette,
            as_is=reading.as_is,
            sensor=reading.sensor,
        )
    read = read_thermal if reading.wants_counts else read_input
    with _READING:
        content: ThermalImage | Picture = read(path, raw=reading.raw, region=reading.region)
    if isinstance(content, Picture):
        return PictureSource(content, palette=reading.palette, as_is=reading.as_is, sensor=reading.sensor)
    if reading.palette not in (None, AUTO):
        raise ValueError(f"{path} holds counts, not the colours of '{reading.palette}'; read it without a palette")
    return reading.source(content)


def open_images(path: str | Path, reading: Reading | None = None) -> PictureSource | CountsSource:
    """Open an image file or a file of counts, where a clip would not do.

    Args:
        path: see :func:`open_source`.
        reading: see :func:`open_source`.

    Raises:
        OSError: see :func:`open_source`.
        ValueError: see :func:`open_source`; or this is a clip.
        ImportError: see :func:`open_source`.
    """
    if is_clip(path):
        raise ValueError(f"{path} is a clip, and images are expected: enhance clips, or save the frames as images")
    source = open_source(path, reading)
    assert isinstance(source, PictureSource | CountsSource)  # all that open_source knows apart from clips
    return source


def result_suffix(path: str | Path, suffix: str | None = None, *, lossless: bool = False) -> str:
    """The suffix of a result, found without reading the whole file.

    Args:
        path: the input; if it cannot be read, its own suffix is returned, and opening it will say why.
        suffix: the one that the user wants, for images and counts.
        lossless: for clips, see :class:`ClipSource`.

    Returns:
        The suffix of the input; ``.tiff`` for counts from a JPEG, an FFF or a raw file, ``.mkv`` for clips that have to
        be lossless.
    """
    path = Path(path)
    if is_clip(path):
        return LOSSLESS_EXTENSION if lossless or _is_deep(path) else path.suffix
    if suffix is not None:
        return suffix
    return ".tiff" if is_radiometric(path) else path.suffix


def _is_deep(path: Path) -> bool:
    try:
        with ClipReader(path, quiet=True) as reader:
            return reader.bit_depth == 16
    except (OSError, ValueError):
        return False
