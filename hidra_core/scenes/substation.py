"""A substation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Inside, Shade, mix, ramp
from .things import person, sky


@dataclass(frozen=True)
class _Gantry:
    """Two masts and the beam between them.

    Attributes:
        beam: its ``y``.
        left: ``x`` of the left mast.
        right: ``x`` of the right mast.
    """

    beam: float
    left: float
    right: float


@dataclass(frozen=True)
class _Transformer:
    """The tank.

    Attributes:
        cx: ``x`` of its middle.
        half: half its width.
        top: ``y`` of its lid.
        ground: ``y`` of its foot.
    """

    cx: float
    half: float
    top: float
    ground: float


def substation(canvas: Canvas) -> None:
    """Three transformer bushings, cooling fins, pipes and a gantry against a clear sky; one joint is far too hot."""
    rng = canvas.rng
    ground = rng.uniform(0.83, 0.87)
    sky(canvas, ground, 0.03, 0.2, 0.07)
    _grounds(canvas, ground)
    gantry = _gantry(canvas, ground)
    cx, half, top = rng.uniform(0.36, 0.42) * canvas.aspect, rng.uniform(0.17, 0.2), rng.uniform(0.5, 0.54)
    transformer = _Transformer(cx, half, top, ground)
    _tank(canvas, transformer)
    for side in (-1, 1):
        _radiators(canvas, transformer, side)
    _oil_vessel(canvas, transformer)
    hot = int(rng.integers(0, 3))
    for phase in range(3):
        _bushing(canvas, transformer, gantry, phase, hot=phase == hot)
    _cabinet(canvas, ground)
    _pipes(canvas, ground)
    person(canvas, rng.uniform(0.88, 0.92) * canvas.aspect, ground + 0.02, 0.2)
    _fence(canvas)


def _grounds(canvas: Canvas, ground: float) -> None:
    """Bushes in the distance, gravel before them."""
    canvas.paint(
        (0, ground - 0.2, canvas.aspect, ground),
        lambda at: ground - 0.085 - 0.02 * at.crop(canvas.coarse) - at.y,
        lambda at: 0.25 + 0.022 * at.crop(canvas.fine),
    )
    gravel = canvas.rows(ground - 0.02, 1)
    far = np.clip((canvas.y[gravel] - ground + 0.02) / (1.02 - ground), 0, 1)
    canvas.image[gravel] = 0.33 + 0.06 * far + 0.03 * canvas.fine[gravel] * (0.4 + far) + 0.02 * canvas.coarse[gravel]


def _gantry(canvas: Canvas, ground: float) -> _Gantry:
    """Two lattice masts and a beam."""
    gantry = _Gantry(canvas.rng.uniform(0.09, 0.13), 0.045 * canvas.aspect, 0.955 * canvas.aspect)
    for mast in (gantry.left, gantry.right):
        _lattice(canvas, (mast, ground + 0.01), (mast, gantry.beam - 0.05), 0.018, 22, 0.34)
    _lattice(canvas, (gantry.left, gantry.beam), (gantry.right, gantry.beam), 0.014, 34, 0.33)
    return gantry


def _lattice(
    canvas: Canvas, start: tuple[float, float], stop: tuple[float, float], wide: float, steps: int, value: float
) -> None:
    """A lattice girder between two points: two rails, ``wide`` to either side, with diagonals and rungs."""
    (x0, y0), (x1, y1) = start, stop
    nx, ny = (y1 - y0), -(x1 - x0)
    norm = math.hypot(nx, ny)
    nx, ny = nx / norm * wide, ny / norm * wide
    for s in (-1, 1):
        canvas.capsule(x0 + s * nx, y0 + s * ny, x1 + s * nx, y1 + s * ny, 0.0035, value)
    for step in range(steps):
        a, b, s = step / steps, (step + 1) / steps, 1 if step % 2 else -1
        ax, ay = mix(x0, x1, a) + s * nx, mix(y0, y1, a) + s * ny
        bx, by = mix(x0, x1, b) - s * nx, mix(y0, y1, b) - s * ny
        canvas.capsule(ax, ay, bx, by, 0.0022, value - 0.02)
        canvas.capsule(bx, by, bx + 2 * s * nx, by + 2 * s * ny, 0.0018, value - 0.02)


def _tank(canvas: Canvas, transformer: _Transformer) -> None:
    cx, half, top, ground = transformer.cx, transformer.half, transformer.top, transformer.ground
    canvas.glow(cx, ground + 0.01, 0.3, 0.03, 0.1)
    canvas.box(cx, ground + 0.005, half + 0.05, 0.022, 0.42)

    def steel(at: Inside) -> np.ndarray:  # oil is hottest at the top
        return (
            mix(0.8, 0.54, ramp(at.y, top, ground))
            + 0.015 * at.crop(canvas.coarse)
            + 0.05 * (np.abs((at.x - cx + half) % 0.07 - 0.035) > 0.032)
        )

    canvas.box(cx, (top + ground) / 2, half, (ground - top) / 2, steel, corner=0.006)
    canvas.box(cx, top, half + 0.012, 0.009, 0.74, corner=0.003)


def _radiators(canvas: Canvas, transformer: _Transformer, side: int) -> None:
    """Eight cooling fins on the left (``side`` -1) or on the right (1), where one may be blocked."""
    cx, half, top, ground = transformer.cx, transformer.half, transformer.top, transformer.ground
    blocked = canvas.rng.integers(0, 8) if side > 0 else -1

    def panel(warm: float) -> Shade:
        return lambda at: warm - 0.3 * ramp(at.y, top + 0.03, ground) + 0.1 * np.exp(at.depth / 0.003)

    for fin in range(8):
        fx = cx + side * (half + 0.018 + 0.021 * fin)
        warm = 0.86 - 0.008 * fin if fin != blocked else 0.5  # a radiator without oil flow stays cold
        canvas.box(fx, (top + ground) / 2 + 0.012, 0.0082, (ground - top) / 2 - 0.03, panel(warm), corner=0.006)
        canvas.box(fx, (top + ground) / 2 + 0.012, 0.0012, (ground - top) / 2 - 0.035, warm - 0.26)
    for pipe in (top + 0.03, ground - 0.035):
        canvas.capsule(cx + side * half, pipe, cx + side * (half + 0.19), pipe, 0.0075, 0.8 if pipe < 0.6 else 0.56)


def _oil_vessel(canvas: Canvas, transformer: _Transformer) -> None:
    """The oil vessel on its frame; warm oil fills its lower part."""
    vx, vy = transformer.cx - 0.04, transformer.top - 0.1
    for leg in (-0.1, 0.1):
        canvas.capsule(vx + leg, vy, vx + leg, transformer.top, 0.006, 0.45)
    level = vy + canvas.rng.uniform(-0.01, 0.02)

    def drum(at: Inside) -> np.ndarray:
        return mix(0.4, 0.62, ramp(at.y, level - 0.003, level + 0.003)) + 0.09 * np.exp(at.depth / 0.01)

    canvas.box(vx, vy, 0.16, 0.042, drum, corner=0.03)
    canvas.capsule(vx + 0.13, vy + 0.03, vx + 0.15, transformer.top, 0.006, 0.66)


def _bushing(canvas: Canvas, transformer: _Transformer, gantry: _Gantry, phase: int, *, hot: bool) -> None:
    """A stack of porcelain sheds, a terminal, and a wire up to the beam."""
    bx, top = transformer.cx + (phase - 1) * 0.125 + 0.045, transformer.top
    tip = top - 0.27
    canvas.capsule(bx, top, bx, top - 0.045, 0.02, 0.72, 0.016)
    canvas.capsule(bx, top - 0.04, bx, tip, 0.0125, 0.46, 0.008)

    def porcelain(glaze: float, wide: float) -> Shade:
        return lambda at: glaze + 0.05 * ((at.x - bx) / wide) + 0.1 * np.exp(at.depth / 0.002)

    for shed in np.linspace(0.05, 0.25, 15):
        wide = mix(0.03, 0.019, (shed - 0.05) / 0.2)
        canvas.ellipse(bx, top - shed, wide, 0.0056, porcelain(0.5 - 0.5 * (shed - 0.05), wide))
    canvas.capsule(bx, tip + 0.012, bx, tip - 0.012, 0.0075, 0.5)
    hang, beam = gantry.left + (gantry.right - gantry.left) * (0.25 + 0.2 * phase), gantry.beam
    for disc in range(7):  # string insulators under the beam
        canvas.ellipse(hang, beam + 0.022 + 0.0095 * disc, 0.0125, 0.0042, 0.3 + 0.05 * (disc % 2))
    end = (hang, beam + 0.092)
    points = [
        (mix(bx, end[0], t), mix(tip - 0.01, end[1], t) + 0.035 * math.sin(math.pi * t)) for t in np.linspace(0, 1, 15)
    ]
    for index, (a, b) in enumerate(zip(points, points[1:], strict=False)):
        canvas.capsule(*a, *b, 0.0028, 0.46 + (0.5 * math.exp(-index / 2.2) if hot else 0.0))
    canvas.box(bx, tip - 0.008, 0.012, 0.0075, 1.15 if hot else 0.52, corner=0.002)
    if hot:
        canvas.glow(bx, tip - 0.008, 0.03, 0.03, 0.2)
        canvas.glow(bx, tip + 0.035, 0.012, 0.03, 0.2)


def _cabinet(canvas: Canvas, ground: float) -> None:
    """A control cabinet, warmer at its top."""
    kx = canvas.rng.uniform(0.74, 0.8) * canvas.aspect
    canvas.box(kx, ground - 0.085, 0.06, 0.1, lambda at: 0.36 + 0.14 * ramp(-at.y, -ground + 0.03, -ground + 0.17))
    canvas.box(kx, ground - 0.08, 0.0015, 0.088, 0.27)
    canvas.box(kx + 0.03, ground - 0.135, 0.018, 0.014, 0.66)
    canvas.glow(kx - 0.03, ground - 0.13, 0.016, 0.02, 0.16)


def _pipes(canvas: Canvas, ground: float) -> None:
    """Three pipes in the foreground, hot, warm and cool, with their flanges."""

    def pipe(warm: float) -> Shade:
        return lambda at: warm - 0.08 * (at.depth / 0.009 + 0.5)

    for row, warm in enumerate((0.78, 0.6, 0.38)):
        level = ground + 0.035 + 0.026 * row
        canvas.capsule(-0.1, level, canvas.aspect + 0.1, level + 0.02, 0.009, pipe(warm))
        for flange in np.arange(0.06 + 0.03 * row, canvas.aspect, 0.27):
            canvas.box(flange, level + 0.02 * flange / canvas.aspect, 0.005, 0.0135, warm - 0.1, corner=0.002)


def _fence(canvas: Canvas) -> None:
    """The fence in front."""
    for post in np.arange(0.02, canvas.aspect, 0.115):
        canvas.capsule(post, 1.02, post, 0.93, 0.004, 0.27)
    for wire in (0.94, 0.965, 0.99):
        canvas.capsule(0, wire, canvas.aspect, wire, 0.0016, 0.28)
