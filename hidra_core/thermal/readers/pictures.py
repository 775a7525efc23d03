"""Counts in ordinary image files: grey PNG of 16 bits, and 8-bit pictures where the user wants them as counts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from ...images import Picture, read_image
from ..counts import ThermalImage
from .stored import from_stored

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

_GREY_DIFFERENCE = 1  # levels that the channels of a grey image stored as colour may differ by, as in a JPEG


def read(path: Path) -> ThermalImage | Picture:
    """The counts of a 16-bit grey file; a :class:`Picture` for every other image file."""
    picture = read_image(path)
    if picture.bit_depth == 16 and _is_grey(picture.pixels):
        if picture.pixels.shape[-1] >= 3:
            log.info("%s: its equal channels of 16 bits are read as one, grey", path)
        return as_thermal(picture)
    return picture


def as_thermal(picture: Picture) -> ThermalImage:
    """The pixels of a grey image file as counts.

    Args:
        picture: the content of the file.

    Raises:
        ValueError: the image is in colour, and the colours of a palette are no counts.
    """
    if not _is_grey(picture.pixels):
        raise ValueError(
            f"{picture.path} is in colour, and colours of a palette are no counts: use the camera's grey (white-hot), "
            "16-bit or radiometric file, or turn the palette back into greys first"
        )
    dtype = np.uint8 if picture.bit_depth == 8 else np.uint16
    levels = np.rint(picture.pixels * np.iinfo(dtype).max).astype(dtype)
    alpha = levels[None, ..., -1] if levels.shape[-1] in (2, 4) else None
    return from_stored(
        ThermalImage(
            picture.metadata,
            levels[None, ..., 0],
            f"{picture.bit_depth}-bit picture",
            valid=None if alpha is None or alpha.all() else alpha != 0,
            alpha=alpha,
            display=picture.bit_depth == 8,
        )
    )


def _is_grey(pixels: np.ndarray) -> bool:
    if pixels.shape[-1] < 3:
        return True
    colours = pixels[..., :3]
    return float((colours.max(-1) - colours.min(-1)).max()) * 255 <= _GREY_DIFFERENCE + 0.01
