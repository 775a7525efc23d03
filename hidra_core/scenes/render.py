"""Scenes by name, rendered."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from .canvas import Canvas
from .field import field
from .night import night
from .street import street
from .substation import substation

if TYPE_CHECKING:
    from collections.abc import Callable

SMALLEST = 16
"""Height and width in pixels that a scene needs at least."""

# How to draw each scene, and where its darkest and its brightest parts lie in the finished image.
_SCENES: dict[str, tuple[Callable[[Canvas], None], float, float]] = {
    "street": (street, 0.02, 0.98),
    "field": (field, 0.03, 0.97),
    "substation": (substation, 0.02, 0.98),
    "night": (night, 0.02, 0.62),
}

SCENES = tuple(_SCENES)
"""Names that :func:`render` knows."""


def render(name: str, height: int = 512, width: int = 640, seed: int = 0) -> np.ndarray:
    """Draw a scene.

    Args:
        name: one of :data:`SCENES`.
        height: in pixels, at least 16.
        width: in pixels, at least 16.
        seed: another seed gives another scene of that kind; the same one gives the same image.

    Returns:
        float32 ``[height, width]`` in [0, 1].

    Raises:
        ValueError: an unknown name or too small a size.
    """
    if name not in _SCENES:
        raise ValueError(f"unknown scene '{name}'; choose one of {', '.join(SCENES)}")
    if height < SMALLEST or width < SMALLEST:
        raise ValueError(f"a scene needs at least {SMALLEST}x{SMALLEST} pixels, got {height}x{width}")
    draw, low, high = _SCENES[name]
    canvas = Canvas(height, width, np.random.default_rng([zlib.crc32(name.encode()), seed]))
    draw(canvas)
    image = canvas.finish()
    black, white = np.quantile(image[::2, ::2], (0.001, 0.999))
    return np.clip(low + (high - low) * (image - black) / max(white - black, 1e-6), 0, 1).astype(np.float32)
