"""A supersampled canvas, the shapes that can be painted on it, and the small functions that scenes share.

Lengths and coordinates are in heights of the finished image, so that a scene keeps its composition at any size: ``y``
goes from 0 (top) to 1, ``x`` from 0 (left) to the aspect ratio. Values are temperatures on a scale of their own, about
0 (the sky) to 1 (skin); ``render`` stretches them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

OPTICS_SIGMA = 0.7
"""Standard deviation of the lens blur, in pixels of the finished image."""

SUPERSAMPLING = 2
"""Samples of the canvas along each side of a pixel of the finished image."""


@dataclass(frozen=True)
class Window:
    """A rectangle of the canvas's samples.

    Attributes:
        rows: the samples it holds, from top to bottom.
        columns: the samples it holds, from left to right.
        x: coordinates of its columns, ``[1, w]``.
        y: coordinates of its rows, ``[h, 1]``.
    """

    rows: slice
    columns: slice
    x: np.ndarray
    y: np.ndarray

    def crop(self, texture: np.ndarray) -> np.ndarray:
        """The part of a texture of the canvas's size that lies in this window."""
        return texture[self.rows, self.columns]


@dataclass(frozen=True)
class Inside(Window):
    """A window with a shape in it.

    Attributes:
        depth: for each sample the distance to the shape's outline, ``[h, w]``: negative inside, 0 elsewhere.
    """

    depth: np.ndarray


Outline = Callable[[Window], np.ndarray]
"""A shape, as the distance of each sample to its outline, negative inside."""

Shade = Callable[[Inside], np.ndarray]
"""A temperature that differs from place to place."""

Value = float | Shade
"""What a shape is filled with."""


