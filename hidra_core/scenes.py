"""Sample pictures of our own: thermal-infrared scenes drawn from scratch.

They need no download and carry no licence but this project's, so examples, tests and the documentation can show them.
Each is clean and sharp, as an ideal camera would see it: white is warm. Lengths are fractions of the picture's height,
``x`` from 0 to width / height, ``y`` downwards from 0 to 1; values are apparent temperature on an arbitrary scale.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

OPTICS_SIGMA = 0.7  # blur of the lens, in pixels of the finished picture
_SUPERSAMPLING = 2

Value = float | Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A temperature, or a function of x, y and the distance to the outline (negative inside, never positive)."""


def render(name: str, height: int = 512, width: int = 640, seed: int = 0) -> np.ndarray:
    """Draw a scene.

    Args:
        name: one of ``SCENES``.
        height, width: size in pixels, at least 16 each.
        seed: another seed is another scene of that kind; the same one is the same picture.

    Returns:
        float32 ``[height, width]`` in [0, 1].

    Raises:
        ValueError: an unknown name or too small a size.
    """
    if name not in SCENES:
        raise ValueError(f"unknown scene '{name}'; choose one of {', '.join(SCENES)}")
    if height < 16 or width < 16:
        raise ValueError(f"a scene needs at least 16x16 pixels, got {height}x{width}")
    draw, low, high = _SCENES[name]
    canvas = _Canvas(height, width, np.random.default_rng([zlib.crc32(name.encode()), seed]))
    draw(canvas)
    image = canvas.finish()
    black, white = np.quantile(image[::2, ::2], (0.001, 0.999))
    return np.clip(low + (high - low) * (image - black) / max(white - black, 1e-6), 0, 1).astype(np.float32)


# --- drawing ---------------------------------------------------------------------------------------------------------


class _Canvas:
    """A supersampled picture and the shapes that can be painted on it."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.aspect = width / height
        self.unit = height * _SUPERSAMPLING  # samples in one unit of length
        self.y = ((np.arange(height * _SUPERSAMPLING, dtype=np.float32) + 0.5) / self.unit)[:, None]
        self.x = ((np.arange(width * _SUPERSAMPLING, dtype=np.float32) + 0.5) / self.unit)[None, :]
        self.image = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.float32)
        # Textures come from a generator of their own, for the layout not to depend on the size of the picture.
        self._texture_rng = np.random.default_rng(rng.integers(2**32))
        self.coarse = self.noise(2.6)
        self.fine = self.noise(1.3)

    def noise(self, roughness: float, stretch: float = 1.0, angle: float = 0.0) -> np.ndarray:
        """Fractal noise of mean 0 and deviation 1 whose amplitude falls with frequency to the power -``roughness`` / 2.

        ``stretch`` above 1 draws it out along ``angle`` (radians).
        """
        height, width = self.y.size // _SUPERSAMPLING, self.x.size // _SUPERSAMPLING
        fy = np.fft.fftfreq(height)[:, None] * height
        fx = np.fft.rfftfreq(width)[None, :] * width * height / width
        along, across = fx * math.cos(angle) + fy * math.sin(angle), fy * math.cos(angle) - fx * math.sin(angle)
        radius = np.sqrt((along * stretch) ** 2 + across**2 + 1.0)
        spectrum = np.fft.rfft2(self._texture_rng.standard_normal((height, width))) * radius ** (-roughness / 2)
        spectrum[0, 0] = 0
        texture = np.fft.irfft2(spectrum, (height, width))
        texture = (texture / texture.std()).astype(np.float32)
        return texture.repeat(_SUPERSAMPLING, 0).repeat(_SUPERSAMPLING, 1)

    def finish(self) -> np.ndarray:
        """Through the lens and onto the sensor: a faint veil of stray light, the lens blur, the area of each pixel."""
        height, width = self.y.size, self.x.size
        pixels = gaussian_filter(self.image, OPTICS_SIGMA * _SUPERSAMPLING, truncate=3.0)
        pixels = pixels.reshape(height // _SUPERSAMPLING, _SUPERSAMPLING, width // _SUPERSAMPLING, _SUPERSAMPLING)
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


def _mix(a, b, t):
    return a + (b - a) * t


def _ramp(values, start, stop):
    """0 below ``start``, 1 above ``stop``, smooth between."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def _rounded(temperature: float, thickness: float, drop: float = 0.18) -> Value:
    """The look of a round warm body: its rim, seen at a slant, appears cooler."""
    return lambda x, y, d: temperature * (1 - drop * np.exp(d / (0.35 * thickness)))


# --- things ----------------------------------------------------------------------------------------------------------


