"""A forest's edge at night."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Inside, Window, ramp, warm_body
from .things import Point, bare_tree, sky, tree


def night(canvas: Canvas) -> None:
    """A hillside on a clear night: little contrast apart from the animals."""
    rng = canvas.rng
    sky(canvas, 0.4, 0.0, 0.05, 0.035)
    level = rng.uniform(0.27, 0.33)
    ridges, warm = [], 0.11
    for number in range(4):
        ridges.append(_ridge(canvas, number, level, warm))
        warm += 0.035
    _stones(canvas, ridges[2])
    places = [
        (rng.uniform(0.1, 0.9) * canvas.aspect, number, size)
        for number, size in ((1, 0.03), (2, 0.055), (2, 0.05), (3, 0.1), (3, 0.085))
    ]
    for px, number, size in places:
        py = float(ridges[number][int(px * canvas.unit)]) + rng.uniform(0.04, 0.1)
        _deer(canvas, px, py, size * rng.uniform(0.9, 1.15))


def _ridge(canvas: Canvas, number: int, level: float, warm: float) -> np.ndarray:
    """One of the slopes behind each other, 0 the farthest; returns the ``y`` of its outline, ``[W]``."""
    rng, x = canvas.rng, canvas.x[0]
    slope = rng.uniform(-0.08, 0.08)
    base = level + 0.13 * number**1.15
    profile = base + slope * (x - canvas.aspect / 2) + 0.002 * number * canvas.fine[0]
    for wave in range(1, 5):
        profile = profile + 0.045 / wave**1.3 * np.sin(wave * 2.1 * x + rng.uniform(0, 6.3))
    texture = canvas.noise(1.9, 1.0 + 1.2 * number)
    ragged = 0.012 * (number < 2)  # far slopes are wooded: their outline is ragged

    def outline(at: Window) -> np.ndarray:
        return profile[None, at.columns] + ragged * at.crop(canvas.fine) - at.y

    def ground(at: Inside) -> np.ndarray:
        near = ramp(-at.depth, 0.0, 0.28)
        return (
            warm
            + 0.03 * near
            + (0.012 + 0.007 * number) * at.crop(texture)
            + 0.008 * at.crop(canvas.coarse)
            + 0.015 * np.exp(at.depth / 0.01)
        )

    canvas.paint((0, 0, canvas.aspect, 1), outline, ground)
    for _ in range(rng.integers(2, 5) if number else 0):
        tx = rng.uniform(0.02, 0.98) * canvas.aspect
        ty = float(profile[int(tx * canvas.unit)]) + 0.02
        size = (0.05 + 0.045 * number) * rng.uniform(0.8, 1.3)
        if rng.random() < 0.45:
            bare_tree(canvas, tx, ty, 0.3 * size, warm + 0.045)
        else:
            tree(canvas, tx, ty, size, warm + 0.02, warm + 0.06)
    return profile


def _stones(canvas: Canvas, ridge: np.ndarray) -> None:
    """Stones below a ridge that still hold the warmth of the day."""
    rng = canvas.rng
    for _ in range(26):
        sx = rng.uniform(0, canvas.aspect)
        top = float(ridge[int(sx * canvas.unit)]) + 0.03
        sy = rng.uniform(min(top, 1.0), 1.0)  # in a wide image the slope may leave at the bottom
        size = rng.uniform(0.003, 0.011) * (0.4 + sy)
        canvas.ellipse(sx, sy, size, 0.6 * size, warm_body(rng.uniform(0.27, 0.36), size), wobble=0.12)


def _deer(canvas: Canvas, x: float, feet: float, size: float) -> None:
    """A deer from the side, grazing or looking up; ``size`` is the height of its back."""
    rng = canvas.rng
    side = rng.choice([-1.0, 1.0])
    grazing = rng.random() < 0.45
    fur, bare = rng.uniform(0.44, 0.52), 0.72

    def at(a: float, up: float) -> Point:
        return x + a * side * size, feet - up * size

    def part(a: Point, b: Point, ra: float, rb: float, temperature: float, drop: float = 0.12) -> None:
        canvas.capsule(*at(*a), *at(*b), ra * size, warm_body(temperature, ra * size, drop), rb * size)

    def hide(at: Inside) -> np.ndarray:  # the belly has less fur than the back
        up = (feet - at.y) / size
        return fur * (1.12 - 0.3 * ramp(up, 0.55, 0.98)) + 0.012 * at.crop(canvas.fine)

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
