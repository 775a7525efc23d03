"""Opening a file as what it is: an ordinary image file, counts or a clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..images import EXTENSIONS as IMAGES
from ..images import Picture
from ..thermal import LinearKelvin, Mapping, ThermalImage, fit, identity
from ..thermal.readers import THERMAL_EXTENSIONS, RawLayout, is_radiometric, read_input, read_thermal
from ..video import EXTENSIONS as CLIPS
from ..video import LOSSLESS_EXTENSION, ClipReader, is_clip
from .clip import ClipSource
from .counts import CountsSource
from .picture import PictureSource

if TYPE_CHECKING:
    from ..video import OnBroken
    from .base import Source

__all__ = ["CLIPS", "IMAGES", "THERMAL_EXTENSIONS", "Reading", "open_images", "open_source", "result_suffix"]


@dataclass(frozen=True)
class Reading:
    """How to read files, where their content leaves it open.

    Attributes:
        raw: size and byte order of raw frames.
        relation: the relation of counts to kelvin, where the user knows it; overrides a file's own.
        mapping: one of ``hidra_core.names.MAPPINGS``; None: linear for counts, 8-bit images unchanged.
        parameters: of the mapping: ``low``, ``high`` and ``plateau``, see :mod:`hidra_core.thermal.mapping`.
        as_counts: read 8-bit images as counts too.
        on_broken: for clips, see :class:`ClipSource`.
        lossless: for clips, see :class:`ClipSource`.

    Raises:
        ValueError: an unknown mapping, or parameters that it does not have or that are out of range.
    """

    raw: RawLayout = field(default_factory=RawLayout)
    relation: LinearKelvin | None = None
    mapping: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    as_counts: bool = False
    on_broken: OnBroken = "stop"
    lossless: bool = False

    def __post_init__(self) -> None:
        # the mapping checks its own parameters: fit it to a small ramp
        self.fit(np.arange(64, dtype=np.uint16).reshape(1, 8, 8))

    def fit(self, counts: np.ndarray) -> Mapping:
        """The mapping for counts ``[N, H, W]``: the same one for every command, node and training."""
        if self.mapping is None and not self.parameters and counts.dtype == np.uint8:
            return identity(counts.dtype)
        return fit(self.mapping or "linear", counts, **self.parameters)


def open_source(path: str | Path, reading: Reading | None = None) -> Source:
    """Open a file for enhancing, estimating or measuring: the one way to read a file.

    Image files and files of counts are recognised by their content, clips and raw frames by their names.

    Args:
        path: an image file, a file with the counts of a thermal camera, or a clip.
        reading: how to read it, where its content leaves that open.

    Raises:
        OSError: the file is missing, is a folder, or may not be read.
        ValueError: damaged or of an unknown kind; names the file, what is wrong and the remedy.
        ImportError: it needs an optional package; names it.
    """
    path, reading = Path(path), reading or Reading()
    if is_clip(path):
        return ClipSource(path, on_broken=reading.on_broken, lossless=reading.lossless)
    asked = reading.as_counts or reading.mapping is not None or bool(reading.parameters)
    content: ThermalImage | Picture = (read_thermal if asked else read_input)(
        path, raw=reading.raw, relation=reading.relation
    )
    if isinstance(content, Picture):
        return PictureSource(content)
    return CountsSource(content, reading.fit(content.counts))


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
