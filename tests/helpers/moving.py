"""Frames of a camera with a known pattern that travels over a rendered scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hidra_core import scenes


@dataclass
class Camera:
    """What a camera adds to a scene, in grey levels: frames are ``gain · (scene - 128) + 128 + offsets``."""

    offsets: np.ndarray
    gain: np.ndarray
    dead: np.ndarray

    def frames(self, seen: np.ndarray, noise: float = 1.5, seed: int = 0) -> np.ndarray:
        """Frames ``[N, H, W]`` uint8 of what it sees; of its dead pixels some are dark, hot, stuck or blinking."""
        generator = np.random.default_rng(seed)
        frames = (seen - 128) * self.gain + 128 + self.offsets + generator.normal(0, noise, seen.shape)
        for index, (row, column) in enumerate(np.argwhere(self.dead)):
            blinking = np.where(generator.random(len(frames)) < 0.5, frames[:, row, column], 255)
            frames[:, row, column] = (0, 255, generator.uniform(60, 200), blinking)[index % 4]
        return np.rint(frames).clip(0, 255).astype(np.uint8)


def camera(height: int = 96, width: int = 128, *, gain: float = 0.0, dead: int = 37, seed: int = 1) -> Camera:
    """A camera with stripes, a pattern of single pixels, shading and dead pixels."""
    generator = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    offsets = generator.normal(0, 4, width) + generator.normal(0, 1.5, (height, 1)) + generator.normal(0, 3, y.shape)
    offsets += 3 * x - 6 * (x**2 + y**2)
    broken = np.zeros(y.shape, bool)
    broken.ravel()[generator.choice(y.size, dead, replace=False)] = True
    gains = 1 + gain * generator.normal(0, 1, y.shape)
    return Camera(offsets - offsets.mean(), gains, broken)


def large_scene(height: int = 400, width: int = 520, seed: int = 3) -> np.ndarray:
    """A scene of levels 45 to 210, ``[height, width]``."""
    return 45 + 165 * scenes.render("street", height, width, seed)


def views(scene: np.ndarray, count: int, size: tuple[int, int] = (96, 128), step: float = 4.0) -> np.ndarray:
    """What is seen on a random walk over a scene, ``[count, *size]``; with step 0 it stands still."""
    room = [side - length for side, length in zip(scene.shape, size, strict=True)]
    walk = np.cumsum(np.random.default_rng(7).normal(0, step, (count, 2)), 0) + np.array(room) / 2
    folded = [np.abs((walk[:, axis] + most) % (2 * most) - most).astype(int) for axis, most in enumerate(room)]
    return np.stack([scene[top : top + size[0], left : left + size[1]] for top, left in zip(*folded, strict=True)])
