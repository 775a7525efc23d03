"""A rendered 16-bit image with known temperatures, to try radiometric mode without a camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import degradations
from ..images import Metadata
from ..scenes import render
from .counts import LinearKelvin, ThermalImage
from .mapping import rounded

COLDEST, WARMEST = 283.15, 323.15
"""Temperatures in kelvin of a scene's grey values 0 and 1."""


@dataclass(frozen=True, eq=False)
class ThermalSample:
    """An image as a camera in TLinear mode delivers it, and the true temperatures.

    Attributes:
        image: one page of 16-bit counts at 0.04 K per count, with noise and stripes.
        kelvin: ``[H, W]`` float64, the temperatures of the scene.
    """

    image: ThermalImage
    kelvin: np.ndarray


def thermal_sample(
    scene: str = "street",
    height: int = 512,
    width: int = 640,
    seed: int = 0,
    *,
    stripe_kelvin: float = 0.6,
    noise_kelvin: float = 0.9,
    axis: str = "column",
) -> ThermalSample:
    """Render a scene and the counts of a camera that looks at it.

    Args:
        scene: one of ``scenes.SCENES``.
        height: in pixels.
        width: in pixels.
        seed: see :func:`~hidra_core.scenes.render`.
        stripe_kelvin: standard deviation of the offsets of the columns or rows, in kelvin.
        noise_kelvin: standard deviation of the pixel noise, in kelvin.
        axis: direction of the stripes, "column" or "row".
    """
    clean = render(scene, height, width, seed)
    span, relation = WARMEST - COLDEST, LinearKelvin(0.04)
    generator = torch.Generator().manual_seed(seed)
    image = torch.from_numpy(clean)[None, None]
    levels = degradations.GREY_LEVELS / span
    image = degradations.stripes(image, axis, 0.0, stripe_kelvin * levels, generator)
    image = degradations.gaussian_noise(image, noise_kelvin * levels, generator)
    measured = COLDEST + span * image[0, 0].numpy().astype(np.float64)
    counts = rounded((measured - relation.offset) / relation.scale, np.dtype(np.uint16))
    thermal = ThermalImage(
        Metadata(Path(f"sample-{scene}.tiff")), counts[None], "rendered, 16 bits", "rendered scene", relation
    )
    return ThermalSample(thermal, COLDEST + span * clean.astype(np.float64))
