"""A forest's edge at night."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, ramp, rounded
from .things import bare_tree, sky, tree


def night(canvas: Canvas) -> None:
    """A hillside on a clear night: little contrast but for the animals."""
    rng = canvas.rng
    sky(canvas, 0.4, 0.0, 0.05, 0.035)
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
            near = ramp(-d, 0.0, 0.28)
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
                bare_tree(canvas, tx, ty, 0.3 * size, warm + 0.045)
            else:
                tree(canvas, tx, ty, size, warm + 0.02, warm + 0.06)
        warm += 0.035

    # stones that still hold the warmth of the day
    for _ in range(26):
        sx = rng.uniform(0, canvas.aspect)
        sy = rng.uniform(float(ridges[2][int(sx * canvas.unit)]) + 0.03, 1.0)
        size = rng.uniform(0.003, 0.011) * (0.4 + sy)
        canvas.ellipse(sx, sy, size, 0.6 * size, rounded(rng.uniform(0.27, 0.36), size), wobble=0.12)
    places = [
        (rng.uniform(0.1, 0.9) * canvas.aspect, r, s)
        for r, s in ((1, 0.03), (2, 0.055), (2, 0.05), (3, 0.1), (3, 0.085))
    ]
    for px, ridge, size in places:
        py = float(ridges[ridge][int(px * canvas.unit)]) + rng.uniform(0.04, 0.1)
        _deer(canvas, px, py, size * rng.uniform(0.9, 1.15))


def _deer(canvas: Canvas, x: float, feet: float, size: float) -> None:
    """A deer from the side, grazing or looking up; ``size`` is the height of its back."""
    rng = canvas.rng
    side = rng.choice([-1.0, 1.0])
    grazing = rng.random() < 0.45
    fur, bare = rng.uniform(0.44, 0.52), 0.72

    def at(a: float, up: float) -> tuple[float, float]:
        return x + a * side * size, feet - up * size

    def part(a, b, ra, rb, temperature, drop=0.12):
        canvas.capsule(*at(*a), *at(*b), ra * size, rounded(temperature, ra * size, drop), rb * size)

    def hide(cx, cy, d):  # the belly has less fur than the back
        up = (feet - cy) / size
        return fur * (1.12 - 0.3 * ramp(up, 0.55, 0.98)) + 0.012 * canvas.texture(canvas.fine, cx, cy)

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
