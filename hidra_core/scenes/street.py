"""A street at night."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Canvas, mix, ramp
from .things import bare_tree, car, person, sky, tree


def street(canvas: Canvas) -> None:
    """A street in the evening, seen from a car: ground and walls are planes, met by the ray of each sample."""
    rng, x, y = canvas.rng, canvas.x, canvas.y
    horizon, focal, eye = rng.uniform(0.43, 0.47), 1.15, 2.0  # eye height and all distances here in metres
    centre = canvas.aspect / 2 + rng.uniform(-0.06, 0.06)
    haze = 0.2
    sky(canvas, horizon, 0.02, 0.13, 0.05)

    def project(across: float, depth: float) -> tuple[float, float, float]:
        """X and y of a point on the ground, and the length of a metre there."""
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
    walk = ramp(np.abs(across), road, road + kerb)
    ground = mix(0.40, 0.34, walk) + 0.03 * np.exp(-(((np.abs(across) - road) / 0.15) ** 2))
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
    canvas.image[below] = mix(haze, ground, np.exp(-depth / 130))

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
            grey = mix(haze, walls[index] - 0.03, math.exp(-near / 110))
            canvas.box(
                inner + side * 4.5 * focal / near, (top + horizon) / 2, 4.5 * focal / near, (horizon - top) / 2, grey
            )
        facade = mix(haze, facade, np.exp(-depth / 110))
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
            tree(canvas, px, py, rng.uniform(6, 8.5) * metre, mix(haze, 0.27, air), 0.33)
        elif kind == "bare":
            bare_tree(canvas, px, py, 2.0 * metre, mix(haze, 0.31, air))
        elif kind == "lamp":
            arm = px - math.copysign(1.6 * metre, across)
            canvas.capsule(px, py, px, py - 6 * metre, 0.09 * metre, 0.3, 0.05 * metre)
            canvas.capsule(px, py - 6 * metre, arm, py - 6.3 * metre, 0.04 * metre, 0.28)
            canvas.box(arm, py - 6.3 * metre, 0.3 * metre, 0.08 * metre, 0.85, corner=0.05 * metre)
            canvas.glow(arm, py - 6.3 * metre, 0.6 * metre, 0.4 * metre, 0.1)
        elif kind == "person":
            person(canvas, px, py, rng.uniform(1.6, 1.85) * metre, mix(0.8, 1.0, air))
        else:
            car(canvas, px, py, rng.uniform(1.75, 1.95) * metre, kind == "oncoming")
