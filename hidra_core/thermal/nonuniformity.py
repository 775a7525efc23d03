"""What a sensor adds to a thermal image, separated from the scene: stripes, shading, dead pixels, noise.

All fields are in counts. The enhanced image serves as a guide to the scene: a part that the networks removed and that
is constant along a row or column is a stripe; a part that they removed and that is smooth and round is shading.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter, minimum_filter, uniform_filter

from ..checkpoints import checkpoint
from ..images.smoothing import gaussian
from ..sensor.noise import BLOCK, NORMAL, noise

_MEDIAN_VARIANCE = 1.57  # of the median of normal values, in multiples of the mean's
_STRIPE_RADIUS = 15  # of the guided filter that separates scene and stripes, in pixels
_STRIPE_ROUNDS = 4  # columns and rows in turn
_STRIPE_WIDEST = 40.0  # sigma in pixels; wider changes from column to column are scene
_FITTED = 3_000_000  # pixels that the shading is fitted to; of more, every second, every third, …
_SEGMENTS = 8  # parts of a column that must agree on its offset


def guided(
    guide: np.ndarray, data: np.ndarray, radius: int, epsilon: float | np.ndarray, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The guided filter (He, Sun and Tang, 2013): ``data`` as locally linear in ``guide``.

    In every window ``data ~ a · guide + b`` by least squares, so that means and contrasts are those of ``data`` and
    the structure is that of ``guide``; where ``guide`` has structure that ``data`` does not support, ``a`` becomes 0.

    Args:
        guide: ``[H, W]``.
        data: ``[H, W]``.
        radius: windows are ``2 · radius + 1`` pixels wide.
        epsilon: variance of ``guide`` below which it counts as flat; one number or ``[H, W]``.
        valid: ``[H, W]`` bool: the pixels that count; None: all.

    Returns:
        (a, b), ``[H, W]`` each; the filtered image is ``a · guide + b``.
    """

    def mean(plane: np.ndarray) -> np.ndarray:
        checkpoint()
        return uniform_filter(plane, 2 * radius + 1, mode="reflect")

    weights = None if valid is None else valid.astype(np.float64)
    share = 1.0 if weights is None else np.maximum(mean(weights), 1e-12)

    def box(plane: np.ndarray) -> np.ndarray:
        return mean(plane) if weights is None else mean(plane * weights) / share

    guide_mean, data_mean = box(guide), box(data)
    variance = box(guide * guide) - guide_mean**2
    covariance = box(guide * data) - guide_mean * data_mean
    slope = covariance / (variance.clip(min=0) + epsilon)
    return box(slope), box(data_mean - slope * guide_mean)