def _person(canvas: _Canvas, x: float, feet: float, height: float, warmth: float = 1.0) -> None:
    """A walking pedestrian: bare skin is warmest, clothes are cooler and uneven, shoes cool."""
    rng = canvas.rng
    stride, side = rng.uniform(0.08, 0.34), rng.choice([-1.0, 1.0])
    coat, trousers = rng.uniform(0.5, 0.72) * warmth, rng.uniform(0.55, 0.75) * warmth
    skin = 0.95 * warmth
    canvas.glow(x, feet, 0.16 * height, 0.02 * height, 0.05)

    def at(dx: float, up: float) -> tuple[float, float]:
        return x + dx * side * height, feet - up * height

    def limb(points, radii, temperature):
        for (a, b), (ra, rb) in zip(zip(points, points[1:], strict=False), radii, strict=True):
            canvas.capsule(*at(*a), *at(*b), ra * height, _rounded(temperature, ra * height), rb * height)

    def leg(swing: float, temperature: float) -> None:
        knee, foot = (0.55 * swing + 0.03, 0.28), (swing, 0.03 + 0.16 * max(0.0, -swing))
        limb([(0, 0.5), knee, foot], [(0.068, 0.05), (0.05, 0.034)], temperature)
        limb([foot, (foot[0] + 0.07, foot[1] - 0.012)], [(0.026, 0.02)], temperature * 0.72)

    def arm(swing: float, temperature: float) -> None:
        elbow, hand = (swing * 0.55 - 0.02, 0.62), (swing + 0.05, 0.48)
        limb([(0, 0.79), elbow, hand], [(0.042, 0.034), (0.034, 0.026)], temperature)
        canvas.ellipse(*at(*hand), 0.026 * height, 0.03 * height, skin * 0.9)

    leg(-stride * 0.8, trousers * 0.9)
    arm(stride * 0.8, coat * 0.85)

    def cloth(cx, cy, d):
        return _rounded(coat, 0.1 * height)(cx, cy, d) + 0.05 * canvas.texture(canvas.fine, cx, cy)

    canvas.capsule(*at(0.0, 0.53), *at(0.015, 0.77), 0.085 * height, cloth, 0.098 * height)
    leg(stride * 0.8, trousers)
    arm(-stride * 0.8, coat * 0.95)
    canvas.capsule(*at(0.015, 0.83), *at(0.02, 0.9), 0.04 * height, skin * 0.93)
    canvas.ellipse(*at(0.025, 0.935), 0.055 * height, 0.068 * height, _rounded(skin, 0.06 * height, 0.12))
    if rng.random() < 0.7:  # hair or a cap hides the warm skin
        canvas.ellipse(*at(0.012, 0.962), 0.056 * height, 0.045 * height, skin * rng.uniform(0.6, 0.8))


def _car(canvas: _Canvas, x: float, ground: float, width: float, approaching: bool) -> None:
    """A car from the front or the rear. Glass and sheet metal mirror the cold sky; engine, tyres, exhaust are hot."""
    rng = canvas.rng
    half = width / 2
    body = rng.uniform(0.27, 0.36)

    def at(u: float, v: float) -> tuple[float, float]:
        return x + u * half, ground - v * half

    canvas.glow(*at(0, 0.05), 0.75 * half, 0.11 * half, 0.26)
    canvas.box(*at(0, 0.18), 0.8 * half, 0.12 * half, 0.5)  # the warm underside
    for side in (-1, 1):
        canvas.box(*at(0.74 * side, 0.2), 0.15 * half, 0.24 * half, 0.62, corner=0.06 * half)
        canvas.box(*at(0.66 * side, 0.2), 0.035 * half, 0.2 * half, 0.86, corner=0.02 * half)
        canvas.glow(*at(0.74 * side, -0.02), 0.18 * half, 0.05 * half, 0.22)

    def sheet(cx, cy, d):  # upward faces see the sky, lower ones the road
        up = (ground - cy) / half
        return body + 0.10 * _ramp(-up, -0.9, -0.25) + 0.08 * np.exp(d / (0.05 * half)) + 0 * cx

    canvas.polygon([at(-0.66, 1.32), at(0.66, 1.32), at(0.88, 0.82), at(-0.88, 0.82)], sheet)
    canvas.box(*at(0, 0.58), 0.96 * half, 0.34 * half, sheet, corner=0.14 * half)
    glass = 0.16 if approaching else 0.24
    canvas.polygon(
        [at(-0.6, 1.25), at(0.6, 1.25), at(0.77, 0.88), at(-0.77, 0.88)],
        lambda cx, cy, d: glass + 0.10 * _ramp(cy, ground - 1.25 * half, ground - 0.85 * half) + 0 * cx,
    )
    canvas.capsule(*at(-0.62, 1.31), *at(0.62, 1.31), 0.035 * half, body + 0.06)
    for side in (-1, 1):
        canvas.ellipse(*at(1.0 * side, 0.93), 0.1 * half, 0.06 * half, body + 0.12)
    if approaching:
        canvas.glow(*at(0, 0.8), 0.42 * half, 0.1 * half, 0.28)  # the bonnet over the engine
        canvas.box(*at(0, 0.56), 0.46 * half, 0.11 * half, 0.8, corner=0.05 * half)
        for line in range(4):
            canvas.capsule(*at(-0.43, 0.49 + 0.05 * line), *at(0.43, 0.49 + 0.05 * line), 0.009 * half, 0.58)
        canvas.box(*at(0, 0.34), 0.62 * half, 0.05 * half, 0.72, corner=0.03 * half)
        canvas.box(*at(0, 0.4), 0.2 * half, 0.045 * half, 0.4)
        for side in (-1, 1):
            canvas.ellipse(*at(0.7 * side, 0.62), 0.16 * half, 0.085 * half, 0.55, angle=-0.25 * side)
            canvas.ellipse(*at(0.7 * side, 0.62), 0.06 * half, 0.05 * half, 0.82)
    else:
        canvas.box(*at(0, 0.42), 0.9 * half, 0.05 * half, body + 0.12, corner=0.03 * half)
        canvas.box(*at(0, 0.6), 0.2 * half, 0.05 * half, body - 0.04)
        for side in (-1, 1):
            canvas.box(*at(0.78 * side, 0.68), 0.13 * half, 0.08 * half, body + 0.16, corner=0.03 * half)
        canvas.glow(*at(0.35, 0.2), 0.22 * half, 0.07 * half, 0.3)
        canvas.ellipse(*at(0.5, 0.2), 0.055 * half, 0.05 * half, 1.0)


