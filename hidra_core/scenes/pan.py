"""A camera that pans over a rendered scene."""

from __future__ import annotations

import numpy as np

from .render import render

SHARE = 1.6
"""Height and width of the whole scene, in those of a frame."""


def pan(name: str, count: int, height: int = 512, width: int = 640, seed: int = 0) -> np.ndarray:
    """What a camera sees that travels over a scene, on a closed path that crosses itself.

    Args:
        name: of the scene, see :func:`render`.
        count: frames, at least 1; more of them make a slower camera.
        height: of a frame in pixels.
        width: of a frame in pixels.
        seed: see :func:`render`.

    Returns:
        float32 ``[count, height, width]`` in [0, 1].

    Raises:
        ValueError: no frames, an unknown name or too small a size.
    """
    if count < 1:
        raise ValueError(f"a camera takes at least one frame, got {count}")
    whole = render(name, round(SHARE * height), round(SHARE * width), seed)
    time = 2 * np.pi * np.arange(count) / count
    down, across = (
        np.rint((side - length) * (1 + np.sin(turns * time + 0.5)) / 2).astype(int)
        for side, length, turns in zip(whole.shape, (height, width), (1, 2), strict=True)
    )
    return np.stack([whole[top : top + height, left : left + width] for top, left in zip(down, across, strict=True)])
