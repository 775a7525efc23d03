"""Frames with defective pixels, point targets and thin lines, and the candidates that a network learns to judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from hidra_core.sensor.defects import REACH, DefectNetwork, candidates, features

if TYPE_CHECKING:
    from torch import Tensor

    from .scenes import Scenes

SIDE = 224
"""Of the frames, in pixels."""

MOST = 4000
"""Candidates taken of one frame."""

WANTED, WORTH = 6.0, 3.0
"""Grey levels from which on a defect must be found, and how much more than another candidate it then weighs."""

_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def judged_candidates(scenes: Scenes, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The candidates of one frame.

    Returns:
        (features ``[N, FEATURES]``, whether defective ``[N]``, weight ``[N]``: 0 for defects that hardly show)
    """
    image, dead, size = _frame(scenes, rng)
    rows, columns, sigma = candidates(image, None, 1.0)
    chosen = rng.permutation(len(rows))[:MOST]
    rows, columns = rows[chosen], columns[chosen]
    described = features(image, rows, columns, sigma, None, 1.0)
    described = _turned(described, int(rng.integers(8)))
    defective = dead[rows, columns]
    shows = size[rows, columns] > np.maximum(WANTED, 4 * sigma[rows, columns])
    weight = np.where(defective, np.where(shows, WORTH, 0.0), 1.0)
    return described, defective.astype(np.float32), weight.astype(np.float32)


def defect_loss(network: DefectNetwork, described: Tensor, defective: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy over candidates."""
    loss = F.binary_cross_entropy_with_logits(network(described), defective, reduction="none")
    return (loss * weight).sum() / weight.sum()


def new_network() -> DefectNetwork:
    """An untrained network, the same every time."""
    torch.manual_seed(0)
    return DefectNetwork()


def _turned(described: np.ndarray, turn: int) -> np.ndarray:
    """Features with the pixels around each candidate mirrored and turned."""
    side = 2 * REACH + 1
    pixels, other = described[:, : side * side].reshape(-1, side, side), described[:, side * side :]
    if turn & 1:
        pixels = pixels[:, ::-1]
    if turn & 2:
        pixels = pixels[:, :, ::-1]
    if turn & 4:
        pixels = pixels.transpose(0, 2, 1)
    return np.column_stack([pixels.reshape(len(pixels), -1), other])


def _frame(scenes: Scenes, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame ``[H, W]``, its defective pixels, and how far each is from what it should show."""
    scene = scenes.crop(SIDE, SIDE, rng)
    if rng.random() < 0.4:
        scene = scene * rng.uniform(0.2, 1.0) + 255 * rng.uniform(0, 0.4) * rng.random()
    if rng.random() < 0.2:
        scene = gaussian_filter(scene, rng.uniform(0.4, 2.0))
    scene = _with_points_and_lines(scene.astype(np.float64), rng)
    scene = scene + _noise(scene, rng)
    if rng.random() < 0.4:  # what is left of stripes
        scene = scene + rng.normal(0, np.exp(rng.uniform(-2, 1.5)), SIDE)
    dead = _defects(rng)
    image = np.where(dead, _dead_values(scene, rng), scene)
    if rng.random() < 0.85:
        image, scene = np.round(image.clip(0, 255)), scene.clip(0, 255)
    return image, dead, np.abs(image - scene)


def _with_points_and_lines(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Point targets, wires and poles, as optics draw them: nothing is sharper than a Gaussian of half a pixel."""
    y, x = np.mgrid[-5:6, -5:6]
    for _ in range(rng.poisson(6)):
        row, column = rng.integers(6, SIDE - 6, 2)
        down, right = rng.uniform(-0.5, 0.5, 2)
        spot = np.exp(-((y - down) ** 2 + (x - right) ** 2) / (2 * rng.uniform(0.5, 1.2) ** 2))
        scene[row - 5 : row + 6, column - 5 : column + 6] += spot * rng.uniform(20, 255) * rng.choice((-1, 1, 1))
    for _ in range(rng.poisson(1)):
        start, end = rng.integers(0, SIDE, (2, 2))
        if rng.random() < 0.5:
            end[1] = np.clip(start[1] + rng.integers(-2, 3), 0, SIDE - 1)
        steps = np.linspace(0, 1, 2 * SIDE)[:, None]
        points = np.round(start + (end - start) * steps).astype(int)
        line = np.zeros_like(scene)
        line[points[:, 0], points[:, 1]] = rng.uniform(20, 200) * rng.choice((-1, 1))
        scene += gaussian_filter(line, rng.uniform(0.5, 0.9))
    return scene


def _noise(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.random()
    if kind < 0.55:
        return rng.normal(0, np.exp(rng.uniform(-1.5, 3)), scene.shape)
    if kind < 0.7:
        light = scene.clip(min=0)
        return (rng.poisson(light) - light) * rng.uniform(0, 1.5)
    return np.zeros(scene.shape)


def _defects(rng: np.random.Generator) -> np.ndarray:
    """Which pixels are defective: single ones, clusters and short lines, in three quarters of the frames."""
    if rng.random() < 0.25:
        return np.zeros((SIDE, SIDE), bool)
    dead = rng.random((SIDE, SIDE)) < np.exp(rng.uniform(np.log(2e-4), np.log(6e-3)))
    for row, column in np.argwhere(dead):
        if rng.random() < 0.12:
            down, right = _STEPS[rng.integers(4)]
            straight = down == 0 or right == 0
            length = rng.integers(2, 16) if straight and rng.random() < 0.3 else 2
            rows = (row + down * np.arange(length)).clip(0, SIDE - 1)
            dead[rows, (column + right * np.arange(length)).clip(0, SIDE - 1)] = True
    return dead


def _dead_values(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What defective pixels show: black or white, a level of their own, another offset, or their own noise."""
    kind = rng.random()
    if kind < 0.4:
        return scene + rng.choice((-1, 1), scene.shape) * np.exp(rng.uniform(np.log(5), np.log(200), scene.shape))
    if kind < 0.5:
        return np.full(scene.shape, rng.uniform(0, 255))
    if kind < 0.6:
        return scene + rng.normal(0, 60, scene.shape)
    return np.where(rng.random(scene.shape) < 0.5, 0.0, 255.0)