def _tree(canvas: _Canvas, x: float, base: float, height: float, leaf: float, trunk: float) -> None:
    """A tree in leaf: air temperature, uneven, with gaps in the crown."""
    rng = canvas.rng
    canvas.capsule(
        x, base, x + rng.uniform(-0.02, 0.02) * height, base - 0.5 * height, 0.026 * height, trunk, 0.012 * height
    )

    def foliage(cx, cy, d):
        shade = leaf + 0.035 * canvas.texture(canvas.fine, cx, cy) + 0.02 * canvas.texture(canvas.coarse, cx, cy)
        return shade - 0.05 * _ramp(cy, base - 0.55 * height, base - 0.25 * height)

    for _ in range(9):
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.2) * height
        radius = rng.uniform(0.12, 0.2) * height
        cx, cy = x + 1.15 * reach * math.cos(angle), base - 0.66 * height + 1.1 * reach * math.sin(angle)
        canvas.ellipse(cx, cy, radius, 0.85 * radius, foliage, wobble=0.22)


def _bare_tree(canvas: _Canvas, x: float, y: float, length: float, value: float, angle=-math.pi / 2, depth=6) -> None:
    """A leafless tree, branch by branch."""
    rng = canvas.rng
    end = (x + length * math.cos(angle), y + length * math.sin(angle))
    radius = length * 0.075
    canvas.capsule(x, y, *end, radius, value, 0.7 * radius, opacity=min(1.0, 0.45 + 0.12 * depth))
    if depth == 0:
        return
    for turn in (-1, 1):
        bend = angle + turn * rng.uniform(0.2, 0.55) - 0.08 * math.cos(angle)
        _bare_tree(canvas, *end, length * rng.uniform(0.62, 0.84), value, bend, depth - 1)


def _sky(canvas: _Canvas, horizon: float, zenith: float, low: float, clouds: float) -> None:
    """Cold overhead, warmer towards the horizon where one looks through more air; clouds are warmer than clear sky."""
    t = np.clip(canvas.y / horizon, 0, 1)
    cover = _ramp(canvas.noise(3.4, 2.2) + 0.3 * canvas.coarse, -0.3, 2.2)
    canvas.image[:] = _mix(zenith, low, t**2.2) + clouds * cover * (1 - 0.5 * t)


# --- scenes ----------------------------------------------------------------------------------------------------------


