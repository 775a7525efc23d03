"""Frames with stripes, and the loss of the network that finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from hidra_core.sensor.stripes import StripeNetwork, segment_means, smoothed

if TYPE_CHECKING:
    from torch import Tensor

    from .scenes import Scenes

SIZES = (
    *((24, 32), (60, 80), (62, 80), (120, 160), (156, 206), (192, 256)),
    *((240, 320), (256, 320), (288, 384), (384, 480), (512, 640), (512, 256), (320, 512)),
)
"""Heights and widths of the frames, from the smallest cameras to usual ones."""

_CLEAN = 0.25  # share of the frames without stripes


def striped_frame(scenes: Scenes, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A frame with stripes along its columns, and what the stripes are in it.

    What the noise adds to the mean of a whole column is a stripe too: nobody can tell it from one.

    Returns:
        (frame, stripes), ``[H, W]`` float32 each, grey levels.
    """
    height, width = size
    scene = scenes.crop(height, width, rng)
    if rng.random() < 0.5:  # faded
        alpha = rng.uniform(0.2, 1.0)
        scene = scene * alpha + 255 * rng.uniform(0, 0.4) * 2 * (1 - alpha) * rng.random()
    if rng.random() < 0.3:
        scene = gaussian_filter(scene, rng.uniform(0.5, 3.0))
    if rng.random() < 0.3:  # stripes along the rows must not count
        scene = scene * (1 + rng.normal(0, rng.uniform(0, 0.06), (height, 1)))
        scene = scene + rng.normal(0, np.exp(rng.uniform(-2, 2.5)), (height, 1))
    gain, offset = _stripes(width, rng)
    noise = _noise(scene, rng)
    lowest, highest = (0, 255) if rng.random() < 0.85 else (-np.inf, np.inf)
    frame = np.clip(scene * (1 + gain) + offset + noise, lowest, highest)
    without = np.clip(scene + noise - noise.mean(0), lowest, highest)
    if np.isfinite(lowest):
        frame = np.round(frame)
    return frame.astype(np.float32), (frame - without).astype(np.float32)


def _stripes(width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gains and offsets of columns: white, repeated as by several amplifiers, smeared, or in a few columns only."""
    if rng.random() < _CLEAN:
        return np.zeros(width), np.zeros(width)
    gain = rng.normal(0, rng.uniform(0, 0.1) if rng.random() < 0.6 else 0.0, width)
    offset = rng.normal(0, np.exp(rng.uniform(np.log(0.15), np.log(25))), width)
    kind = rng.random()
    if kind < 0.15:
        period = rng.normal(0, np.exp(rng.uniform(-1, 2.5)), rng.integers(2, 9))
        offset = offset + np.resize(period, width)
    elif kind < 0.35:
        sigma = rng.uniform(0.4, 1.5)
        gain, offset = (1.7 * sigma**0.5 * gaussian_filter1d(part, sigma) for part in (gain, offset))
    elif kind < 0.45:
        offset = offset * (rng.random(width) < rng.uniform(0.02, 0.3))
    return gain, offset


def _noise(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.random()
    if kind < 0.6:
        noise = rng.normal(0, rng.uniform(0, 20) if rng.random() < 0.6 else rng.uniform(0, 4), scene.shape)
    elif kind < 0.8:
        light = scene.clip(min=0)
        noise = (rng.poisson(light) - light) * rng.uniform(0, 1.5)
    else:
        noise = np.zeros(scene.shape)
    return gaussian_filter(noise, rng.uniform(0.4, 0.8)) if rng.random() < 0.15 else noise


def stripe_loss(network: StripeNetwork, frames: Tensor, stripes: Tensor) -> Tensor:
    """How far the stripes that the network finds in frames ``[B, H, W]`` are from the true ones.

    Errors are weighed against the strength of the stripes; fine ones, which the eye sees, more than wide ones, which no
    one can tell from the scene.
    """
    wanted = segment_means(stripes)
    error = network(frames).segments - wanted
    scale = 0.4 + 0.05 * wanted.square().mean((1, 2), keepdim=True).sqrt()
    fine = error - smoothed(error)
    return _robust(fine / scale) + 0.4 * _robust(error / scale)


def _robust(error: Tensor) -> Tensor:
    return (error.square() + 0.01).sqrt().mean()


def new_network() -> StripeNetwork:
    """An untrained network, the same every time."""
    torch.manual_seed(0)
    return StripeNetwork()
