"""The grey of pixels in one or more channels on its way through the sensor stage, and back."""

from __future__ import annotations

import numpy as np
import torch

from ..checkpoints import checkpoint
from ..images import to_grey
from ..images.false_colour import CLEAR, GOOD_PART


def grey_of(
    pixels: np.ndarray, scale: float = 255.0, blank: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The grey of an image, for the sensor stage.

    Args:
        pixels: ``[H, W, C]`` float32 in [0, 1].
        scale: what 1 is in grey levels of 255.
        blank: ``[H, W]`` bool, where the image says that there is nothing; None: nowhere.

    Returns:
        (grey levels ``[H, W]``; the pixels that are scene, ``[H, W]`` bool, which what is coloured in a grey image,
        such as text, is not, None: all). None: its colours are no grey.
    """
    grey = to_grey(torch.from_numpy(pixels)[None])[0, 0].numpy() * np.float32(scale)
    valid = None if blank is None or not blank.any() else ~blank
    if pixels.shape[-1] >= 3:
        checkpoint()
        red, green, blue = (pixels[..., channel] for channel in range(3))
        spread = np.maximum(np.maximum(red, green), blue)  # np.ptp takes ten times as long over so short an axis
        spread -= np.minimum(np.minimum(red, green), blue)
        checkpoint()
        coloured = spread * 255 > CLEAR
        if coloured.mean() > GOOD_PART:
            return None
        if coloured.any():
            valid = ~coloured if valid is None else valid & ~coloured
    return grey, valid


def with_grey(
    pixels: np.ndarray, before: np.ndarray, after: np.ndarray, valid: np.ndarray | None = None, scale: float = 255.0
) -> np.ndarray:
    """The image with what was changed in its grey, in all colours.

    Args:
        pixels: as given to :func:`grey_of`.
        before: the grey that it returned.
        after: the same changed, ``[H, W]``.
        valid: ``[H, W]`` bool: the pixels that change; None: all.
        scale: as given to it.

    Returns:
        ``[H, W, C]`` float32, not clipped.
    """
    checkpoint()
    change = ((after - before) / scale).astype(np.float32)[..., None]
    change = change if valid is None else np.where(valid[..., None], change, 0)
    result = pixels.copy()
    colours = result[..., :-1] if result.shape[-1] in (2, 4) else result
    colours += change
    return result