def _street(canvas: _Canvas) -> None:
    """A street in the evening, seen from a car: ground and walls are planes, met by the ray of each sample."""
    rng, x, y = canvas.rng, canvas.x, canvas.y
    horizon, focal, eye = rng.uniform(0.43, 0.47), 1.15, 2.0  # eye height and all distances here in metres
    centre = canvas.aspect / 2 + rng.uniform(-0.06, 0.06)
    haze = 0.2
    _sky(canvas, horizon, 0.02, 0.13, 0.05)

    def project(across: float, depth: float) -> tuple[float, float, float]:
        """x and y of a point on the ground, and the length of a metre there."""
        return centre + across * focal / depth, horizon + eye * focal / depth, focal / depth

    # far blocks against the sky
    left = 0.0
    while left < canvas.aspect:
        wide, tall, warm = rng.uniform(0.04, 0.11), rng.uniform(0.03, 0.14), rng.uniform(0.2, 0.27)
        canvas.box(left + wide / 2, horizon - tall / 2 + 0.02, wide / 2, tall / 2 + 0.02, warm)
        for floor in np.arange(horizon - tall + 0.012, horizon, 0.014):
            canvas.capsule(left + 0.006, floor, left + wide - 0.006, floor, 0.0022, warm - 0.035)
        left += wide * rng.uniform(0.7, 1.3)
    canvas.paint(
        (0, horizon - 0.12, canvas.aspect, horizon + 0.02),
        lambda cx, cy: horizon - 0.025 - 0.014 * canvas.texture(canvas.coarse, cx, cy) - cy + 0 * cx,
        lambda cx, cy, d: 0.22 + 0.02 * canvas.texture(canvas.fine, cx, cy),
    )

    # the ground
    below = canvas.span(horizon + 0.004, 1, y.size)
    gy = y[below]
    depth = eye * focal / (gy - horizon)
    across = (x - centre) * depth / focal
    fade = np.exp(-depth / 45)
    road, kerb = 5.2, 0.12 + 0.02 * depth
    walk = _ramp(np.abs(across), road, road + kerb)
    ground = _mix(0.40, 0.34, walk) + 0.03 * np.exp(-(((np.abs(across) - road) / 0.15) ** 2))
    for lane in (-2.6, 2.6):  # tyres keep two strips of each lane warm
        for wheel in (-0.75, 0.75):
            ground = ground + 0.035 * np.exp(-(((across - lane - wheel) / 0.32) ** 2))
    stripes = rng.uniform(10, 15)  # a crossing
    crossing = (np.abs(depth - stripes) < 1.5) & (across % 1.0 < 0.5) & (np.abs(across) < 4.8)
    ground = ground - 0.05 * crossing
    dashes = (depth % 9 < 4.5) & (np.abs(depth - stripes) > 2.5) & (np.abs(across) < 0.08)
    ground = ground - 0.07 * dashes - 0.06 * (np.abs(np.abs(across) - 4.9) < 0.06)
    slabs = (np.abs((across % 1.2) - 0.6) > 0.57) | (np.abs((depth % 1.2) - 0.6) > 0.55)
    ground = ground - 0.03 * walk * slabs * np.exp(-depth / 12)
    ground = ground + (0.012 * canvas.fine[below] + 0.014 * canvas.noise(2.2, 6.0)[below]) * (0.4 + 0.6 * fade)
    canvas.image[below] = _mix(haze, ground, np.exp(-depth / 130))

    # the rows of houses
    for side in (-1, 1):
        wall = rng.uniform(9, 12)
        columns = canvas.span(0, centre - 0.03, x.size) if side < 0 else canvas.span(centre + 0.03, 9, x.size)
        if columns.start >= columns.stop:
            continue
        depth = wall * focal / (side * (x[:, columns] - centre))
        up = (horizon - y) * depth / focal + eye
        ends = np.cumsum(rng.uniform(9, 20, 14)) + 8
        house = np.searchsorted(ends, depth[0]).clip(0, 12)
        gables, walls = rng.uniform(8, 22, 13), rng.uniform(0.25, 0.42, 13)
        tall, warm = gables[house], walls[house]
        storey, bay = rng.uniform(2.9, 3.6, 13)[house], rng.uniform(2.2, 3.6, 13)[house]
        column, level = np.floor(depth / bay).astype(int), np.floor(up / storey).astype(int)
        u, v = depth / bay - column, up / storey - level
        panes = rng.choice([-0.12, -0.08, -0.1, -0.06, 0.1, 0.22], (40, 12), p=[0.25, 0.25, 0.2, 0.15, 0.1, 0.05])
        pane = panes[column % 40, level.clip(0, 11)]
        inside = (np.abs(u - 0.5) < 0.27) & (np.abs(v - 0.55) < 0.27)
        frame = (np.abs(u - 0.5) < 0.32) & (np.abs(v - 0.54) < 0.31) & ~inside
        facade = warm + 0.05 * (1 - up / tall) + 0.022 * canvas.coarse[:, columns] + 0.008 * canvas.fine[:, columns]
        facade = facade + np.exp(-depth / 70) * (
            inside * (pane + 0.05 * (v - 0.5)) + 0.035 * frame + 0.022 * (v < 0.06) + 0.05 * (level == 0) * inside
        )
        facade = facade + 0.04 * (tall - up < 0.5)
        seen = (up >= 0) & (up < tall) & (depth < ends[-2])
        for index in range(12, 0, -1):  # gable walls that look over a lower neighbour
            near = float(ends[index - 1])
            inner, top = centre + side * wall * focal / near, horizon - (gables[index] - eye) * focal / near
            grey = _mix(haze, walls[index] - 0.03, math.exp(-near / 110))
            canvas.box(
                inner + side * 4.5 * focal / near, (top + horizon) / 2, 4.5 * focal / near, (horizon - top) / 2, grey
            )
        facade = _mix(haze, facade, np.exp(-depth / 110))
        canvas.image[:, columns] = np.where(seen, facade, canvas.image[:, columns])

    # things along the street, far ones first
    things = []
    for side in (-1, 1):
        for depth in np.arange(rng.uniform(14, 20), 70, rng.uniform(10, 15)):
            kind = rng.choice(["tree", "bare", "lamp"], p=[0.5, 0.2, 0.3])
            things.append((depth, side * rng.uniform(6.8, 7.6), kind))
        for depth in rng.uniform(8, 30, 3):
            things.append((depth, side * rng.uniform(5.9, 8.2), "person"))
    for depth in (rng.uniform(9, 13), rng.uniform(20, 28), rng.uniform(36, 60)):
        things.append((depth, -2.6 + rng.uniform(-0.3, 0.3), "oncoming"))
    for depth in (rng.uniform(13, 19), rng.uniform(30, 45)):
        things.append((depth, 2.6 + rng.uniform(-0.3, 0.3), "ahead"))
    things.append((stripes, rng.uniform(-0.8, 0.9), "person"))
    things.append((rng.uniform(6.2, 7.5), rng.choice([-1, 1]) * rng.uniform(1.6, 2.6), "person"))
    hot_cover = project(rng.uniform(-1.5, 1.5), rng.uniform(5, 7))  # a manhole over a warm sewer
    canvas.ellipse(hot_cover[0], hot_cover[1], 0.38 * hot_cover[2], 0.11 * hot_cover[2], 0.56)
    canvas.glow(hot_cover[0], hot_cover[1], 0.4 * hot_cover[2], 0.12 * hot_cover[2], 0.06)
    for depth, across, kind in sorted(things, reverse=True):
        px, py, metre = project(across, depth)
        air = math.exp(-depth / 130)
        if kind == "tree":
            _tree(canvas, px, py, rng.uniform(6, 8.5) * metre, _mix(haze, 0.27, air), 0.33)
        elif kind == "bare":
            _bare_tree(canvas, px, py, 2.0 * metre, _mix(haze, 0.31, air))
        elif kind == "lamp":
            arm = px - math.copysign(1.6 * metre, across)
            canvas.capsule(px, py, px, py - 6 * metre, 0.09 * metre, 0.3, 0.05 * metre)
            canvas.capsule(px, py - 6 * metre, arm, py - 6.3 * metre, 0.04 * metre, 0.28)
            canvas.box(arm, py - 6.3 * metre, 0.3 * metre, 0.08 * metre, 0.85, corner=0.05 * metre)
            canvas.glow(arm, py - 6.3 * metre, 0.6 * metre, 0.4 * metre, 0.1)
        elif kind == "person":
            _person(canvas, px, py, rng.uniform(1.6, 1.85) * metre, _mix(0.8, 1.0, air))
        else:
            _car(canvas, px, py, rng.uniform(1.75, 1.95) * metre, kind == "oncoming")


