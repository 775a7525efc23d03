"""Things that several scenes show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .canvas import Canvas, Inside, mix, ramp, warm_body

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, float]


def person(canvas: Canvas, x: float, feet: float, height: float, warmth: float = 1.0) -> None:
    """A walking pedestrian: bare skin is warmest, clothes are cooler and uneven, shoes cool."""
    rng = canvas.rng
    stride, side = rng.uniform(0.08, 0.34), rng.choice([-1.0, 1.0])
    coat, trousers = rng.uniform(0.5, 0.72) * warmth, rng.uniform(0.55, 0.75) * warmth
    skin = 0.95 * warmth
    canvas.glow(x, feet, 0.16 * height, 0.02 * height, 0.05)

    def at(dx: float, up: float) -> Point:
        return x + dx * side * height, feet - up * height

    def limb(points: Sequence[Point], radii: Sequence[Point], temperature: float) -> None:
        for (a, b), (ra, rb) in zip(zip(points, points[1:], strict=False), radii, strict=True):
            canvas.capsule(*at(*a), *at(*b), ra * height, warm_body(temperature, ra * height), rb * height)

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
    body = warm_body(coat, 0.1 * height)

    def cloth(at: Inside) -> np.ndarray:
        return body(at) + 0.05 * at.crop(canvas.fine)

    canvas.capsule(*at(0.0, 0.53), *at(0.015, 0.77), 0.085 * height, cloth, 0.098 * height)
    leg(stride * 0.8, trousers)
    arm(-stride * 0.8, coat * 0.95)
    canvas.capsule(*at(0.015, 0.83), *at(0.02, 0.9), 0.04 * height, skin * 0.93)
    canvas.ellipse(*at(0.025, 0.935), 0.055 * height, 0.068 * height, warm_body(skin, 0.06 * height, 0.12))
    if rng.random() < 0.7:  # hair or a cap hides the warm skin
        canvas.ellipse(*at(0.012, 0.962), 0.056 * height, 0.045 * height, skin * rng.uniform(0.6, 0.8))


def car(canvas: Canvas, x: float, ground: float, width: float, approaching: bool) -> None:
    """A car from the front or the rear. Glass and sheet metal mirror the cold sky; engine, tyres, exhaust are hot."""
    rng = canvas.rng
    half = width / 2
    body = rng.uniform(0.27, 0.36)

    def at(u: float, v: float) -> Point:
        return x + u * half, ground - v * half

    canvas.glow(*at(0, 0.05), 0.75 * half, 0.11 * half, 0.26)
    canvas.box(*at(0, 0.18), 0.8 * half, 0.12 * half, 0.5)  # the warm underside
    for side in (-1, 1):
        canvas.box(*at(0.74 * side, 0.2), 0.15 * half, 0.24 * half, 0.62, corner=0.06 * half)
        canvas.box(*at(0.66 * side, 0.2), 0.035 * half, 0.2 * half, 0.86, corner=0.02 * half)
        canvas.glow(*at(0.74 * side, -0.02), 0.18 * half, 0.05 * half, 0.22)

    def sheet(at: Inside) -> np.ndarray:  # upward faces see the sky, lower ones the road
        up = (ground - at.y) / half
        return body + 0.10 * ramp(-up, -0.9, -0.25) + 0.08 * np.exp(at.depth / (0.05 * half))

    canvas.polygon([at(-0.66, 1.32), at(0.66, 1.32), at(0.88, 0.82), at(-0.88, 0.82)], sheet)
    canvas.box(*at(0, 0.58), 0.96 * half, 0.34 * half, sheet, corner=0.14 * half)
    glass = 0.16 if approaching else 0.24
    canvas.polygon(
        [at(-0.6, 1.25), at(0.6, 1.25), at(0.77, 0.88), at(-0.77, 0.88)],
        lambda at: glass + 0.10 * ramp(at.y, ground - 1.25 * half, ground - 0.85 * half),
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


def tree(canvas: Canvas, x: float, base: float, height: float, leaf: float, trunk: float) -> None:
    """A tree in leaf: air temperature, uneven, with gaps in the crown."""
    rng = canvas.rng
    canvas.capsule(
        x, base, x + rng.uniform(-0.02, 0.02) * height, base - 0.5 * height, 0.026 * height, trunk, 0.012 * height
    )

    def foliage(at: Inside) -> np.ndarray:
        shade = leaf + 0.035 * at.crop(canvas.fine) + 0.02 * at.crop(canvas.coarse)
        return shade - 0.05 * ramp(at.y, base - 0.55 * height, base - 0.25 * height)

    for _ in range(9):
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.2) * height
        radius = rng.uniform(0.12, 0.2) * height
        cx, cy = x + 1.15 * reach * math.cos(angle), base - 0.66 * height + 1.1 * reach * math.sin(angle)
        canvas.ellipse(cx, cy, radius, 0.85 * radius, foliage, wobble=0.22)


def bare_tree(
    canvas: Canvas, x: float, y: float, length: float, value: float, angle: float = -math.pi / 2, depth: int = 6
) -> None:
    """A leafless tree, branch by branch: ``length`` of the trunk, ``depth`` forks from there to the tips."""
    rng = canvas.rng
    end = (x + length * math.cos(angle), y + length * math.sin(angle))
    radius = length * 0.075
    canvas.capsule(x, y, *end, radius, value, 0.7 * radius, opacity=min(1.0, 0.45 + 0.12 * depth))
    if depth == 0:
        return
    for turn in (-1, 1):
        bend = angle + turn * rng.uniform(0.2, 0.55) - 0.08 * math.cos(angle)
        bare_tree(canvas, *end, length * rng.uniform(0.62, 0.84), value, bend, depth - 1)


def sky(canvas: Canvas, horizon: float, zenith: float, low: float, clouds: float) -> None:
    """Cold overhead, warmer towards the horizon where one looks through more air; clouds are warmer than clear sky."""
    t = np.clip(canvas.y / horizon, 0, 1)
    cover = ramp(canvas.noise(3.4, 2.2) + 0.3 * canvas.coarse, -0.3, 2.2)
    canvas.image[:] = mix(zenith, low, t**2.2) + clouds * cover * (1 - 0.5 * t)
