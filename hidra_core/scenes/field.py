"""Farmland from above."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Inside, Shade, ramp

Point = tuple[float, float]


@dataclass(frozen=True)
class _Land:
    """The directions that all parts of the scene share.

    Attributes:
        turn: angle of the plots, in radians.
        u: coordinate along the plots of every sample, 0 in the middle of the image, ``[H, W]``.
        v: coordinate across the plots.
        sun: angle of the shadows, in radians.
    """

    turn: float
    u: np.ndarray
    v: np.ndarray
    sun: float

    @property
    def along(self) -> Point:
        return math.cos(self.turn), math.sin(self.turn)

    @property
    def shadow(self) -> Point:
        return math.cos(self.sun), math.sin(self.sun)


def field(canvas: Canvas) -> None:
    """Farmland straight down from a drone, an hour before sunset: shadows are cold, bare soil and roofs warm."""
    rng, x, y = canvas.rng, canvas.x, canvas.y
    turn = rng.uniform(-0.5, 0.5)
    cos, sin = math.cos(turn), math.sin(turn)
    u, v = (x - canvas.aspect / 2) * cos + (y - 0.5) * sin, (y - 0.5) * cos - (x - canvas.aspect / 2) * sin
    wave = 0.006 * canvas.noise(4.5)
    land = _Land(turn, u + wave, v + wave, rng.uniform(0.6, 1.1))
    hedge = _plots(canvas, land)
    lane = _lane(canvas, land)
    barn = _barn(canvas, land)
    pond = _pond(canvas, land)
    _trees(canvas, land, hedge, lane, barn, pond)
    _pickup(canvas, land, lane)
    _people(canvas, land)


def _plots(canvas: Canvas, land: _Land) -> float:
    """Plots, each with a temperature, rows of its crop and the tracks of the machines; returns where a hedge grows."""
    rng, u, v = canvas.rng, land.u, land.v
    u_cuts = np.sort(rng.uniform(-0.75, 0.75, 3))
    v_cuts = np.sort(rng.uniform(-0.45, 0.45, 2))
    plot = np.searchsorted(u_cuts, u) * 3 + np.searchsorted(v_cuts, v)
    warm = rng.permutation(np.linspace(0.3, 0.68, 12))[plot]
    rows = rng.uniform(0.009, 0.016, 12)[plot]
    depth = rng.choice([0.0, 0.012, 0.03, 0.045], 12)[plot]
    lengthwise = rng.random(12)[plot] < 0.5
    position = np.where(lengthwise, u, v)
    image = warm + depth * np.sin(2 * np.pi * position / rows) + 0.035 * canvas.coarse
    image += 0.028 * canvas.noise(2.0, 5.0, land.turn) * (0.5 + 10 * depth) + 0.012 * canvas.fine
    tracks = np.abs(np.abs(position % 0.11 - 0.055) - 0.007)
    image += 0.06 * np.exp(-((tracks / 0.0016) ** 2)) * (depth > 0)
    for cuts, along in ((u_cuts, u), (v_cuts, v)):
        for cut in cuts:  # balks between the plots
            image += (0.36 - image) * np.exp(-(((along - cut) / 0.006) ** 2)) * (0.8 + 0.1 * canvas.fine)
    canvas.image[:] = image
    return u_cuts[0]


def _lane(canvas: Canvas, land: _Land) -> np.ndarray:
    """A lane with two wheel ruts; returns the signed distance of every sample to its middle, ``[H, W]``."""
    rng = canvas.rng
    bend, place = rng.uniform(0.05, 0.12), rng.uniform(-0.15, 0.15)
    lane = land.v - place - bend * np.sin(3.2 * land.u + rng.uniform(0, 6))
    canvas.image += (0.66 - canvas.image) * (1 - ramp(np.abs(lane), 0.014, 0.02)) * (0.8 + 0.06 * canvas.fine)
    canvas.image += 0.1 * np.exp(-(((np.abs(lane) - 0.007) / 0.0025) ** 2))
    return lane


def _barn(canvas: Canvas, land: _Land) -> Point:
    """A barn: the slope towards the sun is hotter, sheets overlap in lines; returns its centre."""
    rng = canvas.rng
    cos, sin = land.along
    bx, by = rng.uniform(0.25, 0.4) * canvas.aspect, rng.uniform(0.2, 0.34)
    long, half = rng.uniform(0.11, 0.15), rng.uniform(0.045, 0.06)

    def at(a: float, b: float) -> Point:
        return bx + a * cos - b * sin, by + a * sin + b * cos

    def sheets(temperature: float) -> Shade:
        def shade(at: Inside) -> np.ndarray:
            a = (at.x - bx) * cos + (at.y - by) * sin
            ridge = np.abs((at.y - by) * cos - (at.x - bx) * sin) / half
            seams = 0.05 * (np.abs(a % 0.022 - 0.011) > 0.0098)
            return temperature - 0.1 * ridge - seams + 0.02 * at.crop(canvas.coarse)

        return shade

    dx, dy = 0.05 * land.shadow[0], 0.05 * land.shadow[1]
    corners = [at(-long, -half), at(long, -half), at(long, half), at(-long, half)]
    canvas.polygon([(px + dx, py + dy) for px, py in corners], 0.2, 0.75)
    for slope, temperature in ((-1, 0.9), (1, 0.74)):
        edge = [at(-long, 0), at(long, 0), at(long, half * slope), at(-long, half * slope)]
        canvas.polygon(edge if slope > 0 else edge[::-1], sheets(temperature))
    canvas.capsule(*at(-long, 0), *at(long, 0), 0.0025, 0.98)
    for a in rng.uniform(-0.8, 0.8, 3):
        canvas.box(*at(a * long, -0.5 * half), 0.008, 0.012, 0.5, angle=land.turn)
    return bx, by


def _pond(canvas: Canvas, land: _Land) -> Point:
    """A pond, smooth and even; returns its centre."""
    rng = canvas.rng
    px, py = rng.uniform(0.62, 0.8) * canvas.aspect, rng.uniform(0.68, 0.82)
    canvas.ellipse(px, py, 0.135, 0.085, 0.5, angle=land.turn, wobble=0.05)
    canvas.ellipse(px, py, 0.125, 0.075, lambda at: 0.22 + 0.6 * (at.depth + 0.075), angle=land.turn, wobble=0.05)
    return px, py


def _trees(canvas: Canvas, land: _Land, hedge: float, lane: np.ndarray, barn: Point, pond: Point) -> None:
    """Crowns with their shadows: a hedge along a balk, a grove, single trees; none on lane, barn or pond."""
    rng = canvas.rng
    cos, sin = land.along
    crowns = [(s, hedge + rng.normal(0, 0.006), rng.uniform(0.014, 0.026)) for s in np.arange(-0.6, 0.6, 0.03)]
    spots = [(canvas.aspect / 2 + c * cos - s * sin, 0.5 + c * sin + s * cos, r) for s, c, r in crowns]
    gx, gy = rng.uniform(0.8, 0.95) * canvas.aspect, rng.uniform(0.1, 0.3)
    spots += [(gx + rng.normal(0, 0.06), gy + rng.normal(0, 0.05), rng.uniform(0.02, 0.038)) for _ in range(16)]
    spots += [(rng.uniform(0, canvas.aspect), rng.uniform(0, 1), rng.uniform(0.016, 0.034)) for _ in range(7)]

    def lane_gap(cx: float, cy: float) -> float:
        row, column = int(cy * canvas.unit), int(cx * canvas.unit)
        return abs(float(lane[min(max(row, 0), canvas.y.size - 1), min(max(column, 0), canvas.x.size - 1)]))

    def crown(cx: float, cy: float, r: float) -> Shade:
        def shade(at: Inside) -> np.ndarray:
            light = ((at.x - cx) * land.shadow[0] + (at.y - cy) * land.shadow[1]) / r
            return 0.33 - 0.07 * light + 0.045 * at.crop(canvas.fine) + 0.03 * np.exp(at.depth / (0.2 * r))

        return shade

    spots = [
        (cx, cy, r)
        for cx, cy, r in spots
        if math.hypot(cx - barn[0], cy - barn[1]) > 0.21
        and math.hypot(cx - pond[0], cy - pond[1]) > 0.15
        and lane_gap(cx, cy) > 0.045
    ]
    for cx, cy, r in spots:
        sx, sy = cx + 1.5 * r * land.shadow[0], cy + 1.5 * r * land.shadow[1]
        canvas.ellipse(sx, sy, 1.5 * r, 0.95 * r, 0.2, land.sun, 0.7, wobble=0.1)
    for cx, cy, r in spots:
        canvas.ellipse(cx, cy, r, 0.92 * r, crown(cx, cy, r), wobble=0.13)


def _pickup(canvas: Canvas, land: _Land, lane: np.ndarray) -> None:
    """A pickup on the lane."""
    ux = canvas.rng.uniform(-0.25, 0.25) * canvas.aspect
    row = int(np.argmin(np.abs(lane[:, int((ux + canvas.aspect / 2) * canvas.unit)])))
    vx, vy, heading = ux + canvas.aspect / 2, float(canvas.y[row, 0]), land.turn
    canvas.box(vx + 0.014, vy + 0.016, 0.034, 0.016, 0.22, heading, 0.004, 0.8)
    canvas.box(vx, vy, 0.034, 0.0155, 0.42, heading, 0.005)
    fx, fy = land.along
    canvas.box(vx + 0.022 * fx, vy + 0.022 * fy, 0.0105, 0.013, 0.95, heading, 0.004)
    canvas.box(vx + 0.008 * fx, vy + 0.008 * fy, 0.0035, 0.013, 0.18, heading)
    canvas.box(vx - 0.001 * fx, vy - 0.001 * fy, 0.0075, 0.0125, 0.52, heading, 0.002)
    canvas.box(vx - 0.02 * fx, vy - 0.02 * fy, 0.011, 0.012, 0.36, heading, 0.001)


def _people(canvas: Canvas, land: _Land) -> None:
    """A few people with their long shadows."""
    rng = canvas.rng
    for _ in range(6):
        px, py = rng.uniform(0.05, 0.55) * canvas.aspect, rng.uniform(0.42, 0.95)
        canvas.capsule(px, py, px + 0.03 * land.shadow[0], py + 0.03 * land.shadow[1], 0.0045, 0.26, 0.003, 0.7)
        swing = rng.uniform(0, math.pi)
        canvas.ellipse(px, py, 0.0095, 0.0055, 0.86, swing)
        canvas.ellipse(px, py, 0.0042, 0.0042, 1.05)