def _field(canvas: _Canvas) -> None:
    """Farmland straight down from a drone, an hour before sunset: shadows are cold, bare soil and roofs warm."""
    rng, x, y = canvas.rng, canvas.x, canvas.y
    turn = rng.uniform(-0.5, 0.5)
    cos, sin = math.cos(turn), math.sin(turn)
    u, v = (x - canvas.aspect / 2) * cos + (y - 0.5) * sin, (y - 0.5) * cos - (x - canvas.aspect / 2) * sin
    wave = 0.006 * canvas.noise(4.5)
    u, v = u + wave, v + wave
    sun = rng.uniform(0.6, 1.1)
    shadow = (math.cos(sun), math.sin(sun))

    # plots, each with a temperature, rows of its crop and the tracks of the machines
    u_cuts = np.sort(rng.uniform(-0.75, 0.75, 3))
    v_cuts = np.sort(rng.uniform(-0.45, 0.45, 2))
    plot = np.searchsorted(u_cuts, u) * 3 + np.searchsorted(v_cuts, v)
    warm = rng.permutation(np.linspace(0.3, 0.68, 12))[plot]
    rows = rng.uniform(0.009, 0.016, 12)[plot]
    depth = rng.choice([0.0, 0.012, 0.03, 0.045], 12)[plot]
    lengthwise = rng.random(12)[plot] < 0.5
    position = np.where(lengthwise, u, v)
    image = warm + depth * np.sin(2 * np.pi * position / rows) + 0.035 * canvas.coarse
    image += 0.028 * canvas.noise(2.0, 5.0, turn) * (0.5 + 10 * depth) + 0.012 * canvas.fine
    tracks = np.abs(np.abs(position % 0.11 - 0.055) - 0.007)
    image += 0.06 * np.exp(-((tracks / 0.0016) ** 2)) * (depth > 0)
    for cuts, along in ((u_cuts, u), (v_cuts, v)):
        for cut in cuts:  # balks between the plots
            image += (0.36 - image) * np.exp(-(((along - cut) / 0.006) ** 2)) * (0.8 + 0.1 * canvas.fine)
    canvas.image[:] = image

    # a lane with two wheel ruts
    bend, place = rng.uniform(0.05, 0.12), rng.uniform(-0.15, 0.15)
    lane = v - place - bend * np.sin(3.2 * u + rng.uniform(0, 6))
    canvas.image += (0.66 - canvas.image) * (1 - _ramp(np.abs(lane), 0.014, 0.02)) * (0.8 + 0.06 * canvas.fine)
    canvas.image += 0.1 * np.exp(-(((np.abs(lane) - 0.007) / 0.0025) ** 2))

    # a barn: the slope towards the sun is hotter, sheets overlap in lines
    bx, by = rng.uniform(0.25, 0.4) * canvas.aspect, rng.uniform(0.2, 0.34)
    long, half = rng.uniform(0.11, 0.15), rng.uniform(0.045, 0.06)

    def at(a: float, b: float) -> tuple[float, float]:
        return bx + a * cos - b * sin, by + a * sin + b * cos

    dx, dy = 0.05 * shadow[0], 0.05 * shadow[1]
    corners = [at(-long, -half), at(long, -half), at(long, half), at(-long, half)]
    canvas.polygon([(px + dx, py + dy) for px, py in corners], lambda cx, cy, d: 0.2 + 0 * d, 0.75)
    for slope, temperature in ((-1, 0.9), (1, 0.74)):
        edge = [at(-long, 0), at(long, 0), at(long, half * slope), at(-long, half * slope)]

        def sheets(cx, cy, d, t=temperature):
            a = (cx - bx) * cos + (cy - by) * sin
            ridge = np.abs((cy - by) * cos - (cx - bx) * sin) / half
            seams = 0.05 * (np.abs(a % 0.022 - 0.011) > 0.0098)
            return t - 0.1 * ridge - seams + 0.02 * canvas.texture(canvas.coarse, cx, cy)

        canvas.polygon(edge if slope > 0 else edge[::-1], sheets)
    canvas.capsule(*at(-long, 0), *at(long, 0), 0.0025, 0.98)
    for a in rng.uniform(-0.8, 0.8, 3):
        canvas.box(*at(a * long, -0.5 * half), 0.008, 0.012, 0.5, angle=turn)

    # a pond, smooth and even
    px, py = rng.uniform(0.62, 0.8) * canvas.aspect, rng.uniform(0.68, 0.82)
    canvas.ellipse(px, py, 0.135, 0.085, 0.5, angle=turn, wobble=0.05)
    canvas.ellipse(px, py, 0.125, 0.075, lambda cx, cy, d: 0.22 + 0.6 * (d + 0.075), angle=turn, wobble=0.05)

    # crowns with their shadows: a hedge along a balk, a grove, single trees
    crowns = [(s, u_cuts[0] + rng.normal(0, 0.006), rng.uniform(0.014, 0.026)) for s in np.arange(-0.6, 0.6, 0.03)]
    spots = [(canvas.aspect / 2 + c * cos - s * sin, 0.5 + c * sin + s * cos, r) for s, c, r in crowns]
    gx, gy = rng.uniform(0.8, 0.95) * canvas.aspect, rng.uniform(0.1, 0.3)
    spots += [(gx + rng.normal(0, 0.06), gy + rng.normal(0, 0.05), rng.uniform(0.02, 0.038)) for _ in range(16)]
    lone = [(rng.uniform(0, canvas.aspect), rng.uniform(0, 1), rng.uniform(0.016, 0.034)) for _ in range(7)]
    spots += lone

    def lane_gap(cx: float, cy: float) -> float:
        row, column = int(cy * canvas.unit), int(cx * canvas.unit)
        return abs(float(lane[min(max(row, 0), y.size - 1), min(max(column, 0), x.size - 1)]))

    spots = [
        (cx, cy, r)
        for cx, cy, r in spots
        if math.hypot(cx - bx, cy - by) > 0.21 and math.hypot(cx - px, cy - py) > 0.15 and lane_gap(cx, cy) > 0.045
    ]
    for cx, cy, r in spots:
        reach = 1.5 * r
        canvas.ellipse(cx + reach * shadow[0], cy + reach * shadow[1], 1.5 * r, 0.95 * r, 0.2, sun, 0.7, wobble=0.1)
    for cx, cy, r in spots:

        def crown(wx, wy, d, cx=cx, cy=cy, r=r):
            light = ((wx - cx) * shadow[0] + (wy - cy) * shadow[1]) / r
            return 0.33 - 0.07 * light + 0.045 * canvas.texture(canvas.fine, wx, wy) + 0.03 * np.exp(d / (0.2 * r))

        canvas.ellipse(cx, cy, r, 0.92 * r, crown, wobble=0.13)

    # a pickup on the lane and a few people with their long shadows
    ux = rng.uniform(-0.25, 0.25) * canvas.aspect
    row = int(np.argmin(np.abs(lane[:, int((ux + canvas.aspect / 2) * canvas.unit)])))
    vx, vy, heading = ux + canvas.aspect / 2, float(y[row, 0]), turn
    canvas.box(vx + 0.014, vy + 0.016, 0.034, 0.016, 0.22, heading, 0.004, 0.8)
    canvas.box(vx, vy, 0.034, 0.0155, 0.42, heading, 0.005)
    fx, fy = math.cos(heading), math.sin(heading)
    canvas.box(vx + 0.022 * fx, vy + 0.022 * fy, 0.0105, 0.013, 0.95, heading, 0.004)
    canvas.box(vx + 0.008 * fx, vy + 0.008 * fy, 0.0035, 0.013, 0.18, heading)
    canvas.box(vx - 0.001 * fx, vy - 0.001 * fy, 0.0075, 0.0125, 0.52, heading, 0.002)
    canvas.box(vx - 0.02 * fx, vy - 0.02 * fy, 0.011, 0.012, 0.36, heading, 0.001)
    for _ in range(6):
        px, py = rng.uniform(0.05, 0.55) * canvas.aspect, rng.uniform(0.42, 0.95)
        canvas.capsule(px, py, px + 0.03 * shadow[0], py + 0.03 * shadow[1], 0.0045, 0.26, 0.003, 0.7)
        swing = rng.uniform(0, math.pi)
        canvas.ellipse(px, py, 0.0095, 0.0055, 0.86, swing)
        canvas.ellipse(px, py, 0.0042, 0.0042, 1.05)


