"""Decoding the pixels of TIFF pages, and the errors of damaged ones."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...images import DECODER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MODES = ("L", "LA", "I;16", "I;16B", "I", "F")  # of Pillow, that hold what the file stores
_MIN_IS_WHITE, _ORIENTATION = 0, 274


def pixels(path: Path, page: Any) -> np.ndarray:
    """The pixels of a page as they are stored, of the shape and type that tifffile gives them.

    Where imagecodecs is missing, Pillow decodes compressions for which tifffile needs it, LZW and JPEG among them.

    Args:
        path: the file.
        page: opened by tifffile.

    Raises:
        ValueError: damaged; or compressed as only imagecodecs can read it, which the message then names.
    """
    try:
        return page.asarray(maxworkers=1)
    except ValueError as error:
        if not needs_imagecodecs(error) or _ORIENTATION in page.tags and page.tags[_ORIENTATION].value != 1:
            raise
        plane = _by_pillow(path, page)
        if plane is None:
            raise
        return plane


def _by_pillow(path: Path, page: Any) -> np.ndarray | None:
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            image.seek(page.index)
            if image.mode not in _MODES:
                return None
            plane = np.asarray(image)
    except UnidentifiedImageError:  # a compression that it does not know either
        return None
    # of 8 bits Pillow gives the grey that is shown
    is_shown = image.mode == "L" and page.photometric == _MIN_IS_WHITE
    return (255 - plane if is_shown else plane).astype(page.dtype)


def needs_imagecodecs(error: Exception) -> bool:
    """Whether tifffile cannot decode something for want of imagecodecs."""
    return "imagecodecs" in str(error)


@contextmanager
def decoding(path: Path, what: str = "") -> Iterator[None]:
    """Within the block, whatever a damaged file makes decoders raise becomes a ValueError that names the file.

    tifffile and imagecodecs document no set of errors for damaged input.

    Raises:
        ValueError: the file is damaged.
        ImportError: its compression needs imagecodecs.
    """
    kinds = (*DECODER_ERRORS, KeyError, ArithmeticError, AttributeError, AssertionError, RuntimeError, MemoryError)
    try:
        yield
    except ImportError:
        raise
    except FileNotFoundError:
        raise
    except (*kinds, zlib.error) as error:
        text = str(error)
        if needs_imagecodecs(error):
            raise ImportError(
                f"{path}: its compression needs imagecodecs: pip install imagecodecs (or 'hidra-thermal[radiometric]')"
            ) from error
        if text.startswith(str(path)):
            raise
        where = f"{what}: " if what else ""
        raise ValueError(
            f"{path} is damaged or incomplete ({where}{text or error!r}); copy or export it again"
        ) from error