def dead_pixels(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Find single pixels that stand out from all their neighbours.

    Optics spread even a point over neighbouring pixels; a pixel whose neighbours do not rise with it is defective.

    Args:
        image: ``[H, W]``.
        sigma: its noise, ``[H, W]``, see :func:`noise`.

    Returns:
        bool ``[H, W]``, true where a pixel is defective.
    """
    if min(image.shape) < 3:
        return np.zeros(image.shape, bool)
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    checkpoint()
    highest = maximum_filter(image, footprint=ring, mode="mirror")
    checkpoint()
    lowest = minimum_filter(image, footprint=ring, mode="mirror")
    checkpoint()
    excess = np.maximum(image - highest, lowest - image)
    dead = excess > 8 * np.maximum(sigma, 0.5)
    padded = np.pad(image, 1, mode="reflect")
    for row, column in np.argwhere(dead):
        middle = np.median(padded[row : row + 3, column : column + 3][ring])
        dead[row, column] = excess[row, column] > 0.9 * abs(image[row, column] - middle)
    return dead


def stripes(image: np.ndarray, guide: np.ndarray, valid: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the columns and of the rows of an image.

    Only a difference from the scene that is constant along a whole column is a stripe. One that varies along it, that
    is not significant, or that changes slowly from column to column belongs to the scene.

    Args:
        image: ``[H, W]``.
        guide: ``[H, W]``, the enhanced image: its structure shows the scene.
        valid: ``[H, W]`` bool: the pixels that count; None: all.

    Returns:
        Offsets of the columns ``[W]`` and of the rows ``[H]``, in the unit of the image.
    """
    columns, rows = np.zeros(image.shape[1]), np.zeros(image.shape[0])
    for _ in range(_STRIPE_ROUNDS):
        data = image - columns - rows[:, None]
        sigma = noise(data, valid)
        slope, offset = guided(guide, data, _STRIPE_RADIUS, sigma**2 + 1e-3, valid)
        scene = slope * guide + offset
        rest = data - scene
        checkpoint()
        offsets = _constant_along_columns(rest, scene, sigma, valid)
        columns += offsets
        rows += _constant_along_columns((rest - offsets).T, scene.T, sigma.T, None if valid is None else valid.T)
    return _without_slow_changes(columns), _without_slow_changes(rows)


def _without_slow_changes(offsets: np.ndarray) -> np.ndarray:
    return offsets - gaussian_filter1d(offsets, _STRIPE_WIDEST, mode="reflect")


def _constant_along_columns(
    rest: np.ndarray, scene: np.ndarray, sigma: np.ndarray, valid: np.ndarray | None
) -> np.ndarray:
    """The significant part of the level that each column of ``rest [H, W]`` has along its whole length; ``[W]``."""
    sigma = np.maximum(sigma, 0.5)
    weights = 1 / (1 + (np.gradient(scene, axis=1) / sigma) ** 2) if scene.shape[1] > 1 else np.ones_like(scene)
    segments = _bounds(len(rest), max(2, min(_SEGMENTS, len(rest) // BLOCK))) if len(rest) > 1 else [(0, 1)]
    if valid is not None:
        return _with_gaps(rest, weights, sigma, valid, segments)
    levels = []
    for top, bottom in segments:
        checkpoint()
        part, weight, spread = rest[top:bottom], weights[top:bottom], 2 * sigma[top:bottom]
        middle = np.median(part, axis=0)
        around = np.clip(part - middle, -spread, spread)
        levels.append(middle + (weight * around).sum(0) / weight.sum(0))
    level = np.median(levels, axis=0)
    # A stripe has one level along the whole column; the scatter between segments says how certain it is.
    scatter = NORMAL * np.median(np.abs(levels - level), axis=0)
    variance = gaussian_filter1d(scatter**2 * _MEDIAN_VARIANCE / len(segments), 1.0)
    variance = np.maximum(variance, _MEDIAN_VARIANCE * (sigma**2).mean(0) / len(rest))
    return _significant(level, variance)


def _with_gaps(
    rest: np.ndarray, weights: np.ndarray, sigma: np.ndarray, valid: np.ndarray, segments: list[tuple[int, int]]
) -> np.ndarray:
    """The same where some pixels do not count; 0 for columns of which fewer than two segments do."""
    weights, data = weights * valid, np.where(valid, rest, np.nan)
    levels = np.full((len(segments), rest.shape[1]), np.nan)
    for level, (top, bottom) in zip(levels, segments, strict=True):
        checkpoint()
        known = valid[top:bottom].sum(0) >= min(BLOCK, bottom - top) / 2
        part, weight = data[top:bottom, known], weights[top:bottom, known]
        if part.size:
            middle, spread = np.nanmedian(part, axis=0), 2 * sigma[top:bottom, known]
            around = np.nan_to_num(np.clip(part - middle, -spread, spread))
            level[known] = middle + (weight * around).sum(0) / weight.sum(0)
    held = np.isfinite(levels).sum(0)
    enough = held >= min(2, len(segments))
    offsets = np.zeros(rest.shape[1])
    if enough.any():
        levels, held = levels[:, enough], held[enough]
        level = np.nanmedian(levels, axis=0)
        scatter = NORMAL * np.nanmedian(np.abs(levels - level), axis=0)
        variance = gaussian_filter1d(scatter**2 * _MEDIAN_VARIANCE / held, 1.0)
        counted = valid.sum(0)[enough]
        mean_power = np.where(valid, sigma**2, 0).sum(0)[enough] / counted
        offsets[enough] = _significant(level, np.maximum(variance, _MEDIAN_VARIANCE * mean_power / counted))
    return offsets


def _significant(level: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Levels of columns, reduced by their uncertainty and set to 0 where they are within it."""
    spread = (NORMAL * np.median(np.abs(level - np.median(level)))) ** 2 - np.median(variance)
    if spread <= 0:
        return np.zeros_like(level)
    limit = 4 * np.sqrt(spread)
    level = np.where(level**2 < 4 * variance, 0, level.clip(-limit, limit))
    return level * spread / (spread + variance)


def shading(image: np.ndarray, guide: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The smooth radial field that an image has and its guide has not.

    It is a polynomial in x, y, r² and r^4 around the middle, fitted to the smooth part of the image together with a
    gain and an offset of the guide.

    Args:
        image: ``[H, W]``.
        guide: ``[H, W]``, the enhanced image.
        valid: ``[H, W]`` bool: the pixels that count; None: all.

    Returns:
        ``[H, W]`` of mean 0, in the unit of the image.
    """
    height, width = image.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    radius = x**2 + y**2
    field = np.stack([x, y, radius, radius**2], -1).reshape(-1, 4)
    field = field - field.mean(0)
    smooth_guide, smooth_image = (gaussian(plane, max(2.0, min(image.shape) / 16)) for plane in (guide, image))
    checkpoint()
    columns = np.column_stack([smooth_guide.ravel(), np.ones(image.size), field])
    # Together with the guide's gain, so that a warm middle that the guide shows too does not count as shading.
    target, counted = smooth_image.ravel(), slice(None) if valid is None else valid.ravel()
    checkpoint()
    some = slice(None, None, max(1, image.size // _FITTED))
    solution = np.linalg.lstsq(columns[counted][some], target[counted][some], rcond=None)[0]
    return (field @ solution[2:]).reshape(height, width)


def _bounds(length: int, parts: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, length, parts + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