def _substation(canvas: _Canvas) -> None:
    """Three transformer bushings, cooling fins, pipes and a gantry against a clear sky; one joint is far too hot."""
    rng, y = canvas.rng, canvas.y
    ground = rng.uniform(0.83, 0.87)
    _sky(canvas, ground, 0.03, 0.2, 0.07)
    canvas.paint(
        (0, ground - 0.2, canvas.aspect, ground),
        lambda cx, cy: ground - 0.085 - 0.02 * canvas.texture(canvas.coarse, cx, cy) - cy + 0 * cx,
        lambda cx, cy, d: 0.25 + 0.022 * canvas.texture(canvas.fine, cx, cy),
    )
    gravel = canvas.span(ground - 0.02, 1, y.size)
    far = np.clip((y[gravel] - ground + 0.02) / (1.02 - ground), 0, 1)
    canvas.image[gravel] = 0.33 + 0.06 * far + 0.03 * canvas.fine[gravel] * (0.4 + far) + 0.02 * canvas.coarse[gravel]

    # gantry: two lattice masts and a beam
    def lattice(x0, y0, x1, y1, wide, steps, value):
        nx, ny = (y1 - y0), -(x1 - x0)
        norm = math.hypot(nx, ny)
        nx, ny = nx / norm * wide, ny / norm * wide
        for s in (-1, 1):
            canvas.capsule(x0 + s * nx, y0 + s * ny, x1 + s * nx, y1 + s * ny, 0.0035, value)
        for step in range(steps):
            a, b, s = step / steps, (step + 1) / steps, 1 if step % 2 else -1
            start = (_mix(x0, x1, a) + s * nx, _mix(y0, y1, a) + s * ny)
            stop = (_mix(x0, x1, b) - s * nx, _mix(y0, y1, b) - s * ny)
            canvas.capsule(*start, *stop, 0.0022, value - 0.02)
            canvas.capsule(stop[0], stop[1], stop[0] + 2 * s * nx, stop[1] + 2 * s * ny, 0.0018, value - 0.02)

    beam = rng.uniform(0.09, 0.13)
    masts = (0.045 * canvas.aspect, 0.955 * canvas.aspect)
    for mast in masts:
        lattice(mast, ground + 0.01, mast, beam - 0.05, 0.018, 22, 0.34)
    lattice(masts[0], beam, masts[1], beam, 0.014, 34, 0.33)

    # the transformer
    cx, half, top = rng.uniform(0.36, 0.42) * canvas.aspect, rng.uniform(0.17, 0.2), rng.uniform(0.5, 0.54)
    canvas.glow(cx, ground + 0.01, 0.3, 0.03, 0.1)
    canvas.box(cx, ground + 0.005, half + 0.05, 0.022, 0.42)

    def tank(tx, ty, d):  # oil is hottest at the top
        return (
            _mix(0.8, 0.54, _ramp(ty, top, ground))
            + 0.015 * canvas.texture(canvas.coarse, tx, ty)
            + 0.05 * (np.abs((tx - cx + half) % 0.07 - 0.035) > 0.032)
        )

    canvas.box(cx, (top + ground) / 2, half, (ground - top) / 2, tank, corner=0.006)
    canvas.box(cx, top, half + 0.012, 0.009, 0.74, corner=0.003)
    for side in (-1, 1):
        blocked = rng.integers(0, 8) if side > 0 else -1
        for fin in range(8):
            fx = cx + side * (half + 0.018 + 0.021 * fin)
            warm = 0.86 - 0.008 * fin if fin != blocked else 0.5  # one radiator without oil flow stays cold

            def panel(px, py, d, warm=warm):
                return warm - 0.3 * _ramp(py, top + 0.03, ground) + 0.1 * np.exp(d / 0.003) + 0 * px

            canvas.box(fx, (top + ground) / 2 + 0.012, 0.0082, (ground - top) / 2 - 0.03, panel, corner=0.006)
            canvas.box(fx, (top + ground) / 2 + 0.012, 0.0012, (ground - top) / 2 - 0.035, warm - 0.26)
        for pipe in (top + 0.03, ground - 0.035):
            canvas.capsule(cx + side * half, pipe, cx + side * (half + 0.19), pipe, 0.0075, 0.8 if pipe < 0.6 else 0.56)

    # oil vessel on its frame
    vy = top - 0.1
    vx = cx - 0.04
    for leg in (-0.1, 0.1):
        canvas.capsule(vx + leg, vy, vx + leg, top, 0.006, 0.45)
    level = vy + rng.uniform(-0.01, 0.02)
    canvas.box(
        vx,
        vy,
        0.16,
        0.042,
        lambda px, py, d: _mix(0.4, 0.62, _ramp(py, level - 0.003, level + 0.003)) + 0.09 * np.exp(d / 0.01) + 0 * px,
        corner=0.03,
    )
    canvas.capsule(vx + 0.13, vy + 0.03, vx + 0.15, top, 0.006, 0.66)

    # bushings: a stack of porcelain sheds, a terminal, a wire up to the beam
    hot = int(rng.integers(0, 3))
    for phase in range(3):
        bx = cx + (phase - 1) * 0.125 + 0.045
        tip = top - 0.27
        canvas.capsule(bx, top, bx, top - 0.045, 0.02, 0.72, 0.016)
        canvas.capsule(bx, top - 0.04, bx, tip, 0.0125, 0.46, 0.008)
        for shed in np.linspace(0.05, 0.25, 15):
            wide = _mix(0.03, 0.019, (shed - 0.05) / 0.2)
            glaze = 0.5 - 0.5 * (shed - 0.05)

            def disc(px, py, d, glaze=glaze, bx=bx, wide=wide):
                return glaze + 0.05 * ((px - bx) / wide) + 0.1 * np.exp(d / 0.002)

            canvas.ellipse(bx, top - shed, wide, 0.0056, disc)
        canvas.capsule(bx, tip + 0.012, bx, tip - 0.012, 0.0075, 0.5)
        hang = masts[0] + (masts[1] - masts[0]) * (0.25 + 0.2 * phase)
        for disc_index in range(7):  # string insulators under the beam
            canvas.ellipse(hang, beam + 0.022 + 0.0095 * disc_index, 0.0125, 0.0042, 0.3 + 0.05 * (disc_index % 2))
        end = (hang, beam + 0.092)
        points = [
            (_mix(bx, end[0], t), _mix(tip - 0.01, end[1], t) + 0.035 * math.sin(math.pi * t))
            for t in np.linspace(0, 1, 15)
        ]
        for index, (a, b) in enumerate(zip(points, points[1:], strict=False)):
            wire = 0.46 + (0.5 * math.exp(-index / 2.2) if phase == hot else 0.0)
            canvas.capsule(*a, *b, 0.0028, wire)
        canvas.box(bx, tip - 0.008, 0.012, 0.0075, 1.15 if phase == hot else 0.52, corner=0.002)
        if phase == hot:
            canvas.glow(bx, tip - 0.008, 0.03, 0.03, 0.2)
            canvas.glow(bx, tip + 0.035, 0.012, 0.03, 0.2)

    # control cabinet, pipes, a worker
    kx = rng.uniform(0.74, 0.8) * canvas.aspect
    canvas.box(
        kx,
        ground - 0.085,
        0.06,
        0.1,
        lambda px, py, d: 0.36 + 0.14 * _ramp(-py, -ground + 0.03, -ground + 0.17) + 0 * px,
    )
    canvas.box(kx, ground - 0.08, 0.0015, 0.088, 0.27)
    canvas.box(kx + 0.03, ground - 0.135, 0.018, 0.014, 0.66)
    canvas.glow(kx - 0.03, ground - 0.13, 0.016, 0.02, 0.16)
    for row, warm in enumerate((0.78, 0.6, 0.38)):
        level = ground + 0.035 + 0.026 * row
        canvas.capsule(
            -0.1,
            level,
            canvas.aspect + 0.1,
            level + 0.02,
            0.009,
            lambda px, py, d, w=warm: w - 0.08 * (d / 0.009 + 0.5),
        )
        for flange in np.arange(0.06 + 0.03 * row, canvas.aspect, 0.27):
            canvas.box(flange, level + 0.02 * flange / canvas.aspect, 0.005, 0.0135, warm - 0.1, corner=0.002)
    _person(canvas, rng.uniform(0.88, 0.92) * canvas.aspect, ground + 0.02, 0.2)
    for post in np.arange(0.02, canvas.aspect, 0.115):  # the fence in front
        canvas.capsule(post, 1.02, post, 0.93, 0.004, 0.27)
    for wire in (0.94, 0.965, 0.99):
        canvas.capsule(0, wire, canvas.aspect, wire, 0.0016, 0.28)


