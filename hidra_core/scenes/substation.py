"""A substation."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Canvas, mix, ramp
from .things import person, sky


def substation(canvas: Canvas) -> None:
    """Three transformer bushings, cooling fins, pipes and a gantry against a clear sky; one joint is far too hot."""
    rng, y = canvas.rng, canvas.y
    ground = rng.uniform(0.83, 0.87)
    sky(canvas, ground, 0.03, 0.2, 0.07)
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
            start = (mix(x0, x1, a) + s * nx, mix(y0, y1, a) + s * ny)
            stop = (mix(x0, x1, b) - s * nx, mix(y0, y1, b) - s * ny)
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
            mix(0.8, 0.54, ramp(ty, top, ground))
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
                return warm - 0.3 * ramp(py, top + 0.03, ground) + 0.1 * np.exp(d / 0.003) + 0 * px

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
        lambda px, py, d: mix(0.4, 0.62, ramp(py, level - 0.003, level + 0.003)) + 0.09 * np.exp(d / 0.01) + 0 * px,
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
            wide = mix(0.03, 0.019, (shed - 0.05) / 0.2)
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
            (mix(bx, end[0], t), mix(tip - 0.01, end[1], t) + 0.035 * math.sin(math.pi * t))
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
        lambda px, py, d: 0.36 + 0.14 * ramp(-py, -ground + 0.03, -ground + 0.17) + 0 * px,
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
    person(canvas, rng.uniform(0.88, 0.92) * canvas.aspect, ground + 0.02, 0.2)
    for post in np.arange(0.02, canvas.aspect, 0.115):  # the fence in front
        canvas.capsule(post, 1.02, post, 0.93, 0.004, 0.27)
    for wire in (0.94, 0.965, 0.99):
        canvas.capsule(0, wire, canvas.aspect, wire, 0.0016, 0.28)
