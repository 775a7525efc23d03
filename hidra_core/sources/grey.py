"""Files as grey pages, for programs that measure or train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..images import to_grey
from .opening import open_images

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def read_grey(path: str | Path) -> list[np.ndarray]:
    """Read the pages of an image file or of a file of counts as ``hidra enhance`` sees them, in grey.

    Args:
        path: see :func:`~hidra_core.sources.open_images`.

    Returns:
        ``[H, W]`` float32 in [0, 1], one per page. Counts of more than 8 bits are stretched between the extremes of
        the scene, all pages by one mapping; 8-bit images are unchanged.

    Raises:
        OSError: see :func:`~hidra_core.sources.open_images`.
        ValueError: see :func:`~hidra_core.sources.open_images`.
        ImportError: see :func:`~hidra_core.sources.open_images`.
    """
    return [to_grey(page[None])[0, 0].numpy() for page in open_images(path).pages()]