def _night(canvas: _Canvas) -> None:
    """A hillside on a clear night: little contrast but for the animals."""
    rng = canvas.rng
    _sky(canvas, 0.4, 0.0, 0.05, 0.035)
    x = canvas.x[0]
    level, warm = rng.uniform(0.27, 0.33), 0.11
    ridges = []
    for ridge in range(4):
        base = level + 0.13 * ridge**1.15
        slope = rng.uniform(-0.08, 0.08)
        profile = base + slope * (x - canvas.aspect / 2) + 0.002 * ridge * canvas.fine[0]
        for wave in range(1, 5):
            profile = profile + 0.045 / wave**1.3 * np.sin(wave * 2.1 * x + rng.uniform(0, 6.3))
        ridges.append(profile)
        texture = canvas.noise(1.9, 1.0 + 1.2 * ridge)
        forest = 0.012 * (ridge < 2)  # far slopes are wooded: their outline is ragged

        def cover(cx, cy, profile=profile, forest=forest):
            return profile[None, :] + forest * canvas.fine - cy

        def slope_value(cx, cy, d, warm=warm, texture=texture, ridge=ridge):
            near = _ramp(-d, 0.0, 0.28)
            return (
                warm
                + 0.03 * near
                + (0.012 + 0.007 * ridge) * texture
                + 0.008 * canvas.coarse
                + 0.015 * np.exp(d / 0.01)
            )

        canvas.paint((0, 0, canvas.aspect, 1), cover, slope_value)
        trees = rng.integers(2, 5) if ridge else 0
        for _ in range(trees):
            tx = rng.uniform(0.02, 0.98) * canvas.aspect
            ty = float(profile[int(tx * canvas.unit)]) + 0.02
            size = (0.05 + 0.045 * ridge) * rng.uniform(0.8, 1.3)
            if rng.random() < 0.45:
                _bare_tree(canvas, tx, ty, 0.3 * size, warm + 0.045)
            else:
                _tree(canvas, tx, ty, size, warm + 0.02, warm + 0.06)
        warm += 0.035

    # stones that still hold the warmth of the day
    for _ in range(26):
        sx = rng.uniform(0, canvas.aspect)
        sy = rng.uniform(float(ridges[2][int(sx * canvas.unit)]) + 0.03, 1.0)
        size = rng.uniform(0.003, 0.011) * (0.4 + sy)
        canvas.ellipse(sx, sy, size, 0.6 * size, _rounded(rng.uniform(0.27, 0.36), size), wobble=0.12)
    places = [
        (rng.uniform(0.1, 0.9) * canvas.aspect, r, s)
        for r, s in ((1, 0.03), (2, 0.055), (2, 0.05), (3, 0.1), (3, 0.085))
    ]
    for px, ridge, size in places:
        py = float(ridges[ridge][int(px * canvas.unit)]) + rng.uniform(0.04, 0.1)
        _deer(canvas, px, py, size * rng.uniform(0.9, 1.15))


