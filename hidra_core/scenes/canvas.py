"""A supersampled picture and the shapes that can be painted on it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

OPTICS_SIGMA = 0.7  # blur of the lens, in pixels of the finished picture


SUPERSAMPLING = 2


Value = float | Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A temperature, or a function of x, y and the distance to the outline (negative inside, never positive)."""


class Canvas:
    """A supersampled picture and the shapes that can be painted on it."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.aspect = width / height
        self.unit = height * SUPERSAMPLING  # samples in one unit of length
        self.y = ((np.arange(height * SUPERSAMPLING, dtype=np.float32) + 0.5) / self.unit)[:, None]
        self.x = ((np.arange(width * SUPERSAMPLING, dtype=np.float32) + 0.5) / self.unit)[None, :]
        self.image = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.float32)
        # Textures come from a generator of their own, for the layout not to depend on the size of the picture.
        self._texture_rng = np.random.default_rng(rng.integers(2**32))
        self.coarse = self.noise(2.6)
        self.fine = self.noise(1.3)

    def noise(self, roughness: float, stretch: float = 1.0, angle: float = 0.0) -> np.ndarray:
        """Fractal noise of mean 0 and deviation 1 whose amplitude falls with frequency to the power -``roughness`` / 2.

        ``stretch`` above 1 draws it out along ``angle`` (radians).
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
        """Through the lens and onto the sensor: a faint veil of stray light, the lens blur, the area of each pixel."""
        height, width = self.y.size, self.x.size
        pixels = gaussian_filter(self.image, OPTICS_SIGMA * SUPERSAMPLING, truncate=3.0)
        pixels = pixels.reshape(height // SUPERSAMPLING, SUPERSAMPLING, width // SUPERSAMPLING, SUPERSAMPLING)
        pixels = pixels.mean(axis=(1, 3))
        veil = gaussian_filter(pixels[::4, ::4], 0.03 * pixels.shape[0] / 4)
        veil = zoom(veil, np.array(pixels.shape) / veil.shape, order=1)
        return 0.93 * pixels + 0.07 * veil

    def paint(self, box: tuple[float, float, float, float], distance, value: Value, opacity: float = 1.0) -> None:
        """Fill where ``distance(x, y)`` is negative; ``box`` (left, top, right, bottom) must hold all of that."""
        margin = 2.0 / self.unit
        rows = self.span(box[1] - margin, box[3] + margin, self.y.size)
        columns = self.span(box[0] - margin, box[2] + margin, self.x.size)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        x, y = self.x[:, columns], self.y[rows]
        d = distance(x, y)
        cover = np.clip(0.5 - d * self.unit, 0, 1) * opacity
        target = self.image[rows, columns]
        target += cover * ((value(x, y, np.minimum(d, 0)) if callable(value) else value) - target)

    def span(self, start: float, stop: float, size: int) -> slice:
        first = min(size, max(0, math.floor(start * self.unit)))
        return slice(first, max(first, min(size, math.ceil(stop * self.unit))))

    def texture(self, noise: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The part of a full-size texture under a window of coordinates, as the functions of ``paint`` get them."""
        row, column = int(y[0, 0] * self.unit), int(x[0, 0] * self.unit)
        return noise[row : row + y.shape[0], column : column + x.shape[1]]

    def capsule(self, ax, ay, bx, by, ra, value: Value, rb=None, opacity: float = 1.0) -> None:
        """A thick line from a to b whose radius goes from ``ra`` to ``rb``."""
        rb = ra if rb is None else rb
        r = max(ra, rb)
        length2 = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)

        def distance(x, y):
            t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2, 0, 1)
            return np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)) - (ra + (rb - ra) * t)

        self.paint((min(ax, bx) - r, min(ay, by) - r, max(ax, bx) + r, max(ay, by) + r), distance, value, opacity)

    def ellipse(self, cx, cy, rx, ry, value: Value, angle: float = 0.0, opacity: float = 1.0, wobble=0.0) -> None:
        """An ellipse; ``wobble`` roughens its outline by the coarse texture (in units of its smaller radius)."""
        r = max(rx, ry) * (1 + 2.5 * abs(wobble))
        cos, sin = math.cos(angle), math.sin(angle)
        small = min(rx, ry)

        def distance(x, y):
            u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
            d = (np.hypot(u / rx, v / ry) - 1) * small
            return d + wobble * small * self.texture(self.fine, x, y) if wobble else d

        self.paint((cx - r, cy - r, cx + r, cy + r), distance, value, opacity)

    def box(self, cx, cy, rx, ry, value: Value, angle: float = 0.0, corner: float = 0.0, opacity: float = 1.0) -> None:
        """A rectangle of half width ``rx`` and half height ``ry``, its corners rounded."""
        r = math.hypot(rx, ry) if angle else max(rx, ry)
        cos, sin = math.cos(angle), math.sin(angle)

        def distance(x, y):
            u = np.abs((x - cx) * cos + (y - cy) * sin) - (rx - corner)
            v = np.abs((y - cy) * cos - (x - cx) * sin) - (ry - corner)
            return np.hypot(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - corner

        self.paint((cx - r, cy - r, cx + r, cy + r), distance, value, opacity)

    def polygon(self, points: list[tuple[float, float]], value: Value, opacity: float = 1.0) -> None:
        """A convex polygon, its corners clockwise as seen."""
        xs, ys = zip(*points, strict=True)

        def distance(x, y):
            d = np.full(np.broadcast_shapes(x.shape, y.shape), -1e3, np.float32)
            for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
                length = math.hypot(bx - ax, by - ay)
                np.maximum(d, ((by - ay) * (x - ax) - (bx - ax) * (y - ay)) / length, out=d)
            return d

        self.paint((min(xs), min(ys), max(xs), max(ys)), distance, value, opacity)

    def glow(self, cx, cy, rx, ry, amount: float) -> None:
        """Add a soft spot of deviation ``rx``, ``ry``: warmed ground, a halo, a hot joint."""
        rows = self.span(cy - 3 * ry, cy + 3 * ry, self.y.size)
        columns = self.span(cx - 3 * rx, cx + 3 * rx, self.x.size)
        x, y = self.x[:, columns], self.y[rows]
        self.image[rows, columns] += amount * np.exp(-0.5 * (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2))


def mix(a, b, t):
    return a + (b - a) * t


def ramp(values, start, stop):
    """0 below ``start``, 1 above ``stop``, smooth between."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def rounded(temperature: float, thickness: float, drop: float = 0.18) -> Value:
    """The look of a round warm body: its rim, seen at a slant, appears cooler."""
    return lambda x, y, d: temperature * (1 - drop * np.exp(d / (0.35 * thickness)))