class Canvas:
    """A supersampled image that shapes are painted on, one over the other.

    Args:
        height: of the finished image in pixels.
        width: of the finished image in pixels.
        rng: all that is drawn by chance in the scene comes from it.

    Attributes:
        rng: the generator.
        aspect: width over height, the right end of ``x``.
        unit: samples in one unit of length.
        x: coordinates of the columns, ``[1, W]``.
        y: coordinates of the rows, ``[H, 1]``.
        image: temperatures so far, float32 ``[H, W]``.
        coarse: a texture in which wide patches prevail.
        fine: a texture in which small grains prevail.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.aspect = width / height
        self.unit = height * SUPERSAMPLING
        self.y = ((np.arange(height * SUPERSAMPLING, dtype=np.float32) + 0.5) / self.unit)[:, None]
        self.x = ((np.arange(width * SUPERSAMPLING, dtype=np.float32) + 0.5) / self.unit)[None, :]
        self.image = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.float32)
        # Textures come from a generator of their own, so that the layout does not depend on the size of the image.
        self._texture_rng = np.random.default_rng(rng.integers(2**32))
        self.coarse = self.noise(2.6)
        self.fine = self.noise(1.3)

    def noise(self, roughness: float, stretch: float = 1.0, angle: float = 0.0) -> np.ndarray:
        """Fractal noise of mean 0 and standard deviation 1, float32 ``[H, W]``.

        Args:
            roughness: the amplitude falls with frequency to the power of minus half of it.
            stretch: above 1 the noise is drawn out along ``angle``.
            angle: in radians.
        """
        height, width = self.y.size // SUPERSAMPLING, self.x.size // SUPERSAMPLING
        fy = np.fft.fftfreq(height)[:, None] * height
        fx = np.fft.rfftfreq(width)[None, :] * width * height / width
        along, across = fx * math.cos(angle) + fy * math.sin(angle), fy * math.cos(angle) - fx * math.sin(angle)
        radius = np.sqrt((along * stretch) ** 2 + across**2 + 1.0)
        spectrum = np.fft.rfft2(self._texture_rng.standard_normal((height, width))) * radius ** (-roughness / 2)
        spectrum[0, 0] = 0
        texture = np.fft.irfft2(spectrum, (height, width))
        texture = (texture / texture.std()).astype(np.float32)
        return texture.repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)

    def finish(self) -> np.ndarray:
        """The image as the sensor sees it: through the lens, averaged over each pixel, under a veil of stray light.

        Returns:
            ``[height, width]`` on the canvas's scale of temperatures.
        """
        height, width = self.y.size, self.x.size
        pixels = gaussian_filter(self.image, OPTICS_SIGMA * SUPERSAMPLING, truncate=3.0)
        pixels = pixels.reshape(height // SUPERSAMPLING, SUPERSAMPLING, width // SUPERSAMPLING, SUPERSAMPLING)
        pixels = pixels.mean(axis=(1, 3))
        veil = gaussian_filter(pixels[::4, ::4], 0.03 * pixels.shape[0] / 4)
        veil = zoom(veil, np.array(pixels.shape) / veil.shape, order=1)
        return 0.93 * pixels + 0.07 * veil

    def rows(self, top: float, bottom: float) -> slice:
        """The rows of samples from ``top`` to ``bottom``; empty outside the canvas."""
        return self._samples(top, bottom, self.y.size)

    def columns(self, left: float, right: float) -> slice:
        """The columns of samples from ``left`` to ``right``; empty outside the canvas."""
        return self._samples(left, right, self.x.size)

    def _samples(self, start: float, stop: float, size: int) -> slice:
        first = min(size, max(0, math.floor(start * self.unit)))
        return slice(first, max(first, min(size, math.ceil(stop * self.unit))))

    def _window(self, left: float, top: float, right: float, bottom: float) -> Window:
        rows, columns = self.rows(top, bottom), self.columns(left, right)
        return Window(rows, columns, self.x[:, columns], self.y[rows])

    def paint(
        self, bounds: tuple[float, float, float, float], outline: Outline, value: Value, opacity: float = 1.0
    ) -> None:
        """Fill a shape.

        Args:
            bounds: left, top, right and bottom of a rectangle that holds all of the shape.
            outline: the shape.
            value: what it is filled with.
            opacity: share of the fill that covers what was there.
        """
        margin = 2.0 / self.unit
        left, top, right, bottom = bounds
        at = self._window(left - margin, top - margin, right + margin, bottom + margin)
        if at.x.size == 0 or at.y.size == 0:
            return
        distance = outline(at)
        cover = np.clip(0.5 - distance * self.unit, 0, 1) * opacity
        fill = value(Inside(at.rows, at.columns, at.x, at.y, np.minimum(distance, 0))) if callable(value) else value
        target = self.image[at.rows, at.columns]
        target += cover * (fill - target)

    def capsule(
        self,
        ax: float,
        ay: float,
        bx: float,
        by: float,
        ra: float,
        value: Value,
        rb: float | None = None,
        opacity: float = 1.0,
    ) -> None:
        """A thick line from a to b whose radius goes from ``ra`` to ``rb``."""
        rb = ra if rb is None else rb
        r = max(ra, rb)
        length2 = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)

        def outline(at: Window) -> np.ndarray:
            t = np.clip(((at.x - ax) * (bx - ax) + (at.y - ay) * (by - ay)) / length2, 0, 1)
            return np.hypot(at.x - ax - t * (bx - ax), at.y - ay - t * (by - ay)) - (ra + (rb - ra) * t)

        self.paint((min(ax, bx) - r, min(ay, by) - r, max(ax, bx) + r, max(ay, by) + r), outline, value, opacity)

    def ellipse(
        self,
        cx: float,
        cy: float,
        rx: float,
        ry: float,
        value: Value,
        angle: float = 0.0,
        opacity: float = 1.0,
        wobble: float = 0.0,
    ) -> None:
        """An ellipse; ``wobble`` roughens its outline by the fine texture (in units of its smaller radius)."""
        r = max(rx, ry) * (1 + 2.5 * abs(wobble))
        cos, sin = math.cos(angle), math.sin(angle)
        small = min(rx, ry)

        def outline(at: Window) -> np.ndarray:
            u, v = (at.x - cx) * cos + (at.y - cy) * sin, (at.y - cy) * cos - (at.x - cx) * sin
            d = (np.hypot(u / rx, v / ry) - 1) * small
            return d + wobble * small * at.crop(self.fine) if wobble else d

        self.paint((cx - r, cy - r, cx + r, cy + r), outline, value, opacity)

    def box(
        self,
        cx: float,
        cy: float,
        rx: float,
        ry: float,
        value: Value,
        angle: float = 0.0,
        corner: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """A rectangle of half width ``rx`` and half height ``ry`` whose corners are rounded to a radius ``corner``."""
        r = math.hypot(rx, ry) if angle else max(rx, ry)
        cos, sin = math.cos(angle), math.sin(angle)

        def outline(at: Window) -> np.ndarray:
            u = np.abs((at.x - cx) * cos + (at.y - cy) * sin) - (rx - corner)
            v = np.abs((at.y - cy) * cos - (at.x - cx) * sin) - (ry - corner)
            return np.hypot(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - corner

        self.paint((cx - r, cy - r, cx + r, cy + r), outline, value, opacity)

    def polygon(self, points: list[tuple[float, float]], value: Value, opacity: float = 1.0) -> None:
        """A convex polygon, its corners given clockwise as seen."""
        xs, ys = zip(*points, strict=True)

        def outline(at: Window) -> np.ndarray:
            d = np.full(np.broadcast_shapes(at.x.shape, at.y.shape), -1e3, np.float32)
            for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
                length = math.hypot(bx - ax, by - ay)
                np.maximum(d, ((by - ay) * (at.x - ax) - (bx - ax) * (at.y - ay)) / length, out=d)
            return d

        self.paint((min(xs), min(ys), max(xs), max(ys)), outline, value, opacity)

    def glow(self, cx: float, cy: float, rx: float, ry: float, amount: float) -> None:
        """Add a soft spot of standard deviations ``rx``, ``ry``: warmed ground, a halo, a hot joint."""
        at = self._window(cx - 3 * rx, cy - 3 * ry, cx + 3 * rx, cy + 3 * ry)
        spot = np.exp(-0.5 * (((at.x - cx) / rx) ** 2 + ((at.y - cy) / ry) ** 2))
        self.image[at.rows, at.columns] += amount * spot


def mix(a: Any, b: Any, t: Any) -> Any:
    """From ``a`` (``t`` = 0) to ``b`` (``t`` = 1) in a straight line; numbers or arrays."""
    return a + (b - a) * t


def ramp(values: Any, start: float, stop: Any) -> np.ndarray:
    """0 below ``start``, 1 above ``stop``, smooth between; numbers or arrays."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def warm_body(temperature: float, thickness: float, drop: float = 0.18) -> Shade:
    """The look of a round warm body: its rim, seen at a slant, appears cooler by a share ``drop``."""
    return lambda at: temperature * (1 - drop * np.exp(at.depth / (0.35 * thickness)))