def _deer(canvas: _Canvas, x: float, feet: float, size: float) -> None:
    """A deer from the side, grazing or looking up; ``size`` is the height of its back."""
    rng = canvas.rng
    side = rng.choice([-1.0, 1.0])
    grazing = rng.random() < 0.45
    fur, bare = rng.uniform(0.44, 0.52), 0.72

    def at(a: float, up: float) -> tuple[float, float]:
        return x + a * side * size, feet - up * size

    def part(a, b, ra, rb, temperature, drop=0.12):
        canvas.capsule(*at(*a), *at(*b), ra * size, _rounded(temperature, ra * size, drop), rb * size)

    def hide(cx, cy, d):  # the belly has less fur than the back
        up = (feet - cy) / size
        return fur * (1.12 - 0.3 * _ramp(up, 0.55, 0.98)) + 0.012 * canvas.texture(canvas.fine, cx, cy)

    canvas.glow(x, feet, 0.5 * size, 0.05 * size, 0.02)
    step = rng.uniform(0.02, 0.14)
    for hip, lean, bend in ((-0.42, step, 0.07), (0.36, step, -0.02), (-0.47, -step, 0.06), (0.4, -step, -0.03)):
        part((hip, 0.66), (hip + 0.5 * lean - bend, 0.34), 0.11, 0.045, fur * 0.97)
        part((hip + 0.5 * lean - bend, 0.34), (hip + lean, 0.03), 0.036, 0.022, fur * 0.82)
    canvas.ellipse(*at(0, 0.72), 0.5 * size, 0.2 * size, hide)
    canvas.ellipse(*at(-0.36, 0.75), 0.22 * size, 0.21 * size, hide)
    canvas.ellipse(*at(0.33, 0.75), 0.2 * size, 0.22 * size, hide)
    part((-0.55, 0.84), (-0.63, 0.72), 0.04, 0.028, bare * 0.8)
    neck = (0.78, 0.5) if grazing else (0.62, 1.22)
    part((0.36, 0.82), neck, 0.15, 0.07, fur * 0.98, 0.04)
    nose = (0.92, 0.22) if grazing else (0.86, 1.16)
    part(neck, nose, 0.08, 0.042, bare * 0.92)
    canvas.ellipse(*at(*nose), 0.045 * size, 0.04 * size, bare)
    for ear in (-0.1, 0.03):
        part((neck[0] + ear, neck[1] + 0.05), (neck[0] + ear - 0.07, neck[1] + 0.2), 0.036, 0.018, bare * 0.95)


# how to draw each, and where its darkest and brightest parts lie in the finished picture
_SCENES: dict[str, tuple[Callable[[_Canvas], None], float, float]] = {
    "street": (_street, 0.02, 0.98),
    "field": (_field, 0.03, 0.97),
    "substation": (_substation, 0.02, 0.98),
    "night": (_night, 0.02, 0.62),
}
SCENES = tuple(_SCENES)
"""Names that ``render`` knows."""
