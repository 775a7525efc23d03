"""A street in the evening."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, mix, ramp
from .things import bare_tree, car, person, sky, tree

HAZE = 0.2
"""Temperature that far things fade into."""


@dataclass(frozen=True)
class _View:
    """The camera in the car: a pinhole that looks along the street; distances in the street are in metres.

    Attributes:
        horizon: ``y`` of the horizon.
        centre: ``x`` of the point where the street vanishes.
        focal: focal length, in heights of the image.
        eye: height of the camera above the road.
    """

    horizon: float
    centre: float
    focal: float = 1.15
    eye: float = 2.0

    def project(self, across: float, depth: float) -> tuple[float, float, float]:
        """X and y of a point on the ground, and the length of a metre there."""
        metre = self.focal / depth
        return self.centre + across * self.focal / depth, self.horizon + self.eye * self.focal / depth, metre


def street(canvas: Canvas) -> None:
    """A street in the evening, seen from a car: ground and walls are planes, met by the ray of each sample."""
    horizon = canvas.rng.uniform(0.43, 0.47)
    view = _View(horizon, canvas.aspect / 2 + canvas.rng.uniform(-0.06, 0.06))
    sky(canvas, horizon, 0.02, 0.13, 0.05)
    _far_blocks(canvas, horizon)
    crossing = _ground(canvas, view)
    for side in (-1, 1):
        _houses(canvas, view, side)
    _things(canvas, view, crossing)


def _far_blocks(canvas: Canvas, horizon: float) -> None:
    """Far blocks of flats against the sky, and a line of trees before them."""
    rng = canvas.rng
    left = 0.0
    while left < canvas.aspect:
        wide, tall, warm = rng.uniform(0.04, 0.11), rng.uniform(0.03, 0.14), rng.uniform(0.2, 0.27)
        canvas.box(left + wide / 2, horizon - tall / 2 + 0.02, wide / 2, tall / 2 + 0.02, warm)
        for floor in np.arange(horizon - tall + 0.012, horizon, 0.014):
            canvas.capsule(left + 0.006, floor, left + wide - 0.006, floor, 0.0022, warm - 0.035)
        left += wide * rng.uniform(0.7, 1.3)
    canvas.paint(
        (0, horizon - 0.12, canvas.aspect, horizon + 0.02),
        lambda at: horizon - 0.025 - 0.014 * at.crop(canvas.coarse) - at.y,
        lambda at: 0.22 + 0.02 * at.crop(canvas.fine),
    )


def _ground(canvas: Canvas, view: _View) -> float:
    """Road and pavements; returns how far away the crossing is."""
    rng = canvas.rng
    below = canvas.rows(view.horizon + 0.004, 1)
    # The first row of a small image may lie above the horizon: it counts as endlessly far, which the haze hides.
    depth = view.eye * view.focal / np.maximum(canvas.y[below] - view.horizon, 1e-6)
    across = (canvas.x - view.centre) * depth / view.focal
    fade = np.exp(-depth / 45)
    road, kerb = 5.2, 0.12 + 0.02 * depth
    pavement = ramp(np.abs(across), road, road + kerb)
    ground = mix(0.40, 0.34, pavement) + 0.03 * np.exp(-(((np.abs(across) - road) / 0.15) ** 2))
    for lane in (-2.6, 2.6):  # tyres keep two strips of each lane warm
        for wheel in (-0.75, 0.75):
            ground = ground + 0.035 * np.exp(-(((across - lane - wheel) / 0.32) ** 2))
    stripes = rng.uniform(10, 15)  # a crossing
    crossing = (np.abs(depth - stripes) < 1.5) & (across % 1.0 < 0.5) & (np.abs(across) < 4.8)
    ground = ground - 0.05 * crossing
    dashes = (depth % 9 < 4.5) & (np.abs(depth - stripes) > 2.5) & (np.abs(across) < 0.08)
    ground = ground - 0.07 * dashes - 0.06 * (np.abs(np.abs(across) - 4.9) < 0.06)
    slabs = (np.abs((across % 1.2) - 0.6) > 0.57) | (np.abs((depth % 1.2) - 0.6) > 0.55)
    ground = ground - 0.03 * pavement * slabs * np.exp(-depth / 12)
    ground = ground + (0.012 * canvas.fine[below] + 0.014 * canvas.noise(2.2, 6.0)[below]) * (0.4 + 0.6 * fade)
    canvas.image[below] = mix(HAZE, ground, np.exp(-depth / 130))
    return stripes


def _houses(canvas: Canvas, view: _View, side: int) -> None:
    """The row of houses on the left (``side`` -1) or on the right (1)."""
    rng, horizon, focal, centre = canvas.rng, view.horizon, view.focal, view.centre
    wall = rng.uniform(9, 12)
    columns = canvas.columns(0, centre - 0.03) if side < 0 else canvas.columns(centre + 0.03, 9)
    if columns.start >= columns.stop:
        return
    depth = wall * focal / (side * (canvas.x[:, columns] - centre))
    up = (horizon - canvas.y) * depth / focal + view.eye
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
        inner, top = centre + side * wall * focal / near, horizon - (gables[index] - view.eye) * focal / near
        grey = mix(HAZE, walls[index] - 0.03, math.exp(-near / 110))
        canvas.box(
            inner + side * 4.5 * focal / near, (top + horizon) / 2, 4.5 * focal / near, (horizon - top) / 2, grey
        )
    facade = mix(HAZE, facade, np.exp(-depth / 110))
    canvas.image[:, columns] = np.where(seen, facade, canvas.image[:, columns])


def _things(canvas: Canvas, view: _View, crossing: float) -> None:
    """Things along the street, far ones first."""
    rng = canvas.rng
    things: list[tuple[float, float, str]] = []
    for side in (-1, 1):
        for depth in np.arange(rng.uniform(14, 20), 70, rng.uniform(10, 15)):
            kind = rng.choice(["tree", "bare", "lamp"], p=[0.5, 0.2, 0.3])
            things.append((depth, side * rng.uniform(6.8, 7.6), kind))
        things.extend((depth, side * rng.uniform(5.9, 8.2), "person") for depth in rng.uniform(8, 30, 3))
    oncoming = (rng.uniform(9, 13), rng.uniform(20, 28), rng.uniform(36, 60))
    things.extend((depth, -2.6 + rng.uniform(-0.3, 0.3), "oncoming") for depth in oncoming)
    ahead = (rng.uniform(13, 19), rng.uniform(30, 45))
    things.extend((depth, 2.6 + rng.uniform(-0.3, 0.3), "ahead") for depth in ahead)
    things.append((crossing, rng.uniform(-0.8, 0.9), "person"))
    things.append((rng.uniform(6.2, 7.5), rng.choice([-1, 1]) * rng.uniform(1.6, 2.6), "person"))
    px, py, metre = view.project(rng.uniform(-1.5, 1.5), rng.uniform(5, 7))  # a manhole over a warm sewer
    canvas.ellipse(px, py, 0.38 * metre, 0.11 * metre, 0.56)
    canvas.glow(px, py, 0.4 * metre, 0.12 * metre, 0.06)
    for depth, across, kind in sorted(things, reverse=True):
        px, py, metre = view.project(across, depth)
        air = math.exp(-depth / 130)
        if kind == "tree":
            tree(canvas, px, py, rng.uniform(6, 8.5) * metre, mix(HAZE, 0.27, air), 0.33)
        elif kind == "bare":
            bare_tree(canvas, px, py, 2.0 * metre, mix(HAZE, 0.31, air))
        elif kind == "lamp":
            _lamp(canvas, px, py, metre, across)
        elif kind == "person":
            person(canvas, px, py, rng.uniform(1.6, 1.85) * metre, mix(0.8, 1.0, air))
        else:
            car(canvas, px, py, rng.uniform(1.75, 1.95) * metre, kind == "oncoming")


def _lamp(canvas: Canvas, px: float, py: float, metre: float, across: float) -> None:
    """A street lamp whose arm reaches over the road."""
    arm = px - math.copysign(1.6 * metre, across)
    canvas.capsule(px, py, px, py - 6 * metre, 0.09 * metre, 0.3, 0.05 * metre)
    canvas.capsule(px, py - 6 * metre, arm, py - 6.3 * metre, 0.04 * metre, 0.28)
    canvas.box(arm, py - 6.3 * metre, 0.3 * metre, 0.08 * metre, 0.85, corner=0.05 * metre)
    canvas.glow(arm, py - 6.3 * metre, 0.6 * metre, 0.4 * metre, 0.1)
