"""Clean crops for the sensor stage: random parts of images in random sizes, directions and tones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

TONE = 0.3
"""Standard deviation of the logarithm of the gamma that half of the crops get."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Clean images and how often each is drawn.

    Attributes:
        images: grey uint8 ``[H, W]``.
        odds: of each image; they sum to 1.
    """

    images: Sequence[np.ndarray]
    odds: np.ndarray

    def crop(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """A random part of a random image, ``[height, width]`` float32, grey levels (0-255)."""
        image = self.images[rng.choice(len(self.images), p=self.odds)]
        if rng.random() < 0.3:
            image = image.T
        least = max(height / image.shape[0], width / image.shape[1])
        zoom = 1.0
        if least > 1:
            zoom = least * (1.0 if rng.random() < 0.5 else rng.uniform(1.0, 1.3))
        elif rng.random() < 0.4:
            zoom = rng.uniform(least, 1.0)
        image = _scaled(image, zoom, (height, width))
        top, left = (rng.integers(side - wanted + 1) for side, wanted in zip(image.shape, (height, width), strict=True))
        part = image[top : top + height, left : left + width].astype(np.float32)
        part = part[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        if rng.random() < 0.5:
            part = 255 * (part / 255) ** np.float32(np.exp(rng.normal(0, TONE)))
        return np.ascontiguousarray(part)


def _scaled(image: np.ndarray, zoom: float, least: tuple[int, int]) -> np.ndarray:
    if zoom == 1.0:
        return image
    size = tuple(max(round(side * zoom), wanted) for side, wanted in zip(image.shape, least, strict=True))
    plane = torch.from_numpy(np.ascontiguousarray(image))[None, None].float()
    return F.interpolate(plane, size, mode="bilinear", antialias=zoom < 1)[0, 0].numpy()
