"""Files as grey pages, for programs that measure or train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..images import to_grey
from ..images.false_colour import FalseColourError
from .opening import Reading, open_images

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def read_grey(path: str | Path, *, as_is: bool = False) -> list[np.ndarray]:
    """Read the pages of an image file or of a file of counts as ``hidra enhance`` sees them, in grey.

    Args:
        path: see :func:`~hidra_core.sources.open_images`.
        as_is: take the brightness of coloured pictures as grey, for pictures in visible light.

    Returns:
        ``[H, W]`` float32 in [0, 1], one per page. Counts of more than 8 bits are stretched between the extremes of
        the scene, all pages by one mapping; 8-bit images are unchanged.

    Raises:
        OSError: see :func:`~hidra_core.sources.open_images`.
        ValueError: see :func:`~hidra_core.sources.open_images`.
        ImportError: see :func:`~hidra_core.sources.open_images`.
    """
    try:
        source = open_images(path, Reading(as_is=as_is))
    except FalseColourError as error:
        raise ValueError(
            f"{error.finding}, and thermal images in grey are expected. Leave it out, or turn it back to grey with "
            "hidra enhance --blend 0 --palette auto"
        ) from error
    return [to_grey(page[None])[0, 0].numpy() for page in source.pages()]
